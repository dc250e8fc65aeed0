"""The same network in NumPy, with the backward pass by hand (shared/backprop).

A block is a `Residual` with a ReLU behind. The names are torchvision's, so that weights go from one
to the other as they are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from apps.resnet_transfer.config import ResNet
from apps.resnet_transfer.shapes import BLOCKS, EXPANSION, standardized
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
    """A chain of layers; pictures (N, H, W, 3) of 0 to 255, any dtype, to logits (N, classes)."""

    dtype: type = np.float32

    def forward(self, images: Array) -> Array:
        return super().forward(standardized(images, self.dtype))

    def features(self, images: Array) -> Array:
        """Return what the last layer is given, (N, F)."""
        x = standardized(images, self.dtype)
        for name, layer in self.children.items():
            if name != "fc":
                x = layer.forward(x)
        return x


class Maker:
    """Makes layers that all have the same dtype and draw from the same generator."""

    def __init__(self, dtype: type, rng: np.random.Generator) -> None:
        self.dtype, self.rng = dtype, rng

    def conv(self, inputs: int, outputs: int, size: int, stride: int = 1) -> Conv2d:
        """Return a convolution without bias; its weights are normal with variance 2 / fan_out."""
        layer = Conv2d(inputs, outputs, size, stride, size // 2, bias=False, dtype=self.dtype, rng=self.rng)
        weight = layer.params["weight"]
        weight[...] = self.rng.normal(0, np.sqrt(2 / (outputs * size**2)), weight.shape)
        return layer

    def norm(self, channels: int) -> BatchNorm2d:
        """Return batch normalization."""
        return BatchNorm2d(channels, dtype=self.dtype)

    def block(self, kind: str, inputs: int, width: int, stride: int) -> Block:
        """Return a `BasicBlock` or a `Bottleneck`; the latter has its stride in the 3x3 layer."""
        outputs = width * EXPANSION[kind]
        sizes = (3, 3) if kind == "BasicBlock" else (1, 3, 1)
        strides = (stride, 1) if kind == "BasicBlock" else (1, stride, 1)
        channels = [inputs, *(width for _ in sizes[1:]), outputs]
        layers: dict[str, Module] = {}
        for number, (size, step) in enumerate(zip(sizes, strides, strict=True), start=1):
            layers[f"conv{number}"] = self.conv(channels[number - 1], channels[number], size, step)
            layers[f"bn{number}"] = self.norm(channels[number])
            if number < len(sizes):
                layers[f"relu{number}"] = ReLU()
        shortcut = None
        if stride != 1 or inputs != outputs:
            shortcut = Sequential(self.conv(inputs, outputs, 1, stride), self.norm(outputs))
        return Block(layers, shortcut)

    def stage(self, kind: str, inputs: int, width: int, count: int, stride: int) -> Sequential:
        """Return the blocks of one stage; the first of them may have a stride."""
        outputs = width * EXPANSION[kind]
        first = self.block(kind, inputs, width, stride)
        return Sequential(first, *(self.block(kind, outputs, width, 1) for _ in range(count - 1)))


def build_model(config: ResNet, dtype: type, rng: np.random.Generator, classes: int) -> Module:
    """Return the network with weights drawn as torchvision draws them."""
    kind, counts = BLOCKS[config.name]
    make, width = Maker(dtype, rng), config.width
    layers: dict[str, Module] = {
        "conv1": make.conv(3, width, 7, 2 if config.stem == "imagenet" else 1),
        "bn1": make.norm(width),
        "relu": ReLU(),
    }
    if config.stem == "imagenet":
        layers["maxpool"] = MaxPool2d(3, 2, 1)
    inputs = width
    for stage, count in enumerate(counts):
        layers[f"layer{stage + 1}"] = make.stage(
            kind, inputs, width * 2**stage, count, 1 if stage == 0 else 2
        )
        inputs = width * 2**stage * EXPANSION[kind]
    layers |= {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten()}
    network = NumpyResNet(**layers, fc=Linear(inputs, classes, dtype=dtype, rng=rng))
    network.dtype = dtype
    return network


def build_head(config: ResNet, dtype: type, rng: np.random.Generator, features: int, classes: int) -> Module:
    """Return the last layer alone; features (N, features) to logits (N, classes)."""
    return Sequential(fc=Linear(features, classes, dtype=dtype, rng=rng))


def features(learner: Any, images: Array) -> Array:
    """Return the features of one batch in evaluation mode, (N, F)."""
    result: Array = learner.model.eval().features(images)
    return result


def state(model: Module) -> dict[str, Array]:
    """Return copies of all weights, by torchvision's names."""
    return model.state_dict()


def load_state(model: Module, weights: Mapping[str, Array]) -> None:
    """Copy weights, by torchvision's names, into the model."""
    model.load_state_dict(weights)
