"""Keras's weights under torch's names and in torch's layouts, and back, without loss.

torch and shared/backprop use the same names and layouts. Keras names its layers like torch, but has
other layouts:

    layer                     torch                              Keras
    dense                     (out, in)                          (in, out)
    dense after flatten       columns: channel, height, width    rows: height, width, channel
    convolution               (out, in, height, width)           (height, width, in, out)
    depthwise convolution     (channels, 1, height, width)       (height, width, channels, 1)
    batch normalization       also counts its batches            does not
    RNN, LSTM, GRU            (gates H, in), (gates H, H)        (in, gates H), (H, gates H)
    biases of RNN and LSTM    two, b_ih and b_hh                 one, their sum
    gates of the GRU          r, z, n; two biases                z, r, n; one bias (2, 3 H)
    both directions           names end in _reverse              forward layer, then backward layer
    multi-head attention      one matrix (3 E, E), and (E, E)    (E, heads, E / heads) each, and
                                                                 (heads, E / heads, E)

Keras's single bias of an RNN or LSTM becomes b_ih, with b_hh = 0. So torch to Keras to torch keeps the
sum of the two biases, and with it the network's outputs; Keras to torch to Keras changes nothing.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

Array = NDArray[Any]
State = Mapping[str, Any]  # under torch's names
Shape = tuple[int, int, int]

RECURRENT = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
REVERSE = "_reverse"  # ends the names of the second direction's weights
NAMES = ("weight", "bias", "running_mean", "running_var")  # of all other layers, in Keras's order


def state_to_keras(state: State, target: keras.Model) -> None:
    """Copy weights under torch's names into a Keras model.

    Raises:
        ValueError: a layer is missing on one side, or a shape does not fit.
    """
    for name, layer in _matching_layers(state, target).items():
        own = layer_state(state, name)
        flattened = _flattened_shape(target, layer)
        known = set(_to_torch(layer, flattened)) | {"num_batches_tracked"} & set(own)
        if known != set(own):
            kind = type(layer).__name__
            raise ValueError(
                f"{name}: torch has the weights {sorted(own)}, Keras's {kind} has {sorted(known)}"
            )
        layer.set_weights(to_keras(layer, own, flattened))


def keras_state(source: keras.Model, template: State) -> dict[str, Array]:
    """Return a Keras model's weights under torch's names; what Keras lacks comes from `template`.

    Raises:
        ValueError: a layer is missing on one side, or a shape does not fit.
    """
    state = dict(template)
    for name, layer in _matching_layers(template, source).items():
        for key, value in _to_torch(layer, _flattened_shape(source, layer)).items():
            if f"{name}.{key}" not in template:
                raise ValueError(f"Keras has a weight {name}.{key}, but torch does not")
            state[f"{name}.{key}"] = np.ascontiguousarray(value)
    return state


def layer_state(state: State, name: str) -> dict[str, Any]:
    """Return the weights of one layer, without its name."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}


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


def to_keras(layer: keras.Layer, own: State, flattened: Shape | None = None) -> list[Any]:
    """Return the weights of one layer in Keras's layout, in the order of its `weights`.

    Args:
        layer: the layer; its own weights are not read.
        own: arrays or TensorFlow's tensors, under torch's names; gradients pass through.
        flattened: the (height, width, channels) from which a dense layer's inputs were flattened.
    """
    match layer:
        case layers.Bidirectional():
            reverse = {name.removesuffix(REVERSE): own[name] for name in own if name.endswith(REVERSE)}
            return [*to_keras(layer.forward_layer, own), *to_keras(layer.backward_layer, reverse)]
        case layers.SimpleRNN() | layers.LSTM() | layers.GRU():
            gru = isinstance(layer, layers.GRU)
            given = [own[name] for name in RECURRENT if name in own]
            w_ih, w_hh, *biases = map(_swap_gates, given) if gru else given
            bias = [ops.stack(biases) if gru else biases[0] + biases[1]] if biases else []
            return [ops.transpose(w_ih), ops.transpose(w_hh), *bias]
        case layers.MultiHeadAttention():
            return _attention_to_keras(layer.num_heads, own)
    matrix, *others = (own[name] for name in NAMES if name in own)
    match layer:
        case layers.Dense() if flattened:
            height, width, channels = flattened
            matrix = ops.reshape(matrix, (-1, channels, height, width))
            matrix = ops.reshape(ops.transpose(matrix, (2, 3, 1, 0)), (height * width * channels, -1))
        case layers.Dense():
            matrix = ops.transpose(matrix)
        case layers.Conv2D():
            matrix = ops.transpose(matrix, (2, 3, 1, 0))
        case layers.DepthwiseConv2D():
            matrix = ops.transpose(matrix, (2, 3, 0, 1))
    return [matrix, *others]


