"""Predict the classes of pictures, with a Grad-CAM map, and describe the application to the tools."""

import importlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.data import load_data, split
from apps.resnet_transfer.transfer import build_learner, refuse_comparison, torch_weights
from shared.application import Application, Export, FinishedRun, Prediction
from shared.data.pictures import decode
from shared.errors import DataError
from shared.input_file import read_file
from shared.runs.reader import read_weights

TOP = 5  # number of classes shown


def predict(run: FinishedRun[Config], file: str) -> Prediction:
    """Return the most probable classes of a picture, and a chart of the evidence for the first.

    Raises:
        ConfigError: the run compares many networks and keeps none.
        DataError: the file is not a picture, picture or weights are damaged, or the weights do not fit.
    """
    from shared import charts  # matplotlib is slow to import

    image = decode(read_file(Path(file)), file, run.config.data.pixels)
    explain = importlib.import_module("apps.resnet_transfer.torch_model").explain
    probabilities, heat, stage = explain(load_network(run), image)
    order = np.argsort(-probabilities)[:TOP]
    classes = [run.metrics["classes"][label] for label in order]
    best = [f"{name} {p:.1%}" for name, p in zip(classes, probabilities[order], strict=True)]
    title = f"{Path(file).name}: {run.config.model.name}, Grad-CAM of {stage}"
    images = {"image": image, f"evidence for {classes[0]} (bright: most)": overlay(image, heat)}
    chart = charts.prediction(images, classes, probabilities[order], title)
    return Prediction(f"{file}: {', '.join(best)}", chart, f"{Path(file).stem}_prediction")


@cache
def load_network(run: FinishedRun[Config]) -> Any:
    """Return the network of a run of any framework in torch, without its data set; raises as `predict`."""
    refuse_comparison(run.config)
    torch_model = importlib.import_module("apps.resnet_transfer.torch_model")
    weights = torch_weights(read_weights(run.folder, run.metrics))
    try:
        return torch_model.load_network(run.config.model, weights, len(run.metrics["classes"]))
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise DataError(f"{run.folder}: its weights do not fit its configuration ({problem})") from error


def overlay(image: NDArray[np.uint8], heat: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a gray image (H, W, 3) under its Grad-CAM map (h, w) of 0 to 1, from dark to bright."""
    from matplotlib import colormaps

    height, width = image.shape[:2]
    enlarged = Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    colors = 255 * colormaps["inferno"](np.asarray(enlarged))[..., :3]
    return (0.4 * image.mean(axis=2, keepdims=True) + 0.6 * colors).astype(np.uint8)


def describe_input(run: FinishedRun[Config]) -> str:
    """Return what the exported network takes."""
    size = run.config.data.pixels
    return f"pictures (batch, {size}, {size}, 3), uint8: red, green and blue, 0 to 255"


APPLICATION = Application(
    "resnet_transfer",
    Config,
    load_data,
    build_learner,
    lambda own, other, config: split(other, config)[2],
    predict,
    input_help="a picture: a PNG, JPEG, TIFF, BMP, GIF or WebP file",
    export=Export("pictures", describe=describe_input),
)
