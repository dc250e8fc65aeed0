"""Weights from PyTorch to Keras to NumPy and back, without a loss.

Between torch and shared/backprop nothing changes: names and layouts are the same. Keras names its
layers like torch's, but lays their weights out otherwise:

    layer                     torch                              Keras
    dense                     (out, in)                          (in, out)
    dense after the flatten   columns: channel, height, width    rows: height, width, channel
    convolution               (out, in, height, width)           (height, width, in, out)
    batch normalization       counts its batches as well         does not
    RNN, LSTM, GRU            (gates H, in), (gates H, H)         (in, gates H), (H, gates H)
    biases of RNN and LSTM    two, b_ih and b_hh                  one, their sum
    gates of the GRU          r, z, n; two biases                 z, r, n; one of (2, 3 H)
    multi-head attention      one matrix (3 E, E), (E, E)         (E, heads, E / heads) each, back
                                                                 (heads, E / heads, E)

Keras's one bias of an RNN or an LSTM comes back as b_ih, with b_hh = 0: the sum, and so the
network, is the same to the last bit, and from Keras to torch to Keras nothing changes at all.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.backprop import Module

Array = NDArray[Any]
State = Mapping[str, Array]  # by torch's names
Shape = tuple[int, int, int]


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
    for name, layer in _matched(state, target).items():
        own = {key: state[f"{name}.{key}"] for key in _torch_names(state, name)}
        flattened = _flattened_shape(target, layer)
        carried = set(_to_torch(layer, flattened)) | {"num_batches_tracked"} & set(own)
        if carried != set(own):
            raise ValueError(
                f"{name}: torch has the weights {sorted(own)}, Keras's {type(layer).__name__} has "
                f"{sorted(carried)}"
            )
        layer.set_weights(_to_keras(layer, own, flattened))


def keras_state(source: keras.Model, template: State) -> dict[str, Array]:
    """Return a Keras model's weights under torch's names; what Keras lacks stays as in `template`.

    Raises:
        ValueError: a layer is missing on one side, or a shape does not fit.
    """
    state = dict(template)
    for name, layer in _matched(template, source).items():
        for key, value in _to_torch(layer, _flattened_shape(source, layer)).items():
            if f"{name}.{key}" not in template:
                raise ValueError(f"torch has no weight {name}.{key}, Keras has one")
            state[f"{name}.{key}"] = np.ascontiguousarray(value)
    return state


def torch_weights(layer: keras.Layer) -> dict[str, Array]:
    """Return the weights of a layer that follows no flatten, by torch's names for them."""
    return {name: np.ascontiguousarray(value) for name, value in _to_torch(layer, None).items()}


def _matched(state: State, model: keras.Model) -> dict[str, keras.Layer]:
    """Return the Keras layers that have weights, by name; torch must have the same."""
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    names = {_layer_of(name, layers) for name in state}
    if names != set(layers):
        raise ValueError(f"torch has the layers {sorted(names)}, Keras has {sorted(layers)}")
    return layers


def _layer_of(name: str, layers: Mapping[str, keras.Layer]) -> str:
    """Return the layer that a weight of torch belongs to; layers may lie in others (layer1.0)."""
    found = [layer for layer in layers if name.startswith(f"{layer}.")]
    return max(found, key=len, default=name.partition(".")[0])


def _torch_names(state: State, layer: str) -> list[str]:
    """Return torch's names of a layer's weights, without the layer's own."""
    return [name.removeprefix(f"{layer}.") for name in state if name.startswith(f"{layer}.")]


