"""Convolution, pooling and normalization."""

from functools import partial
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import torch
from hypothesis import strategies as st
from torch import nn

from shared.parity.weights import to_keras
from tools.gradcheck.comparison import Case
from tools.gradcheck.entries import Rng, entry, in_keras, layer_case, stateless


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


ONE = (1, 1)
UP_TO_3 = st.integers(1, 3)
OneOrTwo = Annotated[tuple[int, int], pairs(1, 2)]
Kernel = Annotated[tuple[int, int], pairs(1, 3)]
ImageSize = Annotated[tuple[int, int], pairs(5, 7)]
Stride = Annotated[tuple[int, int] | None, st.one_of(st.none(), pairs(1, 2))]
Sides = Annotated[tuple[bool, bool], st.tuples(st.booleans(), st.booleans())]
Epsilon = Annotated[float, st.sampled_from([1e-5, 1e-2])]


def channels_last(x: Any) -> Any:
    return tf.transpose(x, (0, 2, 3, 1))


def channels_first(x: Any) -> Any:
    return tf.transpose(x, (0, 3, 1, 2))


def pad(x: Any, padding: tuple[int, int], value: float = 0) -> Any:
    """Return images (N, H, W, C) with `value` around them."""
    (ph, pw) = padding
    return tf.pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)], constant_values=value)


