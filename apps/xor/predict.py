"""What a trained network says of rows that are given, bits or any numbers between and beyond.

    python -m apps.xor.predict RUN 0,1 ...

Prints the probability of class 1 ("exactly one bit is set") and the class, and draws the row on
what the network says around it: RUN/predictions/prediction.png (--out FOLDER: there). Before rows
that begin with a minus comes `--`.
"""

import sys
from functools import partial

import numpy as np
from numpy.typing import NDArray

from apps.xor.config import Config
from apps.xor.evaluate import APPLICATION
from apps.xor.train import probabilities
from shared.errors import ConfigError
from shared.runs.reader import read_config
from tools.evaluate import Finished, restored
from tools.predict import Answer, Question, main

LARGEST = 1e6  # in a row: what is larger cannot be drawn


def answered(run: Finished[Config], text: str) -> Answer:
    """Return the output and the class of a row, and a drawing of where it lies.

    Raises:
        ConfigError: it is no row.
    """
    row = row_of(text)
    probability = float(probabilities(run.learner, run.config, row[None])[0])
    label = int(probability > 0.5)
    said = f"{text}: class {label}, probability of class 1: {probability:.4f}"
    return Answer(said, draw(run, row, label, f"{text}: {probability:.4f}, class {label}"))


def row_of(text: str) -> NDArray[np.float64]:
    """Return the two numbers of a row, (2,).

    Raises:
        ConfigError: they are not two, or no numbers, or too large.
    """
    try:
        row = [float(word) for word in text.split(",")]
    except ValueError:
        row = []
    if len(row) != 2 or not all(abs(value) <= LARGEST for value in row):
        raise ConfigError(f"{text!r} is no row: give two numbers up to {LARGEST:,.0f} as in 0,1 or 0.5,0.25")
    return np.array(row)


def draw(run: Finished[Config], row: NDArray[np.float64], label: int, title: str) -> bytes:
    """Return the picture of what the network says around a row."""
    from shared import charts  # matplotlib takes a second to import

    side = np.linspace(min(0, row.min()) - 0.5, max(1, row.max()) + 0.5, 101)
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    surface = probabilities(run.learner, run.config, points).reshape(len(side), len(side))
    corner = "upper right" if row[1] < side.mean() else "lower right"  # away from the row
    return charts.decision_surface(side, surface, row[None], np.array([label]), title, corner)


QUESTION = Question(
    "apps.xor.predict",
    (__doc__ or "").splitlines()[0],
    "ROW",
    "two numbers, as in 0,1",
    lambda folder: partial(answered, restored(APPLICATION, folder, read_config(folder, Config))),
)

if __name__ == "__main__":
    sys.exit(main(QUESTION))
