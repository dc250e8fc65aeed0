"""The same network in NumPy, with the backward pass by hand (shared/backprop)."""

import numpy as np

from apps.xor.config import TwoLayer
from apps.xor.data import published_weights
from shared.backprop import Linear, Module, Sequential, Sigmoid


def build_model(config: TwoLayer, dtype: type, rng: np.random.Generator) -> Module:
    """Return `TorchTwoLayer` in NumPy; inputs (N, 2 or 3) to logits (N, 1)."""
    network = Sequential(
        fc1=Linear(config.inputs, config.hidden, config.bias, dtype=dtype, rng=rng),
        sigmoid=Sigmoid(),
        fc2=Linear(config.hidden, 1, config.bias, dtype=dtype, rng=rng),
    )
    weights = published_weights(config)
    if weights is not None:
        network.load_state_dict(weights)
    return network
