"""The same networks in NumPy, with the backward pass by hand (shared/backprop).

Each is a chain of layers: `backward` goes through them in the opposite order. The names are those
of torch_model.py, so that weights go from one to the other as they are.
"""

from typing import Any

import numpy as np

from apps.mnist_cnn.config import Cnn, FastCnn, Mlp
from shared.backprop import (
    Array,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
)

CLASSES = 10
SIDE = 28  # pixels


class OnImages(Sequential):
    """A chain of layers whose first is a convolution; images (N, 28, 28) to logits (N, 10)."""

    def forward(self, images: Array) -> Array:
        return super().forward(images[:, None])

    def backward(self, dlogits: Array) -> Any:
        return super().backward(dlogits)[:, 0]


def numpy_cnn(config: Cnn, dtype: type, rng: np.random.Generator) -> Module:
    """Return `TorchCnn` in NumPy; images (N, 28, 28) to logits (N, 10)."""
    first, second = config.channels
    pooled = (SIDE - 4) // 2  # two 3x3 convolutions without padding, then 2x2 pooling
    return OnImages(
        conv1=Conv2d(1, first, kernel_size=3, dtype=dtype, rng=rng),
        relu1=ReLU(),
        conv2=Conv2d(first, second, kernel_size=3, dtype=dtype, rng=rng),
        pool=MaxPool2d(2),
        relu2=ReLU(),  # ReLU of the maximum is the maximum of ReLU
        flatten=Flatten(),
        dropout1=Dropout(config.dropout[0], rng=rng),
        fc1=Linear(second * pooled * pooled, config.hidden, dtype=dtype, rng=rng),
        relu3=ReLU(),
        dropout2=Dropout(config.dropout[1], rng=rng),
        fc2=Linear(config.hidden, CLASSES, dtype=dtype, rng=rng),
    )


def numpy_fast_cnn(config: FastCnn, dtype: type, rng: np.random.Generator) -> Module:
    """Return `TorchFastCnn` in NumPy; images (N, 28, 28) to logits (N, 10)."""
    first, second = config.channels
    pooled = ((SIDE - 4) // 2 - 4) // 2  # 5x5 convolution and 2x2 pooling, twice
    return OnImages(
        conv1=Conv2d(1, first, kernel_size=5, bias=False, dtype=dtype, rng=rng),
        pool1=MaxPool2d(2),
        norm1=BatchNorm2d(first, dtype=dtype),
        relu1=ReLU(),
        conv2=Conv2d(first, second, kernel_size=5, bias=False, dtype=dtype, rng=rng),
        pool2=MaxPool2d(2),
        norm2=BatchNorm2d(second, dtype=dtype),
        relu2=ReLU(),
        flatten=Flatten(),
        fc1=Linear(second * pooled * pooled, config.hidden, dtype=dtype, rng=rng),
        relu3=ReLU(),
        fc2=Linear(config.hidden, CLASSES, dtype=dtype, rng=rng),
    )


def numpy_mlp(config: Mlp, dtype: type, rng: np.random.Generator) -> Module:
    """Return `TorchMlp` in NumPy; images (N, 28, 28) to logits (N, 10)."""
    first, second = config.hidden
    return Sequential(
        flatten=Flatten(),
        fc1=Linear(SIDE * SIDE, first, dtype=dtype, rng=rng),
        relu1=ReLU(),
        fc2=Linear(first, second, dtype=dtype, rng=rng),
        relu2=ReLU(),
        fc3=Linear(second, CLASSES, dtype=dtype, rng=rng),
    )


def build_model(config: Cnn | FastCnn | Mlp, dtype: type, rng: np.random.Generator) -> Module:
    """Return the network that `config.name` names; its weights are drawn as torch draws them."""
    match config:
        case Cnn():
            return numpy_cnn(config, dtype, rng)
        case FastCnn():
            return numpy_fast_cnn(config, dtype, rng)
        case Mlp():
            return numpy_mlp(config, dtype, rng)
