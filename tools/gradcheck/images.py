"""Convolution, pooling and normalization."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import torch
from hypothesis import strategies as st
from torch import nn

from tools.gradcheck.comparison import Case
from tools.gradcheck.entries import Options, entry, in_keras, in_torch, make_case, named, stateless

Rng = np.random.Generator
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
STEPS = st.tuples(st.integers(1, 2), st.integers(1, 2))
SIDES = st.tuples(st.integers(5, 7), st.integers(5, 7))
TWO = (2, 2)
ONE = (1, 1)


def last(x: Any) -> Any:
    """Return images with their channels last."""
    return tf.transpose(x, (0, 2, 3, 1))


def first(x: Any) -> Any:
    """Return images with their channels first."""
    return tf.transpose(x, (0, 3, 1, 2))


def padded(x: Any, padding: tuple[int, int], value: float = 0) -> Any:
    """Return images (N, H, W, C) with `value` around them."""
    (ph, pw) = padding
    return tf.pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)], constant_values=value)


@entry(
    "Conv2d",
    20,
    size=SIDES,
    groups=st.sampled_from([1, 1, 1, 2]),
    per_group=STEPS,
    kernel=PAIRS,
    stride=STEPS,
    dilation=STEPS,
    padding=st.tuples(*[st.integers(0, 2)] * 2),
    bias=st.booleans(),
    always=[
        {
            "size": (6, 7),
            "groups": g,
            "per_group": (2, 2),
            "kernel": (3, 2),
            "stride": s,
            "dilation": d,
            "padding": (1, 2),
            "bias": True,
        }
        for g, s, d in [
            (1, ONE, ONE),
            (1, (2, 1), ONE),
            (1, ONE, (1, 2)),
            (2, (2, 1), (1, 2)),
            (2, (2, 1), ONE),
        ]
    ],
)
def conv2d(lib: Any, o: Options, rng: Rng) -> Case:
    groups, kernel, stride, dilation = o["groups"], o["kernel"], o["stride"], o["dilation"]
    inputs, outputs = (groups * n for n in o["per_group"])
    arguments = (inputs, outputs, kernel, stride, o["padding"], dilation, groups, o["bias"])

    def keras_side(given: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        layer = keras.layers.Conv2D(
            outputs, kernel, stride, "valid", dilation_rate=dilation, groups=groups, use_bias=o["bias"]
        )
        weights = [tf.transpose(state["weight"], (2, 3, 1, 0)), *named(state, "bias")]
        return {"y": first(stateless(layer, weights, padded(last(given["x"]), o["padding"])))}

    both = max(stride) > 1 and max(dilation) > 1
    lacking = "Keras's Conv2D has no stride together with dilation" if both else ""
    case = make_case(
        "Conv2d",
        lambda dtype: lib.Conv2d(*arguments, dtype=dtype),
        rng,
        {"x": rng.standard_normal((2, inputs, *o["size"]))},
        in_torch(nn.Conv2d(*arguments, dtype=torch.float64)),
        lacking or keras_side,
    )
    note = "TensorFlow's CPU has no float64 gradient of a grouped convolution; Keras has one"
    return replace(case, note=note if groups > 1 else "")


PADDED_BY_HAND = "Keras has no padding by a number: the images are padded in front of its layer"
POOLING = {
    "size": SIDES,
    "kernel": PAIRS,
    "stride": st.one_of(st.none(), STEPS),
    "pad": st.tuples(st.booleans(), st.booleans()),
}


def half(o: Options) -> tuple[int, int]:
    """Return the largest padding that a pooling window may have, on the sides drawn."""
    return tuple(k // 2 * side for k, side in zip(o["kernel"], o["pad"], strict=True))


@entry(
    "MaxPool2d",
    16,
    **POOLING,
    dilation=STEPS,
    always=[
        {
            "size": (6, 7),
            "kernel": (3, 2),
            "stride": (2, 1),
            "pad": (True, True),
            "dilation": ONE,
            "ties": ties,
        }
        for ties in (False, True)
    ],
)
def max_pool2d(lib: Any, o: Options, rng: Rng) -> Case:
    kernel, stride, padding, dilation = o["kernel"], o["stride"], half(o), o["dilation"]

    def keras_side(given: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        layer = keras.layers.MaxPooling2D(kernel, stride or kernel, "valid")
        return {"y": first(layer(padded(last(given["x"]), padding, -np.inf)))}

    # Different numbers are at least 0.01 apart, further than a central difference moves them.
    size = (2, 2, *o["size"])
    x = rng.permutation(np.prod(size)).reshape(size) * 0.01 - 1  # so that padding with zeros would be seen
    if o.get("ties"):
        x = np.round(x)
    side: Any = keras_side
    if max(dilation) > 1:
        side = "Keras's MaxPooling2D has no dilation"
    finite = "no derivative where two are equal" if o.get("ties") else "central"
    case = make_case(
        "MaxPool2d",
        lambda dtype: lib.MaxPool2d(kernel, stride, padding, dilation),
        rng,
        {"x": x},
        in_torch(nn.MaxPool2d(kernel, stride, padding, dilation)),
        side,
        finite=finite,
    )
    return replace(case, note=PADDED_BY_HAND)


@entry(
    "AvgPool2d",
    16,
    **POOLING,
    count_include_pad=st.booleans(),
    always=[
        {"size": (6, 7), "kernel": (3, 2), "stride": (2, 1), "pad": (True, True), "count_include_pad": counts}
        for counts in (False, True)
    ],
)
def avg_pool2d(lib: Any, o: Options, rng: Rng) -> Case:
    kernel, stride, padding = o["kernel"], o["stride"], half(o)
    counts = o["count_include_pad"]
    module = nn.AvgPool2d(kernel, stride, padding, count_include_pad=counts)

    def keras_side(given: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        layer = keras.layers.AveragePooling2D(kernel, stride or kernel, "valid")
        x = last(given["x"])
        y = layer(padded(x, padding))
        # Without the padding: the share of each window that is image is taken out again.
        return {"y": first(y if counts else y / layer(padded(tf.ones_like(x), padding)))}

    case = make_case(
        "AvgPool2d",
        lambda dtype: lib.AvgPool2d(kernel, stride, padding, count_include_pad=counts),
        rng,
        {"x": rng.standard_normal((2, 2, *o["size"]))},
        in_torch(module),
        keras_side,
    )
    return replace(case, note=PADDED_BY_HAND)


@entry("AdaptiveAvgPool2d", 10, count=st.integers(1, 3), channels=st.integers(1, 3), size=PAIRS)
def adaptive_avg_pool2d(lib: Any, o: Options, rng: Rng) -> Case:
    layer = keras.layers.GlobalAveragePooling2D(keepdims=True)
    return make_case(
        "AdaptiveAvgPool2d",
        lambda dtype: lib.AdaptiveAvgPool2d(1),
        rng,
        {"x": rng.standard_normal((o["count"], o["channels"], *o["size"]))},
        in_torch(nn.AdaptiveAvgPool2d(1)),
        lambda given, _: {"y": first(layer(last(given["x"])))},
    )


# Normalization

NORM = {
    "features": st.integers(1, 3),
    "count": st.integers(4, 6),
    "eps": st.sampled_from([1e-5, 1e-2]),
    "momentum": st.sampled_from([0.1, 0.7]),
    "affine": st.booleans(),
    "training": st.booleans(),
}
NORM_ALWAYS = {"features": 2, "count": 4, "eps": 1e-2, "momentum": 0.3, "affine": True}


def batch_norm(lib: Any, o: Options, rng: Rng, name: str, extra: list[int]) -> Case:
    """Keras's running variance is the biased one: compared after the factor m / (m - 1)."""
    features, eps, momentum = o["features"], o["eps"], o["momentum"]
    arguments = (features, eps, momentum, o["affine"])
    module = getattr(nn, name)(*arguments, dtype=torch.float64).train(o["training"])
    x = 1 + 2 * rng.standard_normal((o["count"], features, *extra))
    m = x.size // features

    def torch_side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        y = torch.func.functional_call(module, state, inputs["x"], strict=True)
        return {"y": y, **{key: state[key] for key in ("running_mean", "running_var", "num_batches_tracked")}}

    def keras_side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        layer = keras.layers.BatchNormalization(1, 1 - momentum, eps, center=o["affine"], scale=o["affine"])
        layer.build(x.shape)
        y, (mean, var) = layer.stateless_call(
            named(state, "weight", "bias"),
            named(state, "running_mean", "running_var"),
            inputs["x"],
            training=o["training"],
        )
        if o["training"]:
            before = (1 - momentum) * state["running_var"]
            var = before + (var - before) * m / (m - 1)
        return {"y": y, "running_mean": mean, "running_var": var}

    def make(dtype: Any) -> Any:
        return getattr(lib, name)(*arguments, dtype=dtype).train(o["training"])

    case = make_case(name, make, rng, {"x": x}, torch_side, keras_side)
    return replace(
        case, note="Keras's running variance is the biased one: compared after the factor m / (m - 1)"
    )


