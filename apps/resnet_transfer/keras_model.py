"""The same network in Keras."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from apps.resnet_transfer.config import ResNet
from apps.resnet_transfer.shapes import BLOCKS, EXPANSION, MEAN, STD
from shared.training.keras_initializers import torch_initializers

Array = NDArray[Any]


def convolution(x: Any, outputs: int, size: int, stride: int, name: str) -> Any:
    """Pad all around, as torch does (Keras's `same` pads more at the end), and convolve."""
    if size > 1:
        x = layers.ZeroPadding2D(size // 2)(x)
    draw = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return layers.Conv2D(outputs, size, stride, use_bias=False, kernel_initializer=draw, name=name)(x)


def norm(x: Any, name: str) -> Any:
    """Normalize by the batch; Keras's momentum is what stays, torch's what is new."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def block(x: Any, kind: str, width: int, stride: int, name: str) -> Any:
    """Return ReLU(layers(x) + shortcut(x)): a `BasicBlock` or a `Bottleneck` of torchvision."""
    outputs = width * EXPANSION[kind]
    basic = kind == "BasicBlock"
    plan = (
        [(width, 3, stride), (width, 3, 1)] if basic else [(width, 1, 1), (width, 3, stride), (outputs, 1, 1)]
    )
    y = x
    for number, (channels, size, step) in enumerate(plan, start=1):
        y = norm(convolution(y, channels, size, step, f"{name}.conv{number}"), f"{name}.bn{number}")
        if number < len(plan):
            y = layers.ReLU()(y)
    if stride != 1 or x.shape[-1] != outputs:
        x = norm(convolution(x, outputs, 1, stride, f"{name}.downsample.0"), f"{name}.downsample.1")
    return layers.ReLU(name=f"{name}.relu")(layers.Add()([y, x]))


class Standardise(layers.Layer):
    """Pictures (N, H, W, 3) of 0 to 255 to mean 0 and deviation 1, in float32 or float64."""

    def __init__(self) -> None:
        super().__init__(dtype=keras.config.floatx())

    def call(self, images: Any) -> Any:
        mean, std = (tf.constant(value, self.compute_dtype) for value in (MEAN, STD))
        return (tf.cast(images, self.compute_dtype) / 255 - mean) / std


def build_model(config: ResNet, classes: int) -> keras.Model:
    """Return the network; pictures (N, H, W, 3) of 0 to 255 to logits (N, classes).

    The layers have torchvision's names, and weights drawn as torchvision draws them. Keras's
    running variances are those of N values a channel, torch's are N / (N - 1) times as large.
    """
    kind, counts = BLOCKS[config.name]
    images = keras.Input((None, None, 3))
    small = config.stem == "small"
    x = convolution(Standardise()(images), config.width, 7, 1 if small else 2, "conv1")
    x = layers.ReLU()(norm(x, "bn1"))
    if not small:  # zeros around are below no value that ReLU gives
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for stage, count in enumerate(counts):
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            x = block(x, kind, config.width * 2**stage, stride, f"layer{stage + 1}.{number}")
    x = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(classes, name="fc", **torch_initializers(x.shape[-1]))(x)
    return keras.Model(images, logits)


def build_head(config: ResNet, features: int, classes: int) -> keras.Model:
    """Return the last layer alone; features (N, features) to logits (N, classes)."""
    given = keras.Input((features,))
    return keras.Model(given, layers.Dense(classes, name="fc", **torch_initializers(features))(given))


def features(learner: Any, images: Array) -> Array:
    """Return the features of one batch in evaluation mode, (N, F)."""
    if not hasattr(learner, "backbone"):
        model = learner.model
        inner = keras.Model(model.input, model.get_layer("fc").input)
        learner.backbone = tf.function(lambda x: inner(x, training=False), reduce_retracing=True)
    return np.asarray(tf.cast(learner.backbone(tf.constant(images)), keras.config.floatx()))


def state(model: keras.Model) -> dict[str, Array]:
    """Return copies of all weights, by torchvision's names; batches are not counted here."""
    from shared.parity import weights  # the one place that knows both

    names: dict[str, Array] = {}
    for layer in model.layers:
        own = weights.torch_weights(layer) if layer.weights else {}
        names |= {f"{layer.name}.{key}": value for key, value in own.items()}
    return names


def load_state(model: keras.Model, given: Mapping[str, Array]) -> None:
    """Copy weights, by torchvision's names, into the model."""
    from shared.parity import weights

    weights.state_to_keras(given, model)
