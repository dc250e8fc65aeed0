"""The gradients of a layer by central differences of its own forward pass."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from shared.backprop.module import Array
from tools.check.observe import LayerFailed, Trial, clone, flatten, is_float, outputs_of, parameters

STEP = 1e-5
MOST = 3_000  # numbers to be changed one by one
KINK = 1e-3  # where the slopes on the two sides differ by more, there is no derivative


def numeric_gradients(layer: Any, trial: Trial) -> dict[str, Array]:
    """Return the slope of sum(dy * y) for every number of inputs and parameters; NaN where it has a kink."""
    base = clone(layer)
    values = [np.array(value, np.float64) if is_float(value) else value for value in trial.inputs]
    y = outputs_of(clone(base), [np.copy(value) for value in values], trial.keywords)
    dys = flatten(trial.upstream(layer, y)) or [np.ones(())]

    def loss(read: Callable[[Any, list[Any]], Array], index: tuple[int, ...], change: float) -> float:
        changed, arguments = clone(base), [np.copy(value) for value in values]
        read(changed, arguments)[index] += change
        outputs = flatten(outputs_of(changed, arguments, trial.keywords))
        return float(sum((dy * out).sum() for dy, out in zip(dys, outputs, strict=False)))

    inputs = [number for number, value in enumerate(values) if is_float(value)]
    readers: dict[str, Callable[[Any, list[Any]], Array]] = {
        **{f"d{trial.names[number]}": partial(read_input, number) for number in inputs},
        **{f"d{name}": partial(read_parameter, name) for name in trial.parameters(base)},
    }
    shapes = {key: read(base, values).shape for key, read in readers.items()}
    if (count := sum(int(np.prod(shape)) for shape in shapes.values())) > MOST:
        raise LayerFailed(f"{count:,} numbers to check: take a smaller layer or input (up to {MOST:,})")
    middle = sum(float((dy * out).sum()) for dy, out in zip(dys, flatten(y), strict=False))
    found = {}
    for key, read in readers.items():
        gradient = found[key] = np.empty(shapes[key])
        for index in np.ndindex(shapes[key]):
            above, below = (loss(read, index, change) for change in (STEP, -STEP))
            right, left = (above - middle) / STEP, (middle - below) / STEP
            kink = abs(right - left) > KINK * max(1, abs(right), abs(left))
            gradient[index] = np.nan if kink else (above - below) / (2 * STEP)
    return found


def read_input(number: int, layer: Any, inputs: list[Any]) -> Array:
    found: Array = inputs[number]
    return found


def read_parameter(name: str, layer: Any, inputs: list[Any]) -> Array:
    return parameters(layer)[name]