@entry(
    "BatchNorm1d",
    16,
    **NORM,
    extra=st.lists(st.integers(1, 3), max_size=1),
    always=[NORM_ALWAYS | {"training": t, "extra": [3]} for t in (True, False)],
)
def batch_norm1d(lib: Any, o: Options, rng: Rng) -> Case:
    return batch_norm(lib, o, rng, "BatchNorm1d", o["extra"])


@entry(
    "BatchNorm2d",
    14,
    **NORM,
    extra=st.lists(st.integers(1, 3), min_size=2, max_size=2),
    always=[NORM_ALWAYS | {"training": t, "extra": [3, 2]} for t in (True, False)],
)
def batch_norm2d(lib: Any, o: Options, rng: Rng) -> Case:
    return batch_norm(lib, o, rng, "BatchNorm2d", o["extra"])


@entry(
    "LayerNorm",
    lead=st.lists(st.integers(1, 3), max_size=2),
    shape=st.lists(st.integers(3, 4), min_size=1, max_size=2),
    eps=st.sampled_from([1e-5, 1e-2]),
    affine=st.booleans(),
    bias=st.booleans(),
    always=[{"lead": [3], "shape": [4], "eps": 1e-2, "affine": True, "bias": True}],
)
def layer_norm(lib: Any, o: Options, rng: Rng) -> Case:
    shape, eps, affine = o["shape"], o["eps"], o["affine"]
    bias = affine and o["bias"]
    axes = list(range(-len(shape), 0))
    # Keras wants an axis in front of those that it normalizes.
    lead = o["lead"] or [1]
    return make_case(
        "LayerNorm",
        lambda dtype: lib.LayerNorm(shape, eps, affine, o["bias"], dtype=dtype),
        rng,
        {"x": 1 + 2 * rng.standard_normal((*lead, *shape))},
        in_torch(nn.LayerNorm(shape, eps, affine, o["bias"], dtype=torch.float64)),
        in_keras(
            keras.layers.LayerNormalization(axes, eps, center=bias, scale=affine),
            lambda state: named(state, "weight", "bias"),
        ),
    )
