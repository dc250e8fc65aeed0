"""Predict which digit is on a picture, and describe the application to the tools."""

import importlib
from typing import Any

import numpy as np

from apps.gradient_flow.config import Config
from apps.gradient_flow.data import load_data, mean_and_std, network_inputs, split
from apps.gradient_flow.numpy_model import NumpyDense
from apps.gradient_flow.train import build_learner
from shared.application import Application, Export, FinishedRun, Prediction
from shared.digit_prediction import PICTURE_HELP, predict_digit


def predict(run: FinishedRun[Config], file: str) -> Prediction:
    """Return the most probable classes of the digit on a picture; see `predict_digit`."""
    own = run.preprocessing
    return predict_digit(run, file, lambda digit: network_inputs(digit[None], *own.mean_and_std))


def describe_input(run: FinishedRun[Config]) -> str:
    """Return what the exported network takes."""
    range_of_pixels = np.stack([np.full((28, 28), value, np.uint8) for value in (0, 255)])
    own = run.preprocessing
    black, white = network_inputs(range_of_pixels, *own.mean_and_std)[:, 0].tolist()
    return (
        "pixels (batch, 196): a digit light on dark in MNIST's form, each 2x2 block of its 28x28 pixels "
        f"averaged; a mean of 0 to 255 is {black!r} + mean * {(white - black) / 255!r}"
    )


def exportable(network: NumpyDense, file_format: str) -> Any:
    """Return the network, whose weights are kept in NumPy, in PyTorch or Keras."""
    framework = "keras" if file_format == "keras" else "torch"
    module = importlib.import_module(f"apps.gradient_flow.{framework}_model")
    model = module.build_model(network.network)
    module.load_weights(model, network.params)
    return module.logits_only(model) if framework == "keras" else model


APPLICATION = Application(
    "gradient_flow",
    Config,
    load_data,
    build_learner,
    lambda own, data, config: split(data, config)[2],
    predict,
    input_help=PICTURE_HELP,
    export=Export("pixels", describe=describe_input, prepare=exportable),
    other_data=False,
    mean_and_std=mean_and_std,
)
