"""Convolution, pooling and normalization."""

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import torch
from hypothesis import strategies as st
from torch import nn

from tools.gradcheck.comparison import Case
from tools.gradcheck.entries import Rng, entry, existing, in_keras, in_torch, stateless

Pair = tuple[int, int]
ONE = (1, 1)


def pairs(low: int, high: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


def channels_last(x: Any) -> Any:
    return tf.transpose(x, (0, 2, 3, 1))


def channels_first(x: Any) -> Any:
    return tf.transpose(x, (0, 3, 1, 2))


def pad(x: Any, padding: Pair, value: float = 0) -> Any:
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
            (2, (2, 1), (1, 2)),
            (2, (2, 1), ONE),
        ]
    ],
    size=pairs(5, 7),
    groups=st.sampled_from([1, 1, 1, 2]),
    per_group=pairs(1, 2),
    kernel=pairs(1, 3),
    stride=pairs(1, 2),
    dilation=pairs(1, 2),
    padding=pairs(0, 2),
    bias=st.booleans(),
)
def conv2d(
    lib: Any,
    rng: Rng,
    size: Pair,
    groups: int,
    per_group: Pair,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    padding: Pair,
    bias: bool,
) -> Case:
    inputs, outputs = (groups * n for n in per_group)
    arguments = (inputs, outputs, kernel, stride, padding, dilation, groups, bias)

    def keras_side(given: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        layer = keras.layers.Conv2D(
            outputs, kernel, stride, "valid", dilation_rate=dilation, groups=groups, use_bias=bias
        )
        weights = [tf.transpose(state["weight"], (2, 3, 1, 0)), *existing(state, "bias")]
        return {"y": channels_first(stateless(layer, weights, pad(channels_last(given["x"]), padding)))}

    note = "TensorFlow has no float64 gradient of a grouped convolution on the CPU; Keras has one"
    return Case(
        lambda dtype: lib.Conv2d(*arguments, dtype=dtype),
        {"x": rng.standard_normal((2, inputs, *size))},
        in_torch(nn.Conv2d(*arguments, dtype=torch.float64)),
        "Keras's Conv2D cannot combine stride and dilation"
        if max(stride) > 1 and max(dilation) > 1
        else keras_side,
        note=note if groups > 1 else "",
    )


PADDED_BY_HAND = "Keras cannot pad by a number, so the images are padded before its layer"
POOLING: dict[str, st.SearchStrategy[Any]] = {
    "size": pairs(5, 7),
    "kernel": pairs(1, 3),
    "stride": st.one_of(st.none(), pairs(1, 2)),
    "pad_sides": st.tuples(st.booleans(), st.booleans()),
}
POOLING_ALWAYS: dict[str, Any] = {
    "size": (6, 7),
    "kernel": (3, 2),
    "stride": (2, 1),
    "pad_sides": (True, True),
}


def largest_padding(kernel: Pair, sides: tuple[bool, bool]) -> Any:
    """Return the largest padding that a pooling window may have, on the given sides."""
    return tuple(k // 2 * side for k, side in zip(kernel, sides, strict=True))


@entry(
    "MaxPool2d",
    16,
    always=[POOLING_ALWAYS | {"dilation": ONE, "ties": ties} for ties in (False, True)],
    **POOLING,
    dilation=pairs(1, 2),
)
def max_pool2d(
    lib: Any,
    rng: Rng,
    size: Pair,
    kernel: Pair,
    stride: Pair | None,
    pad_sides: tuple[bool, bool],
    dilation: Pair,
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
    return Case(
        lambda dtype: lib.MaxPool2d(kernel, stride, padding, dilation),
        {"x": np.round(x) if ties else x},
        in_torch(nn.MaxPool2d(kernel, stride, padding, dilation)),
        "Keras's MaxPooling2D has no dilation" if max(dilation) > 1 else keras_side,
        finite="no derivative where two numbers are equal" if ties else "central",
        note=PADDED_BY_HAND,
    )


@entry(
    "AvgPool2d",
    16,
    always=[POOLING_ALWAYS | {"count_include_pad": include} for include in (False, True)],
    **POOLING,
    count_include_pad=st.booleans(),
)
def avg_pool2d(
    lib: Any,
    rng: Rng,
    size: Pair,
    kernel: Pair,
    stride: Pair | None,
    pad_sides: tuple[bool, bool],
    count_include_pad: bool,
) -> Case:
    padding = largest_padding(kernel, pad_sides)
    options = {"count_include_pad": count_include_pad}
    layer = keras.layers.AveragePooling2D(kernel, stride or kernel, "valid")

    def keras_side(given: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        x = channels_last(given["x"])
        y = layer(pad(x, padding))
        # Without the padding: divide by the fraction of each window that is image.
        return {"y": channels_first(y if count_include_pad else y / layer(pad(tf.ones_like(x), padding)))}

    return Case(
        lambda dtype: lib.AvgPool2d(kernel, stride, padding, **options),
        {"x": rng.standard_normal((2, 2, *size))},
        in_torch(nn.AvgPool2d(kernel, stride, padding, **options)),
        keras_side,
        note=PADDED_BY_HAND,
    )


@entry("AdaptiveAvgPool2d", 10, count=st.integers(1, 3), channels=st.integers(1, 3), size=pairs(1, 3))
def adaptive_avg_pool2d(lib: Any, rng: Rng, count: int, channels: int, size: Pair) -> Case:
    layer = keras.layers.GlobalAveragePooling2D(keepdims=True)
    return Case(
        lambda dtype: lib.AdaptiveAvgPool2d(1),
        {"x": rng.standard_normal((count, channels, *size))},
        in_torch(nn.AdaptiveAvgPool2d(1)),
        lambda given, _: {"y": channels_first(layer(channels_last(given["x"])))},
    )


# Normalization


def batch_norm(
    name: str,
    lib: Any,
    rng: Rng,
    features: int,
    count: int,
    eps: float,
    momentum: float,
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
        buffers = existing(state, "running_mean", "running_var")
        y, (mean, var) = layer.stateless_call(
            existing(state, "weight", "bias"), buffers, inputs["x"], training=training
        )
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


for _name, _examples, _axes in [("BatchNorm1d", 16, (0, 1)), ("BatchNorm2d", 14, (2, 2))]:
    entry(
        _name,
        _examples,
        always=[
            {"features": 2, "count": 4, "eps": 1e-2, "momentum": 0.3, "affine": True}
            | {"training": training, "extra": [3, 2][: _axes[1]]}
            for training in (True, False)
        ],
        features=st.integers(1, 3),
        count=st.integers(4, 6),
        eps=st.sampled_from([1e-5, 1e-2]),
        momentum=st.sampled_from([0.1, 0.7]),
        affine=st.booleans(),
        training=st.booleans(),
        extra=st.lists(st.integers(1, 3), min_size=_axes[0], max_size=_axes[1]),
    )(partial(batch_norm, _name))


@entry(
    "LayerNorm",
    always=[{"lead": [3], "shape": [4], "eps": 1e-2, "affine": True, "bias": True}],
    lead=st.lists(st.integers(1, 3), max_size=2),
    shape=st.lists(st.integers(3, 4), min_size=1, max_size=2),
    eps=st.sampled_from([1e-5, 1e-2]),
    affine=st.booleans(),
    bias=st.booleans(),
)
def layer_norm(
    lib: Any, rng: Rng, lead: list[int], shape: list[int], eps: float, affine: bool, bias: bool
) -> Case:
    axes = list(range(-len(shape), 0))
    layer = keras.layers.LayerNormalization(axes, eps, center=affine and bias, scale=affine)
    return Case(
        lambda dtype: lib.LayerNorm(shape, eps, affine, bias, dtype=dtype),
        # Keras needs an axis in front of those that it normalizes.
        {"x": 1 + 2 * rng.standard_normal((*(lead or [1]), *shape))},
        in_torch(nn.LayerNorm(shape, eps, affine, bias, dtype=torch.float64)),
        in_keras(layer, lambda state: existing(state, "weight", "bias")),
    )
