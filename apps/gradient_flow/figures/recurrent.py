"""The gradient's norm time step by time step: an RNN and an LSTM that read an image row by row."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apps.gradient_flow.config import Config
from apps.gradient_flow.figures.figure import (
    FONT_SIZE,
    Figure,
    Row,
    canvas,
    change,
    column,
    dress,
    joined,
    line,
    logarithmic,
    png,
    where,
)
from apps.gradient_flow.networks import Array, Engine, Recurrent, norm, recurrent_weights

CASES: dict[str, tuple[str, float, float | None]] = {  # cell, forget bias, gain
    "RNN, torch's weights": ("rnn", 0.0, None),
    "RNN, orthogonal weights": ("rnn", 0.0, 1.0),
    "RNN, orthogonal weights times 3": ("rnn", 0.0, 3.0),
    "LSTM, forget bias 0": ("lstm", 0.0, None),
    "LSTM, forget bias 1": ("lstm", 1.0, None),
    "LSTM, forget bias 3": ("lstm", 3.0, None),
}


def measure(engine: Engine, config: Config, inputs: Array, labels: NDArray[np.int64]) -> list[Row]:
    """Return a row for every step of every case; inputs (N, T, pixels of a row)."""
    rows = []
    for case, (cell, forget_bias, gain) in CASES.items():
        network = Recurrent(cell, inputs.shape[2], config.model.recurrent)
        rng = np.random.default_rng([config.seed, 1])
        weights = recurrent_weights(network, rng, forget_bias, gain)
        found = engine.gradients(engine.build_model(network), weights, inputs, labels)
        rows += [
            {"network": case, "step": step, "gradient_of_input": norm(one)}
            for step, one in enumerate(found.flow, start=1)
        ]
    return rows


def figure(engine: Engine, config: Config, inputs: Array, labels: NDArray[np.int64]) -> Figure:
    """Return the picture."""
    rows = measure(engine, config, inputs, labels)
    return Figure(
        "time",
        "By time step: RNN and LSTM",
        caption(rows),
        "Two panels, RNN and LSTM: the norm of the gradient of the input at each time step, "
        "logarithmic, one line for each of three kinds of weights.",
        rows,
        draw(rows),
        [{"network": case, "first over last step": ratio(where(rows, network=case))} for case in CASES],
    )


def ratio(rows: Sequence[Row]) -> float:
    """Return the norm at the first step over that at the last, of one network's rows."""
    last = rows[-1]["gradient_of_input"]
    return float(rows[0]["gradient_of_input"] / last) if last else math.nan


def caption(rows: Sequence[Row]) -> str:
    """Say what becomes of each gradient, from the last step to the first."""
    steps = max(column(rows, "step"))
    said = {case: change(ratio(where(rows, network=case))) for case in CASES}
    return (
        f"Each network reads an image in {steps} rows and answers after the last. Read each line "
        "from right to left, from the answer back in time. The gradient of the input on its way "
        f"to the first step: {joined(said)}. The forget gate is what an LSTM multiplies its "
        "memory with at every step, forward and backward: a bias on it moves the factor towards 1."
    )


def draw(rows: Sequence[Row]) -> bytes:
    """Draw RNN and LSTM side by side."""
    picture = canvas("How far back does the gradient reach? Before training")
    panels = picture.subplots(1, 2, sharey=True)
    for axes, kind in zip(panels, ("RNN", "LSTM"), strict=True):
        for style, case in enumerate(case for case in CASES if case.startswith(kind)):
            one = where(rows, network=case)
            line(
                axes,
                style,
                column(one, "step"),
                column(one, "gradient_of_input"),
                case.removeprefix(f"{kind}, "),
            )
        logarithmic(axes)
        dress(axes, "time step (row of the image)", "norm of the gradient of the input", kind)
        axes.legend(fontsize=FONT_SIZE, loc="best")
    panels[1].set_ylabel("")
    return png(picture)
