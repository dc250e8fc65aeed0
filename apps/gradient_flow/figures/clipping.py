"""Training with and without gradient clipping: an RNN whose recurrent weights are too large."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from apps.gradient_flow.config import Config
from apps.gradient_flow.figure import Figure, Row, column, draw_curves, number, where
from apps.gradient_flow.networks import Recurrent, total_norm
from apps.gradient_flow.weights import recurrent_weights
from shared import charts
from shared.backprop import SGD, NaNError, clip_grad_norm_
from shared.data.examples import Examples

LABELS = {"off": "clipping off", "on": "before clipping"}
GAIN = 2.5  # the recurrent weights are this many times an orthogonal matrix


def descend(engine: Any, config: Config, batch: Examples, limit: float | None) -> list[Row]:
    """Return a row for every step of gradient descent on one batch, clipped at `limit` if given.

    A row has the loss before the step, the norm of all gradients together, and that norm after
    clipping. The rows end when the loss is no longer finite.
    """
    network = Recurrent("rnn", batch.inputs.shape[2], config.model.recurrent)
    weights = recurrent_weights(network, np.random.default_rng([config.seed, 2]), gain=GAIN)
    model = engine.build_model(network)
    optimizer = SGD(weights, lr=config.model.clip_lr)
    rows: list[Row] = []
    for step in range(config.model.clip_steps):
        try:
            found = engine.gradients(model, weights, batch)
        except NaNError:
            break
        if not np.isfinite(found.loss):
            break
        used = {name: gradient.copy() for name, gradient in found.parameters.items()}
        before = clip_grad_norm_(used, limit) if limit else total_norm(used)
        row = {"clipping": "on" if limit else "off", "step": step, "loss": found.loss, "norm": before}
        rows.append(row | {"norm_used": total_norm(used)})
        optimizer.step(used)
    return rows


def measure(engine: Any, config: Config, batch: Examples) -> list[Row]:
    """Return the rows without clipping, then those with it."""
    limit = config.trainer.clip_norm
    return descend(engine, config, batch, None) + descend(engine, config, batch, limit)


def figure(rows: Sequence[Row], limit: float | None) -> Figure:
    """Return the chart; its caption says how large the gradients become, and where the loss ends."""
    off, on = where(rows, clipping="off"), where(rows, clipping="on")
    lower = "lower" if on[-1]["loss"] < off[-1]["loss"] else "not lower"
    caption = (
        f"An RNN whose recurrent weights are {number(GAIN)} times an orthogonal matrix: the norm of its "
        f"gradients is {number(off[0]['norm'])} before the first step. Later it reaches "
        f"{number(max(column(off[1:], 'norm'), default=0))} without clipping and "
        f"{number(max(column(on[1:], 'norm'), default=0))} with it, of which a step uses at most "
        f"{number(max(column(on, 'norm_used')))} (limit {number(limit or 0)}). The loss "
        f"starts at {number(on[0]['loss'])}. Without clipping it is {number(off[-1]['loss'])} after "
        f"{off[-1]['step']} steps; with clipping it is {number(on[-1]['loss'])} after "
        f"{on[-1]['step']} steps: {lower} with it. One full step along an exploded gradient can lead so "
        "far away that the gradient is small there and the loss stays high. Clipping shortens the step "
        "and keeps its direction."
    )
    title = "An exploded gradient, with and without clipping"
    alt = "Two panels, the norm of the gradient and the loss by step, each with clipping and without."
    return Figure("clipping", title, caption, alt, rows, draw(rows))


def draw(rows: Sequence[Row]) -> bytes:
    """Draw norms and losses by step."""
    chart = charts.figure("An exploded gradient in an RNN: the first step in full, or clipped by norm")
    left, right = chart.subplots(1, 2)
    on = where(rows, clipping="on")
    draw_curves(left, rows, "clipping", "step", "norm", lambda value: LABELS[value])
    charts.curve(left, 2, column(on, "step"), column(on, "norm_used"), "after clipping")
    draw_curves(right, rows, "clipping", "step", "loss", lambda value: f"clipping {value}")
    left.set_yscale("log")
    charts.label_axes(left, "step", "norm of all gradients together", "gradient")
    charts.label_axes(right, "step", "cross-entropy (nats)", "loss on the batch")
    left.legend()
    right.legend()
    return charts.png(chart)
