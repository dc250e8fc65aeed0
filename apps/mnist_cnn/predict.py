"""Predict which digit is on a picture, and describe the application to the tools."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.data import gray_table, load_data, test_examples
from apps.mnist_cnn.handwriting import mnist_form
from apps.mnist_cnn.train import build_learner
from shared.application import Application, Export, FinishedRun, Prediction
from shared.data.pictures import decode_whole
from shared.files import read_file
from shared.training.losses import class_probabilities

PRINTED = 3  # classes
THUMBNAIL = 600  # pixels a side of the picture in the chart, at most


def predict(run: FinishedRun[Config], file: str) -> Prediction:
    """Return the most probable classes of the digit on a picture, and a chart of what the network saw.

    The picture has one digit, dark on light or light on dark, of any size, with some paper around
    it; it is brought to MNIST's form first (handwriting.py).

    Raises:
        DataError: the file is not a picture, is damaged, or shows nothing.
    """
    from shared import charts  # matplotlib takes a second to import

    picture = decode_whole(read_file(Path(file)), file)
    digit = mnist_form(picture, file)
    probabilities = digit_probabilities(run, digit.pixels)
    order = np.argsort(-probabilities)
    names = [run.data.classes[number] for number in order]
    best = [f"{run.data.classes[n]} {probabilities[n]:.1%}" for n in order[:PRINTED]]
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    images = {f"the picture: {digit.taken}": np.asarray(picture), "what the network saw": digit.pixels}
    title = f"{Path(file).name}: {run.metrics['model']} in {run.metrics['framework']}"
    chart = charts.prediction(images, names, probabilities[order], title)
    return Prediction(f"{file}: {', '.join(best)} ({digit.taken})", chart, f"{Path(file).stem}_prediction")


def digit_probabilities(run: FinishedRun[Config], pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the probability of each class, (10,), for an image in MNIST's form, (28, 28)."""
    logits = run.learner.logits(run_table(run)[pixels][None])
    return class_probabilities(run.learner.loss, logits)[0]


@cache
def run_table(run: FinishedRun[Config]) -> NDArray[np.float32]:
    """Return the standardized gray values of a run, (256,)."""
    return gray_table(run.data)


def describe_input(run: FinishedRun[Config]) -> str:
    """Return how a pixel becomes an input of the exported network."""
    black, white = run_table(run)[[0, 255]].tolist()
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
    input_help="a picture of one digit: a PNG, JPEG, TIFF, BMP, GIF or WebP file",
    export=Export("images", describe=describe_input),
)
