"""ResNet in NumPy, with the backward pass by hand (shared/backprop); weights by torchvision's names."""

from typing import Any

import numpy as np

from apps.resnet_transfer.config import BLOCKS, MEAN, STD, ResNet, block_convolutions
from shared import backprop as nn
from shared.backprop import Array


class Block(nn.Module):
    """y = ReLU(layers(x) + shortcut(x)): torchvision's `BasicBlock` or `Bottleneck`, with its names.

    A `Bottleneck` has its stride in the 3x3 convolution.
    """

    def __init__(
        self, kind: str, inputs: int, width: int, stride: int, dtype: type, rng: np.random.Generator
    ) -> None:
        super().__init__()
        plan = block_convolutions(kind, width, stride)
        layers: dict[str, nn.Module] = {}
        self.outputs = inputs
        for number, (channels, size, step) in enumerate(plan, start=1):
            layers[f"conv{number}"] = conv(self.outputs, channels, size, step, dtype, rng)
            layers[f"bn{number}"] = nn.BatchNorm2d(channels, dtype=dtype)
            if number < len(plan):
                layers[f"relu{number}"] = nn.ReLU()
            self.outputs = channels
        shortcut = None
        if stride != 1 or inputs != self.outputs:
            norm = nn.BatchNorm2d(self.outputs, dtype=dtype)
            shortcut = nn.Sequential(conv(inputs, self.outputs, 1, stride, dtype, rng), norm)
        self.sum, self.relu = nn.Residual(nn.Sequential(*layers.values()), shortcut), nn.ReLU()
        self._add(**layers, **({} if shortcut is None else {"downsample": shortcut}))

    def forward(self, x: Array) -> Array:
        return self.relu.forward(self.sum.forward(x))

    def backward(self, dy: Array) -> Array:
        dx: Array = self.sum.backward(self.relu.backward(dy))
        self._collect()
        return dx


class NumpyResNet(nn.Sequential):
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


def conv(
    inputs: int, outputs: int, size: int, stride: int, dtype: type, rng: np.random.Generator
) -> nn.Conv2d:
    """Return a convolution without bias; its weights are normal with variance 2 / fan_out."""
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False, dtype=dtype, rng=rng)
    weight = layer.params["weight"]
    weight[...] = rng.normal(0, np.sqrt(2 / (outputs * size**2)), weight.shape)
    return layer


def build_model(config: ResNet, dtype: type, rng: np.random.Generator, classes: int) -> nn.Module:
    """Return the network, initialized as torchvision does."""
    kind, counts = BLOCKS[config.name]
    width = channels = config.width
    layers: dict[str, nn.Module] = {
        "conv1": conv(3, width, 7, 2 if config.stem == "imagenet" else 1, dtype, rng),
        "bn1": nn.BatchNorm2d(width, dtype=dtype),
        "relu": nn.ReLU(),
    }
    if config.stem == "imagenet":
        layers["maxpool"] = nn.MaxPool2d(3, 2, 1)
    for stage, count in enumerate(counts):
        blocks: list[Block] = []
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            blocks.append(Block(kind, channels, width * 2**stage, stride, dtype, rng))
            channels = blocks[-1].outputs
        layers[f"layer{stage + 1}"] = nn.Sequential(*blocks)
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    network = NumpyResNet(**layers, fc=nn.Linear(channels, classes, dtype=dtype, rng=rng))
    network.dtype = dtype
    return network


def build_head(
    config: ResNet, dtype: type, rng: np.random.Generator, features: int, classes: int
) -> nn.Module:
    """Return the last layer alone: features (N, features) to logits (N, classes)."""
    return nn.Sequential(fc=nn.Linear(features, classes, dtype=dtype, rng=rng))


def features(learner: Any, images: Array) -> Array:
    """Return the backbone's features of one batch in evaluation mode, (N, F)."""
    return learner.model.eval().features(images)