@entry(
    "Conv2d",
    20,
    always=[
        {"size": (6, 7), "per_group": (2, 2), "kernel": (3, 2), "padding": (1, 2), "bias": True}
        | {"groups": groups, "stride": stride, "dilation": dilation}
        for groups, stride, dilation in [
            (1, ONE, ONE),
            (1, (2, 1), ONE),
            (1, ONE, (1, 2)),
            (2, ONE, ONE),
            (2, (2, 1), (1, 2)),
            (2, (2, 1), ONE),
        ]
    ]
    + [
        {"size": (6, 7), "per_group": ONE, "kernel": kernel, "padding": (1, 2), "bias": bias}
        | {"groups": 3, "stride": stride, "dilation": dilation}
        for kernel, stride, dilation, bias in [
            ((3, 3), ONE, ONE, False),
            ((3, 2), (2, 1), ONE, True),
            ((2, 3), (1, 2), ONE, True),
            ((3, 2), (2, 1), (1, 2), True),
            ((2, 3), ONE, (2, 2), True),
        ]
    ],
)
def conv2d(
    lib: Any,
    rng: Rng,
    size: ImageSize,
    groups: Annotated[int, st.sampled_from([1, 1, 1, 2])],
    per_group: OneOrTwo,
    kernel: Kernel,
    stride: OneOrTwo,
    dilation: OneOrTwo,
    padding: Annotated[tuple[int, int], pairs(0, 2)],
    bias: bool,
) -> Case:
    inputs, outputs = (groups * n for n in per_group)

    def keras_side(given: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        layer = keras.layers.Conv2D(
            outputs, kernel, stride, "valid", dilation_rate=dilation, groups=groups, use_bias=bias
        )
        return {"y": channels_first(stateless(layer, state, pad(channels_last(given["x"]), padding)))}

    both = max(stride) > 1 and max(dilation) > 1
    note = "TensorFlow has no float64 gradient of a grouped convolution on the CPU; Keras has one"
    return layer_case(
        lib.Conv2d,
        (inputs, outputs, kernel, stride, padding, dilation, groups, bias),
        rng.standard_normal((2, inputs, *size)),
        "Keras's Conv2D cannot combine stride and dilation" if both else keras_side,
        note=note if groups > 1 else "",
    )


PADDED_BY_HAND = "Keras cannot pad by a number, so the images are padded before its layer"
POOLING: dict[str, Any] = {"size": (6, 7), "kernel": (3, 2), "stride": (2, 1), "pad_sides": (True, True)}


def largest_padding(kernel: tuple[int, int], sides: tuple[bool, bool]) -> Any:
    """Return the largest padding that a pooling window may have, on the given sides."""
    return tuple(k // 2 * side for k, side in zip(kernel, sides, strict=True))


@entry("MaxPool2d", 16, always=[POOLING | {"dilation": ONE, "ties": ties} for ties in (False, True)])
def max_pool2d(
    lib: Any,
    rng: Rng,
    size: ImageSize,
    kernel: Kernel,
    stride: Stride,
    pad_sides: Sides,
    dilation: OneOrTwo,
    ties: bool = False,
) -> Case:
    padding = largest_padding(kernel, pad_sides)
    layer = keras.layers.MaxPooling2D(kernel, stride or kernel, "valid")

    def keras_side(given: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        return {"y": channels_first(layer(pad(channels_last(given["x"]), padding, -np.inf)))}

    # The numbers are 0.01 apart, which is more than a central difference moves them, and partly
    # negative, so that padding with zeros would be noticed.
    shape = (2, 2, *size)
    x = rng.permutation(np.prod(shape)).reshape(shape) * 0.01 - 1
    return layer_case(
        lib.MaxPool2d,
        (kernel, stride, padding, dilation),
        np.round(x) if ties else x,
        "Keras's MaxPooling2D has no dilation" if max(dilation) > 1 else keras_side,
        finite="no derivative where two numbers are equal" if ties else "central",
        note=PADDED_BY_HAND,
    )


@entry("AvgPool2d", 16, always=[POOLING | {"count_include_pad": include} for include in (False, True)])
def avg_pool2d(
    lib: Any,
    rng: Rng,
    size: ImageSize,
    kernel: Kernel,
    stride: Stride,
    pad_sides: Sides,
    count_include_pad: bool,
) -> Case:
    padding = largest_padding(kernel, pad_sides)
    layer = keras.layers.AveragePooling2D(kernel, stride or kernel, "valid")

    def keras_side(given: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        x = channels_last(given["x"])
        y = layer(pad(x, padding))
        # Without the padding: divide by the fraction of each window that is image.
        return {"y": channels_first(y if count_include_pad else y / layer(pad(tf.ones_like(x), padding)))}

    x = rng.standard_normal((2, 2, *size))
    options = {"count_include_pad": count_include_pad}
    arguments = (kernel, stride, padding)
    return layer_case(lib.AvgPool2d, arguments, x, keras_side, options, note=PADDED_BY_HAND)


@entry("AdaptiveAvgPool2d", 10)
def adaptive_avg_pool2d(
    lib: Any, rng: Rng, count: Annotated[int, UP_TO_3], channels: Annotated[int, UP_TO_3], size: Kernel
) -> Case:
    layer = keras.layers.GlobalAveragePooling2D(keepdims=True)
    x = rng.standard_normal((count, channels, *size))
    return layer_case(
        lib.AdaptiveAvgPool2d,
        (1,),
        x,
        lambda given, _: {"y": channels_first(layer(channels_last(given["x"])))},
    )


# Normalization


def batch_norm(
    name: str,
    lib: Any,
    rng: Rng,
    features: Annotated[int, UP_TO_3],
    count: Annotated[int, st.integers(4, 6)],
    eps: Epsilon,
    momentum: Annotated[float, st.sampled_from([0.1, 0.7])],
    affine: bool,
    training: bool,
    extra: list[int],
) -> Case:
    arguments = (features, eps, momentum, affine)
    module = getattr(nn, name)(*arguments, dtype=torch.float64).train(training)
    x = 1 + 2 * rng.standard_normal((count, features, *extra))
    m = x.size // features

    def torch_side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        y = torch.func.functional_call(module, state, inputs["x"], strict=True)
        return {"y": y, **{key: state[key] for key in ("running_mean", "running_var", "num_batches_tracked")}}

    def keras_side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        layer = keras.layers.BatchNormalization(1, 1 - momentum, eps, center=affine, scale=affine)
        layer.build(x.shape)
        *weights, mean, var = to_keras(layer, state)
        y, (mean, var) = layer.stateless_call(weights, [mean, var], inputs["x"], training=training)
        if training:
            before = (1 - momentum) * state["running_var"]
            var = before + (var - before) * m / (m - 1)
        return {"y": y, "running_mean": mean, "running_var": var}

    return Case(
        lambda dtype: getattr(lib, name)(*arguments, dtype=dtype).train(training),
        {"x": x},
        torch_side,
        keras_side,
        note="Keras's running variance is biased; it is compared after scaling by m / (m - 1)",
    )


for _name, _examples, _least, _most in [("BatchNorm1d", 16, 0, 1), ("BatchNorm2d", 14, 2, 2)]:
    entry(
        _name,
        _examples,
        always=[
            {"features": 2, "count": 4, "eps": 1e-2, "momentum": 0.3, "affine": True}
            | {"training": training, "extra": [3, 2][:_most]}
            for training in (True, False)
        ],
        extra=st.lists(UP_TO_3, min_size=_least, max_size=_most),
    )(partial(batch_norm, _name))


@entry("LayerNorm", always=[{"lead": [3], "shape": [4], "eps": 1e-2, "affine": True, "bias": True}])
def layer_norm(
    lib: Any,
    rng: Rng,
    lead: Annotated[list[int], st.lists(UP_TO_3, max_size=2)],
    shape: Annotated[list[int], st.lists(st.integers(3, 4), min_size=1, max_size=2)],
    eps: Epsilon,
    affine: bool,
    bias: bool,
) -> Case:
    axes = list(range(-len(shape), 0))
    layer = keras.layers.LayerNormalization(axes, eps, center=affine and bias, scale=affine)
    # Keras needs an axis in front of those that it normalizes.
    x = 1 + 2 * rng.standard_normal((*(lead or [1]), *shape))
    return layer_case(lib.LayerNorm, (shape, eps, affine, bias), x, in_keras(layer))
