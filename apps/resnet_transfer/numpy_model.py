"""ResNet in NumPy, with the backward pass by hand (shared/backprop); weights by torchvision's names."""

from typing import Any

import numpy as np

from apps.resnet_transfer.config import BLOCKS, EXPANSION, MEAN, STD, ResNet, block_convolutions
from shared.backprop import (
    AdaptiveAvgPool2d,
    Array,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
)


class Block(Module):
    """y = ReLU(layers(x) + shortcut(x)), with the layers under torchvision's names."""

    def __init__(self, layers: dict[str, Module], shortcut: Sequential | None) -> None:
        super().__init__()
        self.sum, self.relu = Residual(Sequential(*layers.values()), shortcut), ReLU()
        self._add(**layers, **({} if shortcut is None else {"downsample": shortcut}))

    def forward(self, x: Array) -> Array:
        return self.relu.forward(self.sum.forward(x))

    def backward(self, dy: Array) -> Array:
        dx: Array = self.sum.backward(self.relu.backward(dy))
        self._collect()
        return dx


class NumpyResNet(Sequential):
    """A chain of layers: images (N, H, W, 3) of 0 to 255, of any dtype, to logits (N, classes)."""

    dtype: type = np.float32

    def forward(self, images: Array) -> Array:
        return super().forward(normalize(images, self.dtype))

    def features(self, images: Array) -> Array:
        """Return the inputs of the last layer, (N, F)."""
        x = normalize(images, self.dtype)
        for name, layer in self.children.items():
            if name != "fc":
                x = layer.forward(x)
        return x


def normalize(images: Array, dtype: type) -> Array:
    """Return images (N, H, W, 3) of 0 to 255 as (N, 3, H, W), by ImageNet's mean and standard deviation."""
    pixels = (images.astype(np.float64) / 255 - MEAN) / STD
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).astype(dtype))


class Factory:
    """Builds layers with one dtype and one random generator."""

    def __init__(self, dtype: type, rng: np.random.Generator) -> None:
        self.dtype, self.rng = dtype, rng

    def conv(self, inputs: int, outputs: int, size: int, stride: int = 1) -> Conv2d:
        """Return a convolution without bias; its weights are normal with variance 2 / fan_out."""
        layer = Conv2d(inputs, outputs, size, stride, size // 2, bias=False, dtype=self.dtype, rng=self.rng)
        weight = layer.params["weight"]
        weight[...] = self.rng.normal(0, np.sqrt(2 / (outputs * size**2)), weight.shape)
        return layer

    def block(self, kind: str, inputs: int, width: int, stride: int) -> Block:
        """Return a `BasicBlock`, or a `Bottleneck` with its stride in the 3x3 convolution."""
        outputs = width * EXPANSION[kind]
        plan = block_convolutions(kind, width, stride)
        layers: dict[str, Module] = {}
        channels = inputs
        for number, (width, size, step) in enumerate(plan, start=1):
            layers[f"conv{number}"] = self.conv(channels, width, size, step)
            layers[f"bn{number}"] = BatchNorm2d(width, dtype=self.dtype)
            if number < len(plan):
                layers[f"relu{number}"] = ReLU()
            channels = width
        shortcut = None
        if stride != 1 or inputs != outputs:
            shortcut = Sequential(
                self.conv(inputs, outputs, 1, stride), BatchNorm2d(outputs, dtype=self.dtype)
            )
        return Block(layers, shortcut)


def build_model(config: ResNet, dtype: type, rng: np.random.Generator, classes: int) -> Module:
    """Return the network, initialized as torchvision does."""
    kind, counts = BLOCKS[config.name]
    make, width = Factory(dtype, rng), config.width
    layers: dict[str, Module] = {
        "conv1": make.conv(3, width, 7, 2 if config.stem == "imagenet" else 1),
        "bn1": BatchNorm2d(width, dtype=dtype),
        "relu": ReLU(),
    }
    if config.stem == "imagenet":
        layers["maxpool"] = MaxPool2d(3, 2, 1)
    channels = width
    for stage, count in enumerate(counts):
        blocks = []
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            blocks.append(make.block(kind, channels, width * 2**stage, stride))
            channels = width * 2**stage * EXPANSION[kind]
        layers[f"layer{stage + 1}"] = Sequential(*blocks)
    layers |= {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten()}
    network = NumpyResNet(**layers, fc=Linear(channels, classes, dtype=dtype, rng=rng))
    network.dtype = dtype
    return network


def build_head(config: ResNet, dtype: type, rng: np.random.Generator, features: int, classes: int) -> Module:
    """Return the last layer alone: features (N, features) to logits (N, classes)."""
    return Sequential(fc=Linear(features, classes, dtype=dtype, rng=rng))


def features(learner: Any, images: Array) -> Array:
    """Return the backbone's features of one batch in evaluation mode, (N, F)."""
    result: Array = learner.model.eval().features(images)
    return result
