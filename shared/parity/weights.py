"""Copy weights between PyTorch, Keras and NumPy without loss.

torch and shared/backprop use the same names and layouts. Keras names its layers like torch, but has
other layouts:

    layer                     torch                              Keras
    dense                     (out, in)                          (in, out)
    dense after flatten       columns: channel, height, width    rows: height, width, channel
    convolution               (out, in, height, width)           (height, width, in, out)
    batch normalization       also counts its batches            does not
    RNN, LSTM, GRU            (gates H, in), (gates H, H)        (in, gates H), (H, gates H)
    biases of RNN and LSTM    two, b_ih and b_hh                 one, their sum
    gates of the GRU          r, z, n; two biases                z, r, n; one bias (2, 3 H)
    multi-head attention      one matrix (3 E, E), and (E, E)    (E, heads, E / heads) each, and
                                                                 (heads, E / heads, E)

Keras's single bias of an RNN or LSTM becomes b_ih, with b_hh = 0. So torch to Keras to torch keeps the
sum of the two biases, and with it the network's outputs; Keras to torch to Keras changes nothing.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from numpy.typing import NDArray
from torch import nn

from shared.backprop import Module

Array = NDArray[Any]
State = Mapping[str, Array]  # under torch's names
Shape = tuple[int, int, int]

RECURRENT = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def torch_to_keras(source: nn.Module, target: keras.Model) -> None:
    """Copy every weight of `source` into `target`.

    Raises:
        ValueError: a layer is missing on one side, or a shape does not fit.
    """
    state_to_keras(torch_state(source), target)


def keras_to_torch(source: keras.Model, target: nn.Module) -> None:
    """Copy every weight of `source` into `target`; raises as `torch_to_keras`."""
    state = keras_state(source, torch_state(target))
    target.load_state_dict({name: torch.tensor(value) for name, value in state.items()})


def torch_to_numpy(source: nn.Module, target: Module) -> None:
    """Copy every weight of `source` into `target`; raises as `torch_to_keras`."""
    target.load_state_dict(torch_state(source))


def numpy_to_torch(source: Module, target: nn.Module) -> None:
    """Copy every weight of `source` into `target`; raises as `torch_to_keras`."""
    own = torch_state(target)
    given = source.state_dict()
    if own.keys() != given.keys():
        raise ValueError(f"torch has the weights {sorted(own)}, NumPy has {sorted(given)}")
    target.load_state_dict({name: torch.tensor(value) for name, value in given.items()})


def numpy_to_keras(source: Module, target: keras.Model) -> None:
    """Copy every weight of `source` into `target`; raises as `torch_to_keras`."""
    state_to_keras(source.state_dict(), target)


def keras_to_numpy(source: keras.Model, target: Module) -> None:
    """Copy every weight of `source` into `target`; raises as `torch_to_keras`."""
    target.load_state_dict(keras_state(source, target.state_dict()))


def torch_state(module: nn.Module) -> dict[str, Array]:
    """Return copies of a torch module's parameters and buffers as arrays."""
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}


def state_to_keras(state: State, target: keras.Model) -> None:
    """Copy weights under torch's names into a Keras model.

    Raises:
        ValueError: a layer is missing on one side, or a shape does not fit.
    """
    for name, layer in _matching_layers(state, target).items():
        prefix = f"{name}."
        own = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
        flattened = _flattened_shape(target, layer)
        known = set(_to_torch(layer, flattened)) | {"num_batches_tracked"} & set(own)
        if known != set(own):
            kind = type(layer).__name__
            raise ValueError(
                f"{name}: torch has the weights {sorted(own)}, Keras's {kind} has {sorted(known)}"
            )
        layer.set_weights(_to_keras(layer, own, flattened))


def keras_state(source: keras.Model, template: State) -> dict[str, Array]:
    """Return a Keras model's weights under torch's names; what Keras lacks comes from `template`.

    Raises:
        ValueError: a layer is missing on one side, or a shape does not fit.
    """
    state = dict(template)
    for name, layer in _matching_layers(template, source).items():
        for key, value in _to_torch(layer, _flattened_shape(source, layer)).items():
            if f"{name}.{key}" not in template:
                raise ValueError(f"Keras has a weight {name}.{key}, but torch has not")
            state[f"{name}.{key}"] = np.ascontiguousarray(value)
    return state


def torch_weights(layer: keras.Layer) -> dict[str, Array]:
    """Return a layer's weights under torch's names; for a dense layer that does not follow a flatten."""
    return {name: np.ascontiguousarray(value) for name, value in _to_torch(layer, None).items()}


def _matching_layers(state: State, model: keras.Model) -> dict[str, keras.Layer]:
    """Return the Keras layers that have weights, by name, after checking that torch has the same."""
    keras_layers = {layer.name: layer for layer in model.layers if layer.weights}
    names = set()
    for key in state:  # layers may contain others (layer1.0), so the longest match counts
        matches = [name for name in keras_layers if key.startswith(f"{name}.")]
        names.add(max(matches, key=len, default=key.partition(".")[0]))
    if names != set(keras_layers):
        raise ValueError(f"torch has the layers {sorted(names)}, Keras has {sorted(keras_layers)}")
    return keras_layers