def _to_keras(layer: keras.Layer, own: State, flattened: Shape | None) -> list[Array]:
    """Return a layer's weights as Keras has them, in the order of its `get_weights`."""
    match layer:
        case keras.layers.SimpleRNN() | keras.layers.LSTM():
            return [own["weight_ih_l0"].T, own["weight_hh_l0"].T, own["bias_ih_l0"] + own["bias_hh_l0"]]
        case keras.layers.GRU():
            ih, hh, b_ih, b_hh = (
                _swapped_gates(own[f"{name}_l0"]) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            return [ih.T, hh.T, np.stack([b_ih, b_hh])]
        case keras.layers.MultiHeadAttention():
            return _attention_to_keras(layer.num_heads, own)
        case keras.layers.Dense():
            kernel = _dense_to_keras(own["weight"], flattened)
            return [kernel, own["bias"]] if "bias" in own else [kernel]
        case keras.layers.Conv2D():
            kernel = own["weight"].transpose(2, 3, 1, 0)
            return [kernel, own["bias"]] if "bias" in own else [kernel]
        case keras.layers.BatchNormalization():
            return [own[name] for name in ("weight", "bias", "running_mean", "running_var")]
        case keras.layers.LayerNormalization():
            return [own["weight"], own["bias"]]
        case keras.layers.Embedding():
            return [own["weight"]]
    raise ValueError(f"{layer.name}: weights of a {type(layer).__name__} cannot be carried over")


def _to_torch(layer: keras.Layer, flattened: Shape | None) -> dict[str, Array]:
    """Return a layer's weights as torch has them, by torch's names."""
    values = [np.asarray(value) for value in layer.get_weights()]
    match layer:
        case keras.layers.SimpleRNN() | keras.layers.LSTM():
            kernel, recurrent, bias = values
            return {
                "weight_ih_l0": kernel.T,
                "weight_hh_l0": recurrent.T,
                "bias_ih_l0": bias,
                "bias_hh_l0": np.zeros_like(bias),
            }
        case keras.layers.GRU():
            kernel, recurrent, biases = values
            weights = {
                "weight_ih_l0": kernel.T,
                "weight_hh_l0": recurrent.T,
                "bias_ih_l0": biases[0],
                "bias_hh_l0": biases[1],
            }
            return {name: _swapped_gates(value) for name, value in weights.items()}
        case keras.layers.MultiHeadAttention():
            return _attention_to_torch(values)
        case keras.layers.Dense():
            names, values[0] = ["weight", "bias"], _dense_to_torch(values[0], flattened)
        case keras.layers.Conv2D():
            names, values[0] = ["weight", "bias"], values[0].transpose(3, 2, 0, 1)
        case keras.layers.BatchNormalization():
            names = ["weight", "bias", "running_mean", "running_var"]
        case keras.layers.LayerNormalization():
            names = ["weight", "bias"]
        case keras.layers.Embedding():
            names = ["weight"]
        case _:
            raise ValueError(f"{layer.name}: weights of a {type(layer).__name__} cannot be carried over")
    return dict(zip(names, values, strict=False))


def _swapped_gates(weight: Array) -> Array:
    """Return a GRU's weight (3 H, ...) with the first two gates exchanged: r, z to z, r or back."""
    first, second, third = np.split(weight, 3)
    return np.concatenate([second, first, third])


def _attention_to_keras(heads: int, own: State) -> list[Array]:
    """Return the kernels and biases of query, key, value and output, in this order."""
    size = own["out_proj.weight"].shape[0]
    weights: list[Array] = []
    for matrix, bias in zip(
        np.split(own["in_proj_weight"], 3), np.split(own["in_proj_bias"], 3), strict=True
    ):
        weights += [matrix.T.reshape(size, heads, -1), bias.reshape(heads, -1)]
    return [*weights, own["out_proj.weight"].T.reshape(heads, -1, size), own["out_proj.bias"]]


def _attention_to_torch(values: list[Array]) -> dict[str, Array]:
    """Return what `_attention_to_keras` was made from."""
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
    """Return the (height, width, channels) that a dense layer's inputs were flattened from."""
    flattened = False
    for other in model.layers:
        if isinstance(other, keras.layers.Flatten) and len(other.input.shape) == 4:
            height, width, channels = other.input.shape[1:]
            flattened = True
        elif isinstance(other, keras.layers.Dense) and flattened:
            return (height, width, channels) if other is layer else None
    return None