def _to_torch(layer: keras.Layer, flattened: Shape | None) -> dict[str, Array]:
    """Return a layer's weights in torch's layout, under torch's names."""
    values = [np.asarray(value) for value in layer.get_weights()]
    match layer:
        case layers.Bidirectional():
            reverse = _to_torch(layer.backward_layer, None)
            named = {f"{name}{REVERSE}": value for name, value in reverse.items()}
            return _to_torch(layer.forward_layer, None) | named
        case layers.SimpleRNN() | layers.LSTM():
            kernel, recurrent, bias = values
            return dict(zip(RECURRENT, (kernel.T, recurrent.T, bias, np.zeros_like(bias)), strict=True))
        case layers.GRU():
            kernel, recurrent, biases = values
            swapped = [np.asarray(_swap_gates(w)) for w in (kernel.T, recurrent.T, *biases)]
            return dict(zip(RECURRENT, swapped, strict=True))
        case layers.MultiHeadAttention():
            return _attention_to_torch(values)
        case layers.Dense() if flattened:
            height, width, channels = flattened
            by_channel = values[0].reshape(height, width, channels, -1).transpose(3, 2, 0, 1)
            values[0] = by_channel.reshape(-1, channels * height * width)
        case layers.Dense():
            values[0] = values[0].T
        case layers.Conv2D():
            values[0] = values[0].transpose(3, 2, 0, 1)
        case layers.DepthwiseConv2D():
            values[0] = values[0].transpose(2, 3, 0, 1)
        case layers.BatchNormalization() | layers.LayerNormalization() | layers.Embedding():
            pass
        case _:
            raise ValueError(f"{layer.name}: cannot convert the weights of a {type(layer).__name__}")
    return dict(zip(NAMES, values, strict=False))


def _swap_gates(weight: Any) -> Any:
    """Swap the first two gates of a GRU's weight (3 H, ...): r, z becomes z, r or the reverse."""
    first, second, third = ops.split(weight, 3)
    return ops.concatenate([second, first, third])


def _attention_to_keras(heads: int, own: State) -> list[Any]:
    """Return the kernels and biases of query, key, value and output, in this order."""
    size = own["out_proj.weight"].shape[0]
    biases = ops.split(own["in_proj_bias"], 3) if "in_proj_bias" in own else []
    weights = []
    for number, matrix in enumerate(ops.split(own["in_proj_weight"], 3)):
        weights.append(ops.reshape(ops.transpose(matrix), (size, heads, -1)))
        weights += [ops.reshape(bias, (heads, -1)) for bias in biases[number : number + 1]]
    weights.append(ops.reshape(ops.transpose(own["out_proj.weight"]), (heads, -1, size)))
    return [*weights, own["out_proj.bias"]] if biases else weights


def _attention_to_torch(values: list[Array]) -> dict[str, Array]:
    """Invert `_attention_to_keras`."""
    size = values[0].shape[0]
    return {
        "in_proj_weight": np.concatenate([kernel.reshape(size, -1).T for kernel in values[0:6:2]]),
        "in_proj_bias": np.concatenate([bias.ravel() for bias in values[1:6:2]]),
        "out_proj.weight": values[6].reshape(-1, size).T,
        "out_proj.bias": values[7],
    }


def _flattened_shape(model: keras.Model, layer: keras.Layer) -> Shape | None:
    """Return the (height, width, channels) from which the inputs of a dense layer were flattened."""
    flattened: Shape | None = None
    for other in model.layers:
        if isinstance(other, layers.Flatten) and len(other.input.shape) == 4:
            flattened = other.input.shape[1:]
        elif isinstance(other, layers.Dense) and flattened:
            return flattened if other is layer else None
    return None
