"""Which digit is on a picture, and what the network saw of it.

    python -m apps.mnist_cnn.predict RUN PICTURE ...

A picture has one digit, dark on light or light on dark, of any size, with some paper around it; it
is brought to MNIST's form (handwriting.py). Prints the most probable classes and writes
NAME_prediction.png, with the digit as the network saw it, into RUN/predictions (--out FOLDER:
there).
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.evaluate import APPLICATION, test_set
from apps.mnist_cnn.handwriting import FIELD, Digit, mnist_form
from shared.data.images import ImageData
from shared.data.pictures import decode_whole
from shared.files import read_file
from shared.runs.reader import read_config
from shared.training.losses import class_probabilities
from tools.evaluate import Finished, restored
from tools.predict import Answer, Question, main

TOP = 3  # classes that are printed
DRAWN = 600  # pixels a side of the picture, at most


def opened(folder: Path) -> Callable[[str], Answer]:
    """Return what answers with the network of the run in `folder`.

    Raises:
        ConfigError: there is no finished run of this application.
        DataError: data or weights are missing, damaged, or not what they were.
    """
    run = restored(APPLICATION, folder, read_config(folder, Config))
    return partial(answered, run, gray_values(run.data, run.config))


def gray_values(images: ImageData, config: Config) -> NDArray[np.float32]:
    """Return what the network is given for each of the 256 gray values, (256,)."""
    every = np.arange(FIELD * FIELD).clip(max=255).astype(np.uint8).reshape(1, FIELD, FIELD)
    one = replace(images, test_images=every, test_labels=np.zeros(1, np.int64))
    values: NDArray[np.float32] = test_set(images, one, config).inputs[:].ravel()[:256]
    return values


def answered(run: Finished[Config], values: NDArray[np.float32], file: str) -> Answer:
    """Return the most probable classes of the digit on a picture, and a drawing of it.

    Raises:
        DataError: it is no picture, a damaged one, or there is nothing on it.
    """
    from shared import charts  # matplotlib takes a second to import

    picture = decode_whole(read_file(Path(file)), file)
    digit = mnist_form(picture, file)
    probabilities = probabilities_of(run, values, digit)
    order = np.argsort(-probabilities)
    names = [run.data.classes[number] for number in order]
    most = zip(names[:TOP], probabilities[order], strict=False)
    shown = ", ".join(f"{name} {probability:.1%}" for name, probability in most)
    picture.thumbnail((DRAWN, DRAWN))
    images = {f"the picture: {digit.taken}": np.asarray(picture), "what the network saw": digit.pixels}
    title = f"{Path(file).name}: {run.metrics['model']} in {run.metrics['framework']}"
    drawn = charts.prediction(images, names, probabilities[order], title)
    return Answer(f"{file}: {shown} ({digit.taken})", drawn)


def probabilities_of(run: Finished[Config], values: NDArray[np.float32], digit: Digit) -> NDArray[np.float64]:
    """Return the probability of each class, (10,)."""
    logits = run.learner.logits(values[digit.pixels][None])
    return class_probabilities(run.learner.loss, logits)[0]


QUESTION = Question(
    "apps.mnist_cnn.predict",
    (__doc__ or "").splitlines()[0],
    "PICTURE",
    "a file: PNG, JPEG, TIFF, BMP, GIF or WebP",
    opened,
    files=True,
)

if __name__ == "__main__":
    sys.exit(main(QUESTION))
