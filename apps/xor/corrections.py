"""What each correction of the published programs changes: one training after the other, in NumPy.

A and D are two of the tutorials (docs/errata.md); each line of D keeps what the lines before it
have corrected. All start from weights drawn as the tutorials draw them (seed 1), in float64, and
use all four rows in every step.
"""

from dataclasses import dataclass

import numpy as np

from apps.xor.config import TwoLayer
from apps.xor.data import examples
from apps.xor.numpy_model import build_model
from shared.backprop import SGD
from shared.runs.folder import RunFolder
from shared.training.numpy_learner import build_loss

STEPS = 10_000
EVERY = 10  # steps between two points of a curve


@dataclass(frozen=True)
class Variant:
    """A network with its loss and learning rate, and what to call it."""

    label: str
    inputs: int
    hidden: int
    bias: bool
    loss: str
    lr: float


# A gradient that lacks its factor 2 / N (N = 4 rows) takes, at a rate of 0.1, the steps that the
# right gradient takes at 0.1 * N / 2 = 0.2.
VARIANTS = [
    Variant("A: 2-3-1, no biases, gradient without 2/N, lr 0.1", 2, 3, False, "squared_error", 0.2),
    Variant("D: 3-4-1, biases, gradient without 2/N, lr 0.1", 3, 4, True, "squared_error", 0.2),
    Variant("D with the loss's own gradient, lr 0.1", 3, 4, True, "squared_error", 0.1),
    Variant("D with cross-entropy and its gradient, lr 0.1", 3, 4, True, "binary_cross_entropy", 0.1),
    Variant("the same, lr 1", 3, 4, True, "binary_cross_entropy", 1.0),
]


def write_corrections(run: RunFolder) -> None:
    """Train every variant; write corrections.csv and corrections.png, and say what came out."""
    from shared import charts

    errors = {variant.label: squared_errors(variant) for variant in VARIANTS}
    steps = np.arange(0, STEPS + 1, EVERY)
    for step in range(len(steps)):
        row = {label: error[step] for label, error in errors.items()}
        run.add_row("corrections.csv", {"step": steps[step], **row})
    run.write_rows("corrections.csv")
    title = "XOR: what each correction changes"
    run.write("corrections.png", charts.log_curves(steps, errors, title, "step", "mean squared error"))
    print(f"mean squared error after {STEPS:,} steps, one correction after the other:")
    for label, error in errors.items():
        print(f"  {error[-1]:.6f}  {label}", flush=True)


def squared_errors(variant: Variant, steps: int = STEPS) -> np.ndarray:
    """Return the mean of (probability - label)^2 before training and after every tenth step."""
    model = TwoLayer(
        name="two_layer",
        inputs=variant.inputs,
        hidden=variant.hidden,
        bias=variant.bias,
        loss=variant.loss,  # type: ignore[arg-type]  # a dataclass field is a plain string
        published_seed=1,
    )
    network = build_model(model, np.float64, np.random.default_rng(0))
    rows = examples(variant.inputs)
    loss, measured = build_loss(variant.loss), build_loss("squared_error")  # type: ignore[arg-type]
    optimizer = SGD(network.params, lr=variant.lr)
    errors = []
    for step in range(steps + 1):
        logits = network.forward(rows.inputs)
        if step % EVERY == 0:
            errors.append(float(measured.forward(logits, rows.labels)))
        loss.forward(logits, rows.labels)
        network.backward(loss.backward())
        optimizer.step(network.grads)
    return np.array(errors)
