"""ResNet in Keras; its layers have torchvision's names."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from apps.resnet_transfer.config import BLOCKS, MEAN, STD, ResNet, block_convolutions
from shared.training.keras_initializers import torch_initializers


class Normalize(layers.Layer):
    """Normalize images (N, H, W, 3) of 0 to 255 by ImageNet's mean and standard deviation."""

    def __init__(self) -> None:
        super().__init__(dtype=keras.config.floatx())  # not in bfloat16

    def call(self, images: Any) -> Any:
        mean, std = (tf.constant(value, self.compute_dtype) for value in (MEAN, STD))
        return (tf.cast(images, self.compute_dtype) / 255 - mean) / std


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


def build_model(config: ResNet, classes: int) -> keras.Model:
    """Return the network, initialized as torchvision does: images (N, H, W, 3) to logits (N, classes).

    Keras's running variances are those of the N values of a channel; torch's are N / (N - 1) times
    as large.
    """
    kind, counts = BLOCKS[config.name]
    images = keras.Input((None, None, 3))
    small = config.stem == "small"
    x = conv(Normalize()(images), config.width, 7, 1 if small else 2, "conv1")
    x = layers.ReLU()(norm(x, "bn1"))
    if not small:  # padding with zeros is right after a ReLU
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for stage, count in enumerate(counts):
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            x = block(x, kind, config.width * 2**stage, stride, f"layer{stage + 1}.{number}")
    x = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(classes, name="fc", **torch_initializers(x.shape[-1]))(x)
    return keras.Model(images, logits)


def build_head(config: ResNet, features: int, classes: int) -> keras.Model:
    """Return the last layer alone: features (N, features) to logits (N, classes)."""
    inputs = keras.Input((features,))
    return keras.Model(inputs, layers.Dense(classes, name="fc", **torch_initializers(features))(inputs))


def features(learner: Any, images: NDArray[Any]) -> NDArray[Any]:
    """Return the backbone's features of one batch in evaluation mode, (N, F)."""
    if not hasattr(learner, "backbone"):
        model = learner.model
        inner = keras.Model(model.input, model.get_layer("fc").input)
        learner.backbone = tf.function(lambda x: inner(x, training=False), reduce_retracing=True)
    return np.asarray(tf.cast(learner.backbone(tf.constant(images)), keras.config.floatx()))
