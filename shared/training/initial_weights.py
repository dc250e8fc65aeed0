"""Initial weights by name, the same in every framework: `model.init`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The standard deviation of a normal distribution, or the bound of a uniform one, by fan-in and fan-out.
NORMAL: dict[str, Callable[[int, int], float]] = {
    "normal": lambda fan_in, fan_out: 1.0,
    "he": lambda fan_in, fan_out: (2 / fan_in) ** 0.5,  # He et al. 2015, section 2.2
}
UNIFORM: dict[str, Callable[[int, int], float]] = {
    "glorot": lambda fan_in, fan_out: (6 / (fan_in + fan_out)) ** 0.5  # Glorot and Bengio 2010, equation 16
}


def draw_weights(weights: Mapping[str, NDArray[Any]], init: str, seed: int) -> dict[str, NDArray[Any]]:
    """Return initial weights for a network of dense layers; biases are zero.

    Args:
        weights: what `Learner.weights` returns; their order, names, shapes and dtypes count.
        init: `glorot`, `he` or `normal`.
        seed: the same seed gives the same weights in every framework.
    """
    random = np.random.default_rng(seed)
    drawn = {}
    for name, old in weights.items():
        if old.ndim == 1:
            drawn[name] = np.zeros_like(old)
            continue
        keras = name.endswith("kernel")  # (inputs, outputs); elsewhere (outputs, inputs)
        fan_in, fan_out = old.shape if keras else old.shape[::-1]
        if init in NORMAL:
            new = random.normal(0, NORMAL[init](fan_in, fan_out), (fan_out, fan_in))
        else:
            bound = UNIFORM[init](fan_in, fan_out)
            new = random.uniform(-bound, bound, (fan_out, fan_in))
        drawn[name] = (new.T if keras else new).astype(old.dtype)
    return drawn
