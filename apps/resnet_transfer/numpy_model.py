"""ResNet and MobileNetV2 in NumPy, with the backward pass by hand (shared/backprop).

Weights have torchvision's names.
"""

from typing import Any

import numpy as np

from apps.resnet_transfer.config import BLOCKS, MEAN, STD, MobileNet, ResNet, block_convolutions
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


class InvertedResidual(nn.Module):
    """y = x + conv(x), or conv(x) where the shape changes: torchvision's block, with its names.

    A 1x1 convolution expands the channels, a 3x3 convolution filters each of them, and a 1x1 convolution
    without an activation returns to few channels (Sandler et al. 2018, section 3.3).
    """

    def __init__(
        self, inputs: int, outputs: int, expansion: int, stride: int, dtype: type, rng: np.random.Generator
    ) -> None:
        super().__init__()
        hidden = expansion * inputs
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(conv_norm_relu(inputs, hidden, 1, 1, 1, dtype, rng))
        layers += [
            conv_norm_relu(hidden, hidden, 3, stride, hidden, dtype, rng),
            conv(hidden, outputs, 1, 1, dtype, rng),
            nn.BatchNorm2d(outputs, dtype=dtype),
        ]
        body = nn.Sequential(*layers)
        self.sum = nn.Residual(body) if stride == 1 and inputs == outputs else body
        self._add(conv=body)

    def forward(self, x: Array) -> Array:
        return self.sum.forward(x)

    def backward(self, dy: Array) -> Array:
        dx: Array = self.sum.backward(dy)
        self._collect()
        return dx


class NumpyNetwork(nn.Sequential):
    """A chain of layers: images (N, H, W, 3) of 0 to 255, of any dtype, to logits (N, classes)."""

    dtype: type = np.float32

    def forward(self, images: Array) -> Array:
        return super().forward(normalize(images, self.dtype))

    def backbone(self, images: Array) -> Array:
        """Return the inputs of the last layer, (N, F)."""
        x = normalize(images, self.dtype)
        for layer in list(self.children.values())[:-1]:
            x = layer.forward(x)
        return x


def normalize(images: Array, dtype: type) -> Array:
    """Return images (N, H, W, 3) of 0 to 255 as (N, 3, H, W), by ImageNet's mean and standard deviation."""
    pixels = (images.astype(np.float64) / 255 - MEAN) / STD
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).astype(dtype))


def conv(
    inputs: int, outputs: int, size: int, stride: int, dtype: type, rng: np.random.Generator, groups: int = 1
) -> nn.Conv2d:
    """Return a convolution without bias; its weights are normal with variance 2 / fan_out."""
    padding = size // 2
    layer = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False, dtype=dtype, rng=rng)
    weight = layer.params["weight"]
    weight[...] = rng.normal(0, np.sqrt(2 / (outputs * size**2)), weight.shape)
    return layer


def conv_norm_relu(
    inputs: int, outputs: int, size: int, stride: int, groups: int, dtype: type, rng: np.random.Generator
) -> nn.Module:
    """Return torchvision's `Conv2dNormActivation` with ReLU6."""
    layer = conv(inputs, outputs, size, stride, dtype, rng, groups)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs, dtype=dtype), nn.ReLU6())


def build_model(config: ResNet | MobileNet, dtype: type, rng: np.random.Generator, classes: int) -> nn.Module:
    """Return the network, initialized as torchvision does."""
    if isinstance(config, MobileNet):
        network = NumpyNetwork(**mobilenet_layers(config, dtype, rng, classes))
    else:
        network = NumpyNetwork(**resnet_layers(config, dtype, rng, classes))
    network.dtype = dtype
    return network


def mobilenet_layers(
    config: MobileNet, dtype: type, rng: np.random.Generator, classes: int
) -> dict[str, nn.Module]:
    """Return the layers of a MobileNetV2; torchvision's dropout before the last one is 0."""
    channels = config.scale(32)
    stride = 2 if config.stem == "imagenet" else 1
    layers = [conv_norm_relu(3, channels, 3, stride, 1, dtype, rng)]
    for expansion, outputs, stride in config.blocks:
        layers.append(InvertedResidual(channels, outputs, expansion, stride, dtype, rng))
        channels = outputs
    layers.append(conv_norm_relu(channels, config.last_channels, 1, 1, 1, dtype, rng))
    linear = last_layer(config, config.last_channels, classes, dtype, rng)
    return {
        "features": nn.Sequential(*layers),
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "classifier": nn.Sequential(nn.Dropout(0), linear),
    }


def resnet_layers(
    config: ResNet, dtype: type, rng: np.random.Generator, classes: int
) -> dict[str, nn.Module]:
    """Return the layers of a ResNet."""
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
    return layers | {"fc": last_layer(config, channels, classes, dtype, rng)}


def last_layer(
    config: ResNet | MobileNet, features: int, classes: int, dtype: type, rng: np.random.Generator
) -> nn.Module:
    """Return the layer that computes the logits, initialized as torchvision does."""
    layer = nn.Linear(features, classes, dtype=dtype, rng=rng)
    if isinstance(config, MobileNet):
        layer.params["weight"][...] = rng.normal(0, 0.01, (classes, features))
        layer.params["bias"][...] = 0
    return layer


def build_head(
    config: ResNet | MobileNet, dtype: type, rng: np.random.Generator, features: int, classes: int
) -> nn.Module:
    """Return the last layer alone: features (N, features) to logits (N, classes)."""
    layer = last_layer(config, features, classes, dtype, rng)
    for name in reversed(config.HEAD.split(".")):
        layer = nn.Sequential(**{name: layer})
    return layer


def features(learner: Any, images: Array) -> Array:
    """Return the backbone's features of one batch in evaluation mode, (N, F)."""
    return learner.model.eval().backbone(images)
