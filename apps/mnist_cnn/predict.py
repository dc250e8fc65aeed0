"""Predict which digit is on a picture, and describe the application to the tools."""

import numpy as np
from numpy.typing import NDArray

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.data import gray_table, load_data, mean_and_std
from apps.mnist_cnn.train import build_learner
from shared.application import Application, Export, FinishedRun, Prediction
from shared.data.examples import Examples
from shared.data.images import ImageData, Standardized
from shared.digit_prediction import PICTURE_HELP, predict_digit
from shared.runs.preprocessing import Preprocessing


def predict(run: FinishedRun[Config], file: str) -> Prediction:
    """Return the most probable classes of the digit on a picture; see `predict_digit`."""
    return predict_digit(run, file, lambda digit: network_inputs(run, digit))


def network_inputs(run: FinishedRun[Config], digit: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a digit in MNIST's form, (28, 28), as a batch of one."""
    return table_of(run.preprocessing)[digit][None]


def test_examples(own: Preprocessing, images: ImageData, config: Config) -> Examples:
    """Return the test examples of `images`, their pixels scaled as the network was trained."""
    return Examples(Standardized(images.test_images, table_of(own)), images.test_labels)


def table_of(own: Preprocessing) -> NDArray[np.float32]:
    """Return the inputs of a run by gray value, (256,)."""
    return gray_table(*own.mean_and_std)


def describe_input(run: FinishedRun[Config]) -> str:
    """Return how a pixel becomes an input of the exported network."""
    black, white = table_of(run.preprocessing)[[0, 255]].tolist()
    return (
        "images (batch, 28, 28), a digit light on dark in MNIST's form; a pixel of 0 to 255 is "
        f"{black!r} + pixel * {(white - black) / 255!r}"
    )


APPLICATION = Application(
    "mnist_cnn",
    Config,
    load_data,
    build_learner,
    test_examples,
    predict,
    input_help=PICTURE_HELP,
    export=Export("images", describe=describe_input),
    mean_and_std=mean_and_std,
)
