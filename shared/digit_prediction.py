"""Prediction of the digit on a picture, for every application that classifies digits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.application import FinishedRun, Prediction
from shared.data.handwriting import mnist_form
from shared.data.pictures import decode_whole
from shared.input_file import read_file
from shared.training.probabilities import class_probabilities

PICTURE_HELP = "a picture of one digit: a PNG, JPEG, TIFF, BMP, GIF or WebP file"
PRINTED = 3  # classes
THUMBNAIL = 600  # pixels a side of the picture in the chart, at most


def predict_digit(
    run: FinishedRun[Any], file: str, to_inputs: Callable[[NDArray[np.uint8]], NDArray[Any]]
) -> Prediction:
    """Return the most probable classes of the digit on a picture, and a chart of what the network saw.

    The picture has one digit, dark on light or light on dark, of any size, with some paper around
    it; it is brought to MNIST's form first (data/handwriting.py). `to_inputs` takes the digit in that
    form, (28, 28), and returns a batch of it for the network.

    Raises:
        DataError: the file is not a picture, is damaged, or shows nothing.
    """
    from shared import charts  # matplotlib takes a second to import

    picture = decode_whole(read_file(Path(file)), file)
    digit = mnist_form(picture, file)
    probabilities = class_probabilities(run.learner.loss, run.learner.logits(to_inputs(digit.pixels)))[0]
    order, classes = np.argsort(-probabilities), run.preprocessing.classes
    names = [classes[number] for number in order]
    best = [f"{classes[n]} {probabilities[n]:.1%}" for n in order[:PRINTED]]
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    images = {f"the picture: {digit.ink}": np.asarray(picture), "what the network saw": digit.pixels}
    title = f"{Path(file).name}: {run.metrics['model']} in {run.metrics['framework']}"
    chart = charts.prediction(images, names, probabilities[order], title)
    return Prediction(f"{file}: {', '.join(best)} ({digit.ink})", chart, f"{Path(file).stem}_prediction")
