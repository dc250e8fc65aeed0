"""ResNet and MobileNetV2 in Keras; their layers have torchvision's names."""

import itertools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from apps.resnet_transfer.config import BLOCKS, MEAN, STD, MobileNet, ResNet, block_convolutions
from shared.training.keras_initializers import torch_initializers


class Normalize(layers.Layer):
    """Normalize images (N, H, W, 3) of 0 to 255 by ImageNet's mean and standard deviation."""

    def __init__(self) -> None:
        super().__init__(dtype=keras.config.floatx())  # not in bfloat16

    def call(self, images: Any) -> Any:
        mean, std = (tf.constant(value, self.compute_dtype) for value in (MEAN, STD))
        return (tf.cast(images, self.compute_dtype) / 255 - mean) / std

    def keras_layer(self) -> keras.Layer:
        """Return Keras's own layer, for a file that loads without this one."""
        scale, offset = (
            (1 / (255 * std) for std in STD),
            (-mean / std for mean, std in zip(MEAN, STD, strict=True)),
        )
        return layers.Rescaling([*scale], [*offset], dtype=self.dtype_policy, name=self.name)


def conv(x: Any, outputs: int, size: int, stride: int, name: str) -> Any:
    """Pad on all sides, as torch does (Keras's `same` pads more at the end), and convolve."""
    if size > 1:
        x = layers.ZeroPadding2D(size // 2)(x)
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return layers.Conv2D(outputs, size, stride, use_bias=False, kernel_initializer=initializer, name=name)(x)


def norm(x: Any, name: str) -> Any:
    """Apply batch normalization; Keras's momentum of 0.9 is 0.1 in torch's convention."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def block(x: Any, kind: str, width: int, stride: int, name: str) -> Any:
    """Return ReLU(layers(x) + shortcut(x)): torchvision's `BasicBlock` or `Bottleneck`."""
    plan = block_convolutions(kind, width, stride)
    outputs = plan[-1][0]
    y = x
    for number, (channels, size, step) in enumerate(plan, start=1):
        y = norm(conv(y, channels, size, step, f"{name}.conv{number}"), f"{name}.bn{number}")
        if number < len(plan):
            y = layers.ReLU()(y)
    if stride != 1 or x.shape[-1] != outputs:
        x = norm(conv(x, outputs, 1, stride, f"{name}.downsample.0"), f"{name}.downsample.1")
    return layers.ReLU(name=f"{name}.relu")(layers.Add()([y, x]))


def build_model(config: ResNet | MobileNet, classes: int) -> keras.Model:
    """Return the network, initialized as torchvision does: images (N, H, W, 3) to logits (N, classes).

    Keras's running variances are those of the N values of a channel; torch's are N / (N - 1) times
    as large.
    """
    images = keras.Input((None, None, 3))
    x = Normalize()(images)
    maps = mobilenet(config, x) if isinstance(config, MobileNet) else resnet(config, x)
    x = layers.GlobalAveragePooling2D()(maps)
    return keras.Model(images, last_layer(config, x.shape[-1], classes)(x))


def resnet(config: ResNet, x: Any) -> Any:
    """Return the maps of the last stage."""
    kind, counts = BLOCKS[config.name]
    small = config.stem == "small"
    x = conv(x, config.width, 7, 1 if small else 2, "conv1")
    x = layers.ReLU()(norm(x, "bn1"))
    if not small:  # padding with zeros is right after a ReLU
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for stage, count in enumerate(counts):
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            x = block(x, kind, config.width * 2**stage, stride, f"layer{stage + 1}.{number}")
    return x


def mobilenet(config: MobileNet, x: Any) -> Any:
    """Return the maps of the last convolution."""

    def conv_norm_relu(x: Any, layer: Any, outputs: int, size: int, stride: int, name: str) -> Any:
        x = norm(layer(x, outputs, size, stride, f"{name}.0"), f"{name}.1")
        return layers.ReLU(6.0)(x)

    stride = 1 if config.stem == "small" else 2
    x = conv_norm_relu(x, conv, config.scale(32), 3, stride, "features.0")
    for number, (expansion, outputs, stride) in enumerate(config.blocks, start=1):
        inputs, y, names = x.shape[-1], x, (f"features.{number}.conv.{part}" for part in itertools.count())
        if expansion > 1:
            y = conv_norm_relu(y, conv, expansion * inputs, 1, 1, next(names))
        y = conv_norm_relu(y, depthwise, expansion * inputs, 3, stride, next(names))
        y = norm(conv(y, outputs, 1, 1, next(names)), next(names))
        x = layers.Add()([x, y]) if stride == 1 and inputs == outputs else y
    return conv_norm_relu(x, conv, config.last_channels, 1, 1, f"features.{number + 1}")


def depthwise(x: Any, channels: int, size: int, stride: int, name: str) -> Any:
    """Pad and convolve each channel with a kernel of its own, initialized as torch does."""
    initializer = keras.initializers.RandomNormal(stddev=math.sqrt(2 / (channels * size**2)))
    layer = layers.DepthwiseConv2D(size, stride, use_bias=False, depthwise_initializer=initializer, name=name)
    return layer(layers.ZeroPadding2D(size // 2)(x))


def last_layer(config: ResNet | MobileNet, features: int, classes: int) -> keras.Layer:
    """Return the layer that computes the logits, initialized as torchvision does."""
    initializers = torch_initializers(features)
    if isinstance(config, MobileNet):
        initializers = {"kernel_initializer": keras.initializers.RandomNormal(stddev=0.01)}
    return layers.Dense(classes, name=config.HEAD, **initializers)


def build_head(config: ResNet | MobileNet, features: int, classes: int) -> keras.Model:
    """Return the last layer alone: features (N, features) to logits (N, classes)."""
    inputs = keras.Input((features,))
    return keras.Model(inputs, last_layer(config, features, classes)(inputs))


def features(learner: Any, images: NDArray[Any]) -> NDArray[Any]:
    """Return the backbone's features of one batch in evaluation mode, (N, F)."""
    if not hasattr(learner, "backbone"):
        model = learner.model
        inner = keras.Model(model.input, model.layers[-1].input)
        learner.backbone = tf.function(lambda x: inner(x, training=False), reduce_retracing=True)
    return np.asarray(tf.cast(learner.backbone(tf.constant(images)), keras.config.floatx()))
