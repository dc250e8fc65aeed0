"""The gradients of a layer by central differences of its own forward pass."""

from typing import Any

import numpy as np

from shared.backprop.module import Array
from tools.check.observe import LayerFailed, Trial, clone, flatten, is_float, outputs_of

STEP = 1e-5
MOST = 3_000  # numbers to be changed one by one
KINK = 1e-3  # where the slopes on the two sides differ by more, there is no derivative


def numeric_gradients(layer: Any, trial: Trial) -> dict[str, Array]:
    """Return the slope of sum(dy * y) for every number of inputs and parameters; NaN where it has a kink."""
    base = clone(layer)
    values = [np.array(value, np.float64) if is_float(value) else value for value in trial.inputs]

    def outputs() -> Any:
        return outputs_of(clone(base), [np.copy(value) for value in values], trial.keywords)

    def loss() -> float:
        return float(sum((dy * y).sum() for dy, y in zip(dys, flatten(outputs()), strict=False)))

    dys = flatten(trial.upstream(layer, outputs())) or [np.ones(())]
    arrays = {f"d{name}": value for name, value in zip(trial.names, values, strict=True) if is_float(value)}
    arrays |= {f"d{name}": value for name, value in trial.parameters(base).items()}
    if (count := sum(array.size for array in arrays.values())) > MOST:
        raise LayerFailed(f"{count:,} numbers to check: take a smaller layer or input (up to {MOST:,})")
    middle = loss()
    found = {}
    for key, array in arrays.items():
        gradient = found[key] = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            number = array[index]
            array[index] = number + STEP
            above = loss()
            array[index] = number - STEP
            below = loss()
            array[index] = number
            right, left = (above - middle) / STEP, (middle - below) / STEP
            kink = abs(right - left) > KINK * max(1, abs(right), abs(left))
            gradient[index] = np.nan if kink else (above - below) / (2 * STEP)
    return found
