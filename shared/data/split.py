"""Which training examples are held back for validation."""

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError


def hold_back(
    order: NDArray[np.int64], fraction: float, batch_size: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the training and of the validation examples, both sorted.

    Args:
        order: positions of the examples, shuffled (N,).
        fraction: of the examples, used for validation; at least one is.
        batch_size: examples per step.
        name: of the data set, for messages.

    Raises:
        ConfigError: a batch would be larger than what is left for training.
    """
    held_back = max(1, round(fraction * len(order)))
    if batch_size > len(order) - held_back:
        raise ConfigError(
            f"trainer.batch_size={batch_size} is larger than the training set: {len(order) - held_back} "
            f"examples of {name} are left after {held_back} are held back for validation"
        )
    return np.sort(order[held_back:]), np.sort(order[:held_back])
