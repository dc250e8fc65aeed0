"""The gradient's norm by time step: an RNN and an LSTM that read an image row by row."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from apps.gradient_flow.config import Config
from apps.gradient_flow.figure import Figure, Row, change, column, draw_curves, listing, ratio, where
from apps.gradient_flow.networks import Recurrent, norm
from apps.gradient_flow.weights import recurrent_weights
from shared import charts
from shared.data.examples import Examples

CASES: dict[str, tuple[str, float, float | None]] = {  # cell, forget bias, gain
    "RNN, torch's weights": ("rnn", 0.0, None),
    "RNN, orthogonal weights": ("rnn", 0.0, 1.0),
    "RNN, orthogonal weights times 3": ("rnn", 0.0, 3.0),
    "LSTM, forget bias 0": ("lstm", 0.0, None),
    "LSTM, forget bias 1": ("lstm", 1.0, None),
    "LSTM, forget bias 3": ("lstm", 3.0, None),
}
NORM = "gradient_of_input"


def measure(engine: Any, config: Config, batch: Examples) -> list[Row]:
    """Return a row for every time step of every case; inputs (N, T, pixels per row)."""
    rows = []
    for case, (cell, forget_bias, gain) in CASES.items():
        network = Recurrent(cell, batch.inputs.shape[2], config.model.recurrent)
        weights = recurrent_weights(network, np.random.default_rng([config.seed, 1]), forget_bias, gain)
        found = engine.gradients(engine.build_model(network), weights, batch)
        rows += [
            {"network": case, "step": step, NORM: norm(gradient)}
            for step, gradient in enumerate(found.flow, start=1)
        ]
    return rows


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """Return the norm at the first step over that at the last, for each case."""
    return {case: ratio(where(rows, network=case), NORM) for case in CASES}


def figure(rows: Sequence[Row]) -> Figure:
    """Return the chart; its caption says what happens to each gradient, from the last step to the first."""
    changes = {case: change(value) for case, value in ratios(rows).items()}
    caption = (
        f"Each network reads an image in {max(column(rows, 'step'))} rows and answers after the last. "
        "Read each curve from right to left, from the answer back in time. On its way to the first "
        f"step, the gradient does the following. {listing(changes)}. An LSTM multiplies its memory by "
        "the forget gate at every step, forward and backward: a bias moves this factor towards 1."
    )
    alt = "The norm of the gradient of each time step's input: a panel for the RNN and one for the LSTM."
    table = [{"network": case, "first over last step": value} for case, value in ratios(rows).items()]
    return Figure("time", "By time step: RNN and LSTM", caption, alt, rows, draw(rows), table)


def draw(rows: Sequence[Row]) -> bytes:
    """Draw RNN and LSTM side by side."""
    chart = charts.figure("How far back does the gradient reach? Before training")
    for axes, kind in zip(chart.subplots(1, 2, sharey=True), ("RNN", "LSTM"), strict=True):
        own = [row for row in rows if row["network"].startswith(kind)]
        draw_curves(axes, own, "network", "step", NORM, lambda case: case.partition(", ")[2])
        charts.log_scale(axes)
        y_label = "norm of the gradient of the input" if kind == "RNN" else ""
        charts.label_axes(axes, "time step (row of the image)", y_label, kind)
        axes.legend()
    return charts.png(chart)
