"""The published programs that learn XOR, and what each correction of the last one changes, in NumPy.

A, C and D are lecture decks (docs/errata.md) (B does not learn XOR). Every training uses all four rows
in every step, in float64.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.xor.config import TwoLayer
from apps.xor.data import examples
from apps.xor.numpy_model import build_model
from shared.backprop import SGD, Module
from shared.runs.folder import RunFolder
from shared.training.initial_weights import draw_weights
from shared.training.numpy_learner import build_loss

STEPS = 10_000
EVERY = 10  # steps between two points of a curve


@dataclass(frozen=True)
class Training:
    """A network (keys of `TwoLayer`), its learning rate, and the steps and panels of its curve."""

    network: dict[str, Any]
    lr: float
    first: int = 0
    last: int = STEPS
    panels: tuple[int, ...] = (0,)  # 0: published programs, 1: corrections


A = {"inputs": 2, "hidden": 3, "bias": False, "loss": "squared_error", "published_seed": 1}
C = {"inputs": 2, "hidden": 4, "bias": True, "loss": "binary_cross_entropy", "init": "normal"}
D = {"inputs": 3, "hidden": 4, "bias": True, "loss": "squared_error", "published_seed": 1}
D_CROSS_ENTROPY = D | {"loss": "binary_cross_entropy"}
# The gradients of A and D lack their factor 2 / N (N = 4 rows), which doubles them: at 0.1 they take the
# steps that the right gradient takes at 0.2.
TRAININGS = {
    "A7: no biases, doubled gradient, learning rate 0.1": Training(A, 0.2, last=1000),
    "A8: continues where A7 ended": Training(A, 0.2, first=1000, last=2000),
    "C7: normal weights, cross-entropy, learning rate 0.1": Training(C, 0.1),
    "D5: biases, doubled gradient, learning rate 0.1": Training(D, 0.2, panels=(0, 1)),
    "D5 corrected: the gradient": Training(D, 0.1, panels=(1,)),
    "D5 corrected: also the loss, now cross-entropy": Training(D_CROSS_ENTROPY, 0.1, panels=(1,)),
    "D5 corrected: also the learning rate, now 1": Training(D_CROSS_ENTROPY, 1.0, panels=(1,)),
}


def write_corrections(run: RunFolder) -> None:
    """Run every training; write corrections.csv and corrections.png, and print the last errors."""
    errors = {label: squared_errors(training) for label, training in TRAININGS.items()}
    for number in range(STEPS // EVERY + 1):
        values = {label: "" if np.isnan(curve[number]) else curve[number] for label, curve in errors.items()}
        run.add_row("corrections.csv", {"step": number * EVERY, **values})
    run.write_rows("corrections.csv")
    run.write("corrections.png", draw(errors))
    print("mean squared error of the published programs, and of D5 with one correction after the other:")
    for label, training in TRAININGS.items():
        print(f"  {errors[label][training.last // EVERY]:.6f} after {training.last:6,} steps  {label}")


def draw(errors: dict[str, NDArray[np.float64]]) -> bytes:
    """Return a PNG: on the left the published programs, on the right the corrections of D5."""
    from shared import charts  # matplotlib takes a second to import

    titles = ("published programs", "one correction of D5 after the other")
    steps = np.arange(0, STEPS + 1, EVERY)
    chart = charts.figure("XOR", size=(14, 7))
    panels = chart.subplots(1, 2, sharey=True)
    for panel, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        labels = [label for label, training in TRAININGS.items() if panel in training.panels]
        for label in reversed(labels):  # the first on top
            charts.curve(axes, list(errors).index(label), steps, errors[label], label)
        axes.set_yscale("log")
        charts.label_axes(axes, "step", "mean squared error", title)
        charts.legend_below_axes(axes, reverse=True)
    return charts.png(chart)


def squared_errors(training: Training) -> NDArray[np.float64]:
    """Return the mean of (probability - label)^2 before training and after every tenth step.

    It is NaN at the steps that the curve of the training does not show.
    """
    config, model = initial_network(training)
    rows = examples(config.inputs)
    loss, measured = build_loss(config.loss), build_loss("squared_error")
    optimizer = SGD(model.params, lr=training.lr)
    errors = np.full(STEPS // EVERY + 1, np.nan)
    for step in range(training.last + 1):
        logits = model.forward(rows.inputs)
        if step >= training.first and step % EVERY == 0:
            errors[step // EVERY] = measured.forward(logits, rows.labels)
        loss.forward(logits, rows.labels)
        model.backward(loss.backward())
        optimizer.step(model.grads)
    return errors


def initial_network(training: Training) -> tuple[TwoLayer, Module]:
    """Return the configuration of a training's network and the network, with its initial weights."""
    config = TwoLayer(**({"name": "two_layer", "published_seed": None} | training.network))
    model = build_model(config, np.float64, np.random.default_rng(0))
    if config.init != "torch":
        model.load_state_dict(draw_weights(model.state_dict(), config.init, seed=0))
    return config, model
