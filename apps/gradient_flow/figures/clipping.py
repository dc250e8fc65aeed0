"""Clipping on and off, where gradients explode: an RNN whose recurrent weights are too large."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apps.gradient_flow.config import Config
from apps.gradient_flow.figures.figure import (
    FONT_SIZE,
    Figure,
    Row,
    canvas,
    column,
    dress,
    line,
    number,
    png,
    where,
)
from apps.gradient_flow.networks import Array, Engine, Recurrent, recurrent_weights, total_norm
from shared.backprop import SGD, NaNError, clip_grad_norm_

GAIN = 2.5  # the recurrent weights are so many times an orthogonal matrix


def descend(
    engine: Engine, config: Config, inputs: Array, labels: NDArray[np.int64], limit: float | None
) -> list[Row]:
    """Return a row for every step of gradient descent on one batch, clipped at `limit` or not.

    A row has the loss before the step, the gradients' norm together, and what the step used. It
    ends early where the loss is no longer finite.
    """
    network = Recurrent("rnn", inputs.shape[2], config.model.recurrent)
    weights = recurrent_weights(network, np.random.default_rng([config.seed, 2]), gain=GAIN)
    model = engine.build_model(network)
    optimizer = SGD(weights, lr=config.model.clip_lr)
    rows: list[Row] = []
    for step in range(config.model.clip_steps):
        try:
            found = engine.gradients(model, weights, inputs, labels)
        except NaNError:
            break
        if not np.isfinite(found.loss):
            break
        used = {name: gradient.copy() for name, gradient in found.parameters.items()}
        before = clip_grad_norm_(used, limit) if limit else total_norm(used)
        rows.append(
            {
                "clipping": "on" if limit else "off",
                "step": step,
                "loss": found.loss,
                "norm": before,
                "norm_used": total_norm(used),
            }
        )
        optimizer.step(used)
    return rows


def figure(engine: Engine, config: Config, inputs: Array, labels: NDArray[np.int64]) -> Figure:
    """Return the picture."""
    limit = config.trainer.clip_norm
    rows = [row for one in (None, limit) for row in descend(engine, config, inputs, labels, one)]
    return Figure(
        "clipping",
        "Clipping, on and off, where gradients explode",
        caption(rows, limit),
        "Two panels: the norm of the gradient by step, logarithmic, and the loss by step, each "
        "with clipping and without.",
        rows,
        draw(rows),
    )


def caption(rows: Sequence[Row], limit: float | None) -> str:
    """Say how large the gradients are, and where the loss ends."""
    off, on = where(rows, clipping="off"), where(rows, clipping="on")
    lower = "lower" if on[-1]["loss"] < off[-1]["loss"] else "not lower"
    return (
        f"An RNN whose recurrent weights are {number(GAIN)} times an orthogonal matrix: the norm "
        f"of its gradients gets as high as {number(max(column(off, 'norm')))} without clipping and "
        f"{number(max(column(on, 'norm')))} with it, of which a step uses "
        f"{number(max(column(on, 'norm_used')))} at most (limit {number(limit or 0)}). The loss "
        f"begins at {number(on[0]['loss'])} and after {off[-1]['step']} steps is "
        f"{number(off[-1]['loss'])} without clipping, after {on[-1]['step']} steps "
        f"{number(on[-1]['loss'])} with it: {lower} with it. Clipping "
        "keeps the gradient's direction and shortens it; one step along a gradient that exploded "
        "can undo all that came before."
    )


def draw(rows: Sequence[Row]) -> bytes:
    """Draw norms and losses by step."""
    picture = canvas("Exploding gradients in an RNN: clipping by norm, off and on")
    left, right = picture.subplots(1, 2)
    off, on = where(rows, clipping="off"), where(rows, clipping="on")
    line(left, 1, column(off, "step"), column(off, "norm"), "clipping off")
    line(left, 0, column(on, "step"), column(on, "norm"), "clipping on, before it")
    line(left, 2, column(on, "step"), column(on, "norm_used"), "clipping on, used")
    line(right, 1, column(off, "step"), column(off, "loss"), "clipping off")
    line(right, 0, column(on, "step"), column(on, "loss"), "clipping on")
    left.set_yscale("log")
    dress(left, "step", "norm of all gradients together", "gradient")
    dress(right, "step", "cross-entropy (nats)", "loss on the batch")
    for axes in (left, right):
        axes.legend(fontsize=FONT_SIZE)
    return png(picture)
