"""What each correction of the published programs changes: one training after the other, in NumPy.

A and D are two of the tutorials (docs/errata.md); each variant of D keeps the corrections of those
before it. All start from weights drawn as in the tutorials (seed 1), in float64, and use all four rows
in every step.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.xor.config import TwoLayer
from apps.xor.data import examples
from apps.xor.numpy_model import build_model
from shared.backprop import SGD
from shared.runs.folder import RunFolder
from shared.training.numpy_learner import build_loss

STEPS = 10_000
EVERY = 10  # steps between two points of a curve

A: dict[str, Any] = {"inputs": 2, "hidden": 3, "bias": False, "loss": "squared_error"}
D = {"inputs": 3, "hidden": 4, "bias": True, "loss": "squared_error"}
CORRECTED = D | {"loss": "binary_cross_entropy"}
# The network and the learning rate by label. The published gradient lacks its factor 2 / N (N = 4 rows):
# it is doubled, and takes at 0.1 the steps that the right gradient takes at 0.2.
VARIANTS = {
    "published: no biases, doubled gradient, learning rate 0.1": (A, 0.2),
    "published: biases, doubled gradient, learning rate 0.1": (D, 0.2),
    "corrected: the gradient": (D, 0.1),
    "corrected: also the loss, now cross-entropy": (CORRECTED, 0.1),
    "corrected: also the learning rate, now 1": (CORRECTED, 1.0),
}


def write_corrections(run: RunFolder) -> None:
    """Train every variant; write corrections.csv and corrections.png, and print the last errors."""
    from shared import charts

    errors = {label: squared_errors(network, lr) for label, (network, lr) in VARIANTS.items()}
    steps = np.arange(0, STEPS + 1, EVERY)
    for number, step in enumerate(steps):
        run.add_row("corrections.csv", {"step": step, **{label: e[number] for label, e in errors.items()}})
    run.write_rows("corrections.csv")
    title = "XOR: two published programs, and what each correction of the second changes"
    run.write("corrections.png", charts.log_curves(steps, errors, title, "step", "mean squared error"))
    print(f"mean squared error after {STEPS:,} steps, one correction after the other:")
    for label, error in errors.items():
        print(f"  {error[-1]:.6f}  {label}", flush=True)


def squared_errors(network: dict[str, Any], lr: float) -> NDArray[np.float64]:
    """Return the mean of (probability - label)^2 before training and after every tenth step."""
    config = TwoLayer(name="two_layer", published_seed=1, **network)
    model = build_model(config, np.float64, np.random.default_rng(0))
    rows = examples(config.inputs)
    loss, measured = build_loss(config.loss), build_loss("squared_error")
    optimizer = SGD(model.params, lr=lr)
    errors = []
    for step in range(STEPS + 1):
        logits = model.forward(rows.inputs)
        if step % EVERY == 0:
            errors.append(float(measured.forward(logits, rows.labels)))
        loss.forward(logits, rows.labels)
        model.backward(loss.backward())
        optimizer.step(model.grads)
    return np.array(errors)