def _to_keras(layer: keras.Layer, own: State, flattened: Shape | None) -> list[Array]:
    """Return a layer's weights in Keras's layout, in the order of its `get_weights`."""
    match layer:
        case layers.SimpleRNN() | layers.LSTM():
            w_ih, w_hh, b_ih, b_hh = (own[name] for name in RECURRENT)
            return [w_ih.T, w_hh.T, b_ih + b_hh]
        case layers.GRU():
            w_ih, w_hh, b_ih, b_hh = (_swap_gates(own[name]) for name in RECURRENT)
            return [w_ih.T, w_hh.T, np.stack([b_ih, b_hh])]
        case layers.MultiHeadAttention():
            return _attention_to_keras(layer.num_heads, own)
        case layers.Dense():
            matrix = _dense_to_keras(own["weight"], flattened)
        case layers.Conv2D():
            matrix = own["weight"].transpose(2, 3, 1, 0)
        case _:
            matrix = own["weight"]
    return [matrix, *(own[name] for name in BATCH_NORM[1:] if name in own)]


def _to_torch(layer: keras.Layer, flattened: Shape | None) -> dict[str, Array]:
    """Return a layer's weights in torch's layout, under torch's names."""
    values = [np.asarray(value) for value in layer.get_weights()]
    match layer:
        case layers.SimpleRNN() | layers.LSTM():
            kernel, recurrent, bias = values
            return dict(zip(RECURRENT, (kernel.T, recurrent.T, bias, np.zeros_like(bias)), strict=True))
        case layers.GRU():
            kernel, recurrent, biases = values
            swapped = map(_swap_gates, (kernel.T, recurrent.T, *biases))
            return dict(zip(RECURRENT, swapped, strict=True))
        case layers.MultiHeadAttention():
            return _attention_to_torch(values)
        case layers.Dense():
            values[0] = _dense_to_torch(values[0], flattened)
        case layers.Conv2D():
            values[0] = values[0].transpose(3, 2, 0, 1)
        case layers.BatchNormalization() | layers.LayerNormalization() | layers.Embedding():
            pass
        case _:
            raise ValueError(f"{layer.name}: cannot convert the weights of a {type(layer).__name__}")
    return dict(zip(BATCH_NORM, values, strict=False))


def _swap_gates(weight: Array) -> Array:
    """Swap the first two gates of a GRU's weight (3 H, ...): r, z becomes z, r or the reverse."""
    first, second, third = np.split(weight, 3)
    return np.concatenate([second, first, third])


def _attention_to_keras(heads: int, own: State) -> list[Array]:
    """Return the kernels and biases of query, key, value and output, in this order."""
    size = own["out_proj.weight"].shape[0]
    weights: list[Array] = []
    matrices, biases = np.split(own["in_proj_weight"], 3), np.split(own["in_proj_bias"], 3)
    for matrix, bias in zip(matrices, biases, strict=True):
        weights += [matrix.T.reshape(size, heads, -1), bias.reshape(heads, -1)]
    return [*weights, own["out_proj.weight"].T.reshape(heads, -1, size), own["out_proj.bias"]]


def _attention_to_torch(values: list[Array]) -> dict[str, Array]:
    """Invert `_attention_to_keras`."""
    size = values[0].shape[0]
    return {
        "in_proj_weight": np.concatenate([kernel.reshape(size, -1).T for kernel in values[0:6:2]]),
        "in_proj_bias": np.concatenate([bias.ravel() for bias in values[1:6:2]]),
        "out_proj.weight": values[6].reshape(-1, size).T,
        "out_proj.bias": values[7],
    }


def _dense_to_keras(weight: Array, flattened: Shape | None) -> Array:
    if flattened is None:
        return weight.T
    height, width, channels = flattened
    by_pixel = weight.reshape(-1, channels, height, width).transpose(2, 3, 1, 0)
    return by_pixel.reshape(height * width * channels, -1)


def _dense_to_torch(kernel: Array, flattened: Shape | None) -> Array:
    if flattened is None:
        return kernel.T
    height, width, channels = flattened
    by_channel = kernel.reshape(height, width, channels, -1).transpose(3, 2, 0, 1)
    return by_channel.reshape(-1, channels * height * width)


def _flattened_shape(model: keras.Model, layer: keras.Layer) -> Shape | None:
    """Return the (height, width, channels) from which the inputs of a dense layer were flattened."""
    flattened: Shape | None = None
    for other in model.layers:
        if isinstance(other, layers.Flatten) and len(other.input.shape) == 4:
            flattened = other.input.shape[1:]
        elif isinstance(other, layers.Dense) and flattened:
            return flattened if other is layer else None
    return None
