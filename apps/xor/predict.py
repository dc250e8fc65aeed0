"""Predict the class of a row, two bits or any two numbers, and describe the application to the tools."""

import numpy as np
from numpy.typing import NDArray

from apps.xor.config import Config
from apps.xor.data import load_data, split
from apps.xor.train import build_learner, probabilities
from shared.application import Application, Export, FinishedRun, Prediction
from shared.errors import ConfigError

LARGEST = 1e6  # beyond it a row cannot be drawn


def predict(run: FinishedRun[Config], text: str) -> Prediction:
    """Return class and probability of a row given as text, and a chart of the surface around it.

    Raises:
        ConfigError: the text is not two numbers, or they are too large.
    """
    from shared import charts  # matplotlib takes a second to import

    row = parse_row(text)
    probability = float(probabilities(run.learner, run.config, row[None])[0])
    label = int(probability > 0.5)
    side = np.linspace(min(0, row.min()) - 0.5, max(1, row.max()) + 0.5, 101)
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    surface = probabilities(run.learner, run.config, points).reshape(len(side), len(side))
    title = f"{text}: {probability:.4f}, class {label}"
    chart = charts.decision_surface(side, surface, row[None], np.array([label]), title)
    return Prediction(f"{text}: class {label}, probability of class 1: {probability:.4f}", chart)


def parse_row(text: str) -> NDArray[np.float64]:
    """Return the two numbers of a row, (2,); raises as `predict`."""
    try:
        row = [float(word) for word in text.split(",")]
    except ValueError:
        row = []
    if len(row) != 2 or not all(abs(value) <= LARGEST for value in row):
        raise ConfigError(
            f"{text!r} is not a row: give two numbers up to {LARGEST:,.0f}, as in 0,1 or 0.5,0.25"
        )
    return np.array(row)


def describe_input(run: FinishedRun[Config]) -> str:
    """Return what the exported network takes."""
    inputs = run.config.model.inputs
    return f"rows (batch, {inputs}): two bits{' and a one' if inputs == 3 else ''}"


APPLICATION = Application(
    "xor",
    Config,
    load_data,
    build_learner,
    lambda own, table, config: split(table, config)[2],
    predict,
    input_help="a row of two numbers, as in 0,1; put -- before a row that begins with a minus",
    export=Export("rows", describe=describe_input),
    other_data=False,
)
