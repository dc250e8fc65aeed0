"""The four rows, and the initial weights of the published programs."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.xor.config import TwoLayer
from shared.data.examples import Examples

ROWS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def examples(inputs: int) -> Examples:
    """Return the truth table: inputs float64 (4, inputs), labels 1 where exactly one bit is set."""
    labels = (ROWS.sum(axis=1) == 1).astype(np.int64)
    return Examples(with_ones(ROWS, inputs), labels)


def with_ones(points: NDArray[np.float64], inputs: int) -> NDArray[np.float64]:
    """Return points (N, 2) as a network with so many inputs takes them: (N, inputs)."""
    ones = np.ones((len(points), inputs - points.shape[1]))
    return np.concatenate([points, ones], axis=1)


@dataclass(frozen=True)
class TruthTable:
    """What the data set says of itself.

    Attributes:
        name: its name.
        source: where it came from, in words.
        embedded: whether it stands in for another one.
    """

    name: str = "xor"
    source: str = "the truth table"
    embedded: bool = False

    @property
    def sha256(self) -> str:
        """Return the hex digest of the bits of all rows, float64, then the labels."""
        table = examples(2)
        return hashlib.sha256(table.inputs.tobytes() + table.labels.tobytes()).hexdigest()


TRUTH_TABLE = TruthTable()


def published_weights(config: TwoLayer) -> dict[str, NDArray[np.float64]] | None:
    """Return the initial weights by torch's names, float64; None where a framework draws its own.

    The tutorials draw each matrix (inputs, outputs), then its bias, from NumPy's legacy generator,
    uniform between 0 and 1. All positive: the hidden units begin almost alike.
    """
    if config.published_seed is None:
        return None
    random = np.random.RandomState(config.published_seed)
    weights = {}
    for name, fan_in, fan_out in (("fc1", config.inputs, config.hidden), ("fc2", config.hidden, 1)):
        weights[f"{name}.weight"] = random.rand(fan_in, fan_out).T
        if config.bias:
            weights[f"{name}.bias"] = random.rand(fan_out)
    return weights
