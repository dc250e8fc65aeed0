"""The same network in Keras."""

import keras
from keras import layers

from apps.xor.config import TwoLayer
from apps.xor.data import published_weights
from shared.training.keras_initializers import torch_initializers


def build_model(config: TwoLayer) -> keras.Model:
    """Return `TorchTwoLayer` in Keras; inputs (N, 2 or 3) to logits (N, 1)."""
    inputs = keras.Input((config.inputs,))
    fc1 = layers.Dense(config.hidden, name="fc1", **torch_initializers(config.inputs, bias=config.bias))
    fc2 = layers.Dense(1, name="fc2", **torch_initializers(config.hidden, bias=config.bias))
    model = keras.Model(inputs, fc2(keras.activations.sigmoid(fc1(inputs))))
    weights = published_weights(config)
    if weights is not None:
        for layer in (fc1, fc2):
            bias = [weights[f"{layer.name}.bias"]] if config.bias else []
            layer.set_weights([weights[f"{layer.name}.weight"].T, *bias])
    return model
