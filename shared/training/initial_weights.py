"""Initial weights by name, the same in every framework: `model.init`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        if init == "glorot":  # uniform: Glorot and Bengio 2010, equation 16
            bound = (6 / (fan_in + fan_out)) ** 0.5
            new = random.uniform(-bound, bound, (fan_out, fan_in))
        else:  # he: He et al. 2015, section 2.2
            std = {"normal": 1.0, "he": (2 / fan_in) ** 0.5}[init]
            new = random.normal(0, std, (fan_out, fan_in))
        drawn[name] = (new.T if keras else new).astype(old.dtype)
    return drawn
