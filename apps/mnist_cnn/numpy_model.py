"""The networks in NumPy, with the backward pass by hand (shared/backprop).

Each is a chain of layers, which `backward` goes through in reverse. The names are those of
torch_model.py, so that weights can be copied from one to the other.
"""

from typing import Any

import numpy as np

from apps.mnist_cnn.config import CLASSES, SIDE, Cnn, FastCnn, Mlp
from shared import backprop as nn
from shared.backprop import Array


class OnImages(nn.Sequential):
    """A chain of layers whose first is a convolution; images (N, 28, 28) to logits (N, 10)."""

    def forward(self, images: Array) -> Array:
        return super().forward(images[:, None])

    def backward(self, dlogits: Array) -> Any:
        return super().backward(dlogits)[:, 0]


def numpy_cnn(config: Cnn, dtype: type, rng: np.random.Generator) -> nn.Module:
    """Return `TorchCnn` in NumPy; images (N, 28, 28) to logits (N, 10)."""
    first, second = config.channels
    pooled = (SIDE - 4) // 2  # two 3x3 convolutions without padding, then 2x2 pooling
    pool_and_relu: dict[str, nn.Module] = {"relu2": nn.ReLU(), "pool": nn.AvgPool2d(2)}
    if config.pool == "max":  # ReLU after pooling: the same result from a quarter of the values
        pool_and_relu = {"pool": nn.MaxPool2d(2), "relu2": nn.ReLU()}
    return OnImages(
        conv1=nn.Conv2d(1, first, kernel_size=3, dtype=dtype, rng=rng),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(first, second, kernel_size=3, dtype=dtype, rng=rng),
        **pool_and_relu,
        flatten=nn.Flatten(),
        dropout1=nn.Dropout(config.dropout[0], rng=rng),
        fc1=nn.Linear(second * pooled * pooled, config.hidden, dtype=dtype, rng=rng),
        relu3=nn.ReLU(),
        dropout2=nn.Dropout(config.dropout[1], rng=rng),
        fc2=nn.Linear(config.hidden, CLASSES, dtype=dtype, rng=rng),
    )


def numpy_fast_cnn(config: FastCnn, dtype: type, rng: np.random.Generator) -> nn.Module:
    """Return `TorchFastCnn` in NumPy; images (N, 28, 28) to logits (N, 10)."""
    first, second = config.channels
    pooled = ((SIDE - 4) // 2 - 4) // 2  # 5x5 convolution and 2x2 pooling, twice
    return OnImages(
        conv1=nn.Conv2d(1, first, kernel_size=5, bias=False, dtype=dtype, rng=rng),
        pool1=nn.MaxPool2d(2),
        norm1=nn.BatchNorm2d(first, dtype=dtype),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(first, second, kernel_size=5, bias=False, dtype=dtype, rng=rng),
        pool2=nn.MaxPool2d(2),
        norm2=nn.BatchNorm2d(second, dtype=dtype),
        relu2=nn.ReLU(),
        flatten=nn.Flatten(),
        fc1=nn.Linear(second * pooled * pooled, config.hidden, dtype=dtype, rng=rng),
        relu3=nn.ReLU(),
        fc2=nn.Linear(config.hidden, CLASSES, dtype=dtype, rng=rng),
    )


def numpy_mlp(config: Mlp, dtype: type, rng: np.random.Generator) -> nn.Module:
    """Return `TorchMlp` in NumPy; images (N, 28, 28) to logits (N, 10)."""
    first, second = config.hidden
    activation: Any = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}[config.activation]
    return nn.Sequential(
        flatten=nn.Flatten(),
        fc1=nn.Linear(SIDE * SIDE, first, dtype=dtype, rng=rng),
        activation1=activation(),
        fc2=nn.Linear(first, second, dtype=dtype, rng=rng),
        activation2=activation(),
        fc3=nn.Linear(second, CLASSES, dtype=dtype, rng=rng),
    )


NETWORKS: dict[str, Any] = {
    "cnn": numpy_cnn,
    "fast_cnn": numpy_fast_cnn,
    "accurate_cnn": numpy_fast_cnn,
    "mlp": numpy_mlp,
}


def build_model(config: Any, dtype: type, rng: np.random.Generator) -> nn.Module:
    """Return the network that `config.name` names; `rng` draws weights from torch's distributions."""
    return NETWORKS[config.name](config, dtype, rng)
