"""The truth table, and the initial weights of the published programs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.xor.config import Config, TwoLayer
from shared.data.examples import Examples
from shared.files import sha256_of

ROWS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
LABELS = np.array([0, 1, 1, 0])  # 1 where exactly one bit is set


@dataclass(frozen=True)
class TruthTable:
    """The data set: its rows are ROWS and LABELS."""

    name: str = "xor"
    source: str = "the truth table"
    embedded: bool = False
    classes: tuple[str, ...] = ("0", "1")
    sha256: str = sha256_of(ROWS.tobytes() + LABELS.tobytes())


def load_data(config: Config) -> TruthTable:
    """Return the data set."""
    return TruthTable()


def split(table: TruthTable, config: Config) -> tuple[Examples, None, Examples]:
    """Return the four rows to train on, nothing to validate on, and the same four rows to test on."""
    rows = examples(config.model.inputs)
    return rows, None, rows


def examples(inputs: int) -> Examples:
    """Return the four rows for a network with two or three inputs."""
    return Examples(network_inputs(ROWS, inputs), LABELS)


def network_inputs(points: NDArray[np.float64], inputs: int) -> NDArray[np.float64]:
    """Return points (N, 2) as the network takes them, (N, inputs): a third input is always 1."""
    return np.concatenate([points, np.ones((len(points), inputs - 2))], axis=1)


def published_weights(config: TwoLayer) -> dict[str, NDArray[np.float64]] | None:
    """Return the initial weights by torch's names, float64; None where a framework draws its own.

    Decks A and D draw each matrix (inputs, outputs), then its bias, from NumPy's legacy generator,
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
