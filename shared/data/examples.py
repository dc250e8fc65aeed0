"""Inputs with their labels, as a learner takes them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Examples:
    """N inputs and their labels.

    Attributes:
        inputs: an array (N, ...), or an object that returns one for an array of rows or a slice:
            `text.Sequences` pads a batch of texts, `images.Standardized` looks gray values up.
        labels: int64 (N,).
    """

    inputs: Any
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)
