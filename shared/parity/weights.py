"""Weights from PyTorch to Keras and back, without a loss.

Both sides name their layers alike. What differs is the layout:

    layer                     torch                              Keras
    convolution               (out, in, height, width)           (height, width, in, out)
    dense                     (out, in)                          (in, out)
    dense after the flatten   columns: channel, height, width    rows: height, width, channel
    batch normalisation       counts its batches as well         does not
"""

from typing import Any

import keras
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Shape = tuple[int, int, int]


def torch_to_keras(source: nn.Module, target: keras.Model) -> None:
    """Copy every weight of `source` into `target`.

    Raises:
        ValueError: a layer is missing on one side, or a shape does not fit.
    """
    values = {name: value.detach().numpy() for name, value in source.state_dict().items()}
    for name, layer in _matched(source, target).items():
        flattened = _flattened_shape(target, layer)
        layer.set_weights(
            [
                _to_keras(values[f"{name}.{torch_name}"], flattened)
                for torch_name in _torch_names(layer)
            ]
        )


def keras_to_torch(source: keras.Model, target: nn.Module) -> None:
    """Copy every weight of `source` into `target`.

    Raises:
        ValueError: a layer is missing on one side, or a shape does not fit.
    """
    state = target.state_dict()
    for name, layer in _matched(target, source).items():
        flattened = _flattened_shape(source, layer)
        for torch_name, value in zip(_torch_names(layer), layer.get_weights(), strict=True):
            state[f"{name}.{torch_name}"] = torch.tensor(_to_torch(value, flattened))
    target.load_state_dict(state)


def _matched(torch_model: nn.Module, keras_model: keras.Model) -> dict[str, keras.Layer]:
    """Return the Keras layers that have weights, by name; torch must have the same."""
    layers = {layer.name: layer for layer in keras_model.layers if layer.weights}
    names = {name.rpartition(".")[0] for name in torch_model.state_dict()}
    if names != set(layers):
        raise ValueError(f"torch has the layers {sorted(names)}, Keras has {sorted(layers)}")
    return layers


def _torch_names(layer: keras.Layer) -> list[str]:
    """Return torch's names of a layer's weights, in the order of Keras's `get_weights`."""
    names = {
        "kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias",
        "moving_mean": "running_mean", "moving_variance": "running_var",
    }  # fmt: skip
    return [names[weight.name] for weight in layer.weights]


def _flattened_shape(model: keras.Model, layer: keras.Layer) -> Shape | None:
    """Return the (height, width, channels) that a dense layer's inputs were flattened from."""
    flattened = False
    for other in model.layers:
        if isinstance(other, keras.layers.Flatten) and len(other.input.shape) == 4:
            height, width, channels = other.input.shape[1:]
            flattened = True
        elif isinstance(other, keras.layers.Dense) and flattened:
            return (height, width, channels) if other is layer else None
    return None


def _to_keras(weight: NDArray[Any], flattened: Shape | None) -> NDArray[Any]:
    if weight.ndim == 1:
        return weight
    if weight.ndim == 4:
        return weight.transpose(2, 3, 1, 0)
    if flattened is None:
        return weight.T
    height, width, channels = flattened
    by_pixel = weight.reshape(-1, channels, height, width).transpose(2, 3, 1, 0)
    return by_pixel.reshape(height * width * channels, -1)


def _to_torch(kernel: NDArray[Any], flattened: Shape | None) -> NDArray[Any]:
    if kernel.ndim == 1:
        return kernel
    if kernel.ndim == 4:
        return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    if flattened is None:
        return np.ascontiguousarray(kernel.T)
    height, width, channels = flattened
    by_channel = kernel.reshape(height, width, channels, -1).transpose(3, 2, 0, 1)
    return np.ascontiguousarray(by_channel.reshape(-1, channels * height * width))
