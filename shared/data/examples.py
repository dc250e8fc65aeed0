"""Inputs with their labels, as a learner takes them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError


@dataclass(frozen=True)
class Examples:
    """N inputs and their labels.

    Inputs are an array (N, ...), or an object that returns one for an array of rows or a slice:
    `sequences.Sequences` pads a batch of texts, `images.Standardized` looks gray values up.
    """

    inputs: Any
    labels: NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64] | slice) -> "Examples":
        """Return the examples at the positions `rows`."""
        return Examples(self.inputs[rows], self.labels[rows])


def hold_back(
    order: NDArray[np.int64], fraction: float, batch_size: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the training and of the validation examples, both sorted.

    Args:
        order: positions of the examples, shuffled (N,).
        fraction: of the examples, used for validation; at least one is, unless it is 0.
        batch_size: examples per step.
        name: of the data set, for messages.

    Raises:
        ConfigError: a batch would be larger than what is left for training.
    """
    held_back = max(1, round(fraction * len(order))) if fraction else 0
    if len(order) and batch_size > len(order) - held_back:
        raise ConfigError(
            f"trainer.batch_size={batch_size} is larger than the training set; choose a smaller one: "
            f"{len(order) - held_back} examples of {name} are left after {held_back} are held back"
        )
    return np.sort(order[held_back:]), np.sort(order[:held_back])
