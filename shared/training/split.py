"""Which examples are trained with, and which are held back to validate with."""

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError


def hold_back(
    order: NDArray[np.int64], fraction: float, batch_size: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions to train with and those to validate with, both sorted.

    Args:
        order: positions of the training examples, shuffled (N,).
        fraction: how much of them is held back, one at least.
        batch_size: how many examples a step takes.
        name: what the data set is called.

    Raises:
        ConfigError: a batch would be larger than what is left to train with.
    """
    held_back = max(1, round(fraction * len(order)))
    if batch_size > len(order) - held_back:
        raise ConfigError(
            f"trainer.batch_size={batch_size} is larger than the training set: "
            f"{len(order) - held_back} examples of {name} are left beside {held_back} for "
            "validation"
        )
    return np.sort(order[held_back:]), np.sort(order[:held_back])
