"""The networks in Keras."""

from typing import Any

import keras
from keras import layers

from apps.mnist_cnn.config import CLASSES, SIDE, Cnn, FastCnn, Mlp
from shared.training.keras_dropout import ByteDropout
from shared.training.keras_initializers import torch_initializers
from shared.training.keras_pooling import ConvMaxPool2D


def keras_cnn(config: Cnn) -> keras.Model:
    """Return `TorchCnn` in Keras; images (N, 28, 28) to logits (N, 10).

    Keras keeps channels last, so that `Flatten` orders the features differently from torch: the rows
    of fc1 are permuted when weights are copied (shared/training/keras_weights.py).
    """
    first, second = config.channels
    pooled = (SIDE - 4) // 2  # two 3x3 convolutions without padding, then 2x2 pooling
    features = second * pooled * pooled
    images = keras.Input((SIDE, SIDE))
    x = layers.Reshape((SIDE, SIDE, 1))(images)
    x = layers.Conv2D(first, 3, name="conv1", **torch_initializers(9))(x)
    x = layers.ReLU()(x)
    initial = torch_initializers(9 * first)
    if config.pool == "average":
        x = layers.ReLU()(layers.Conv2D(second, 3, name="conv2", **initial)(x))
        x = layers.AveragePooling2D(2)(x)
    else:  # ReLU after pooling: the same result from a quarter of the values
        x = layers.ReLU()(ConvMaxPool2D(second, 3, config.pooling, name="conv2", **initial)(x))
    x = ByteDropout(config.dropout[0])(layers.Flatten()(x))
    x = layers.Dense(config.hidden, name="fc1", **torch_initializers(features))(x)
    x = ByteDropout(config.dropout[1])(layers.ReLU()(x))
    logits = layers.Dense(CLASSES, name="fc2", **torch_initializers(config.hidden))(x)
    return keras.Model(images, logits)


def keras_fast_cnn(config: FastCnn) -> keras.Model:
    """Return `TorchFastCnn` in Keras; images (N, 28, 28) to logits (N, 10).

    Momentum 0.9 here is 0.1 in torch: Keras gives the share of the old running mean, torch that of the
    new. Keras's running variance is biased, torch's is N / (N - 1) times as large for N values per
    channel: 1.0002 times in norm2, for batches of 128.
    """
    first, second = config.channels
    pooled = ((SIDE - 4) // 2 - 4) // 2  # 5x5 convolution and 2x2 pooling, twice
    features = second * pooled * pooled
    images = keras.Input((SIDE, SIDE))
    x = layers.Reshape((SIDE, SIDE, 1))(images)
    x = layers.Conv2D(first, 5, name="conv1", **torch_initializers(25, bias=False))(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm1")(x))
    initial = torch_initializers(25 * first, bias=False)
    x = ConvMaxPool2D(second, 5, config.pooling, name="conv2", **initial)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm2")(x))
    x = layers.Dense(config.hidden, name="fc1", **torch_initializers(features))(layers.Flatten()(x))
    x = layers.ReLU()(x)
    logits = layers.Dense(CLASSES, name="fc2", **torch_initializers(config.hidden))(x)
    return keras.Model(images, logits)


def keras_mlp(config: Mlp) -> keras.Model:
    """Return `TorchMlp` in Keras; images (N, 28, 28) to logits (N, 10)."""
    first, second = config.hidden
    images = keras.Input((SIDE, SIDE))
    x = layers.Flatten()(images)
    x = layers.Dense(first, config.activation, name="fc1", **torch_initializers(SIDE * SIDE))(x)
    x = layers.Dense(second, config.activation, name="fc2", **torch_initializers(first))(x)
    logits = layers.Dense(CLASSES, name="fc3", **torch_initializers(second))(x)
    return keras.Model(images, logits)


NETWORKS: dict[str, Any] = {
    "cnn": keras_cnn,
    "fast_cnn": keras_fast_cnn,
    "accurate_cnn": keras_fast_cnn,
    "mlp": keras_mlp,
}


def build_model(config: Any) -> keras.Model:
    """Return the network that `config.name` names; its weights are drawn from torch's distributions."""
    return NETWORKS[config.name](config)
