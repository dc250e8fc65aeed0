"""Linear layers, activations, containers, losses and penalties."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import torch
from hypothesis import strategies as st
from torch import nn

from tools.gradcheck.comparison import Case, Side
from tools.gradcheck.entries import Rng, entry, existing, in_keras, in_torch, stateless

Sizes = list[int]
SIZES = st.integers(1, 4)
SHAPES = st.lists(SIZES, min_size=1, max_size=3)


def dense_weights(state: dict[str, Any], prefix: str = "") -> list[Any]:
    """Return the weights of a linear layer in Keras's layout."""
    weights = existing(state, f"{prefix}weight", f"{prefix}bias")
    return [tf.transpose(weights[0]), *weights[1:]]


@entry(
    "Linear",
    always=[{"lead": [5], "inputs": 3, "outputs": 3, "bias": True}],
    lead=SHAPES,
    inputs=SIZES,
    outputs=SIZES,
    bias=st.booleans(),
)
def linear(lib: Any, rng: Rng, lead: Sizes, inputs: int, outputs: int, bias: bool) -> Case:
    return Case(
        lambda dtype: lib.Linear(inputs, outputs, bias, dtype=dtype),
        {"x": rng.standard_normal((*lead, inputs))},
        in_torch(nn.Linear(inputs, outputs, bias, dtype=torch.float64)),
        in_keras(keras.layers.Dense(outputs, use_bias=bias), dense_weights),
    )


@entry(
    "Embedding",
    always=[{"shape": [4, 3], "rows": 3, "columns": 2, "padded": padded} for padded in (False, True)],
    shape=st.lists(SIZES, min_size=0, max_size=3),
    rows=st.integers(1, 6),
    columns=SIZES,
    padded=st.booleans(),
)
def embedding(lib: Any, rng: Rng, shape: Sizes, rows: int, columns: int, padded: bool) -> Case:
    padding_idx = rows - 1 if padded else None
    x = np.asarray(rng.integers(0, rows, shape))
    module = nn.Embedding(rows, columns, padding_idx, dtype=torch.float64)
    layer = keras.layers.Embedding(rows, columns)
    return Case(
        lambda dtype: lib.Embedding(rows, columns, padding_idx, dtype=dtype),
        {},
        lambda _, state: {"y": torch.func.functional_call(module, state, torch.tensor(x))},
        "Keras's Embedding has no padding_idx: every row has a gradient"
        if padded
        else lambda _, state: {"y": stateless(layer, [state["weight"]], tf.constant(x))},
        {"x": x},
        # The slope of the loss is not 0 there.
        "padding_idx omits a gradient on purpose" if padded else "complex",
    )


@entry("Flatten", 10, shape=st.lists(SIZES, min_size=2, max_size=4))
def flatten(lib: Any, rng: Rng, shape: Sizes) -> Case:
    return Case(
        lambda dtype: lib.Flatten(),
        {"x": rng.standard_normal(shape)},
        in_torch(nn.Flatten()),
        in_keras(keras.layers.Flatten()),
    )


@entry(
    "Dropout",
    always=[{"shape": [4, 5], "p": 0.4, "mask_of": name, "seed": 1} for name in ("torch", "keras")],
    shape=SHAPES,
    p=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    mask_of=st.sampled_from(["torch", "keras", "evaluation"]),
    seed=st.integers(0, 99),
)
def dropout(lib: Any, rng: Rng, shape: Sizes, p: float, mask_of: str, seed: int) -> Case:
    training = mask_of != "evaluation"

    def torch_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        torch.manual_seed(seed)
        return {"y": nn.Dropout(p).train(training)(inputs["x"])}

    def keras_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        return {"y": keras.layers.Dropout(p, seed=seed)(inputs["x"], training=training)}

    with torch.random.fork_rng():
        if mask_of == "torch":
            y = torch_side({"x": torch.ones(*shape, dtype=torch.float64)}, {})["y"].numpy()
        else:
            y = np.asarray(keras_side({"x": tf.ones(shape, tf.float64)}, {})["y"])
    return Case(
        lambda dtype: lib.Dropout(p).train(training),
        {"x": rng.standard_normal(shape)},
        torch_side if mask_of != "keras" else "",
        keras_side if mask_of != "torch" else "",
        {"mask": y != 0},
        note="each framework draws its own mask, which is read first, with the same seed",
    )


# Activations


def activation(
    lib: Any, rng: Rng, shape: Sizes, name: str, module: nn.Module, layer: Any, *arguments: Any, **other: Any
) -> Case:
    return Case(
        lambda dtype: getattr(lib, name)(*arguments),
        {"x": 2 * rng.standard_normal(shape)},
        in_torch(module),
        in_keras(layer),
        **other,
    )


@entry("ReLU", 12, always=[{"shape": [3, 4], "zeros": True}], shape=SHAPES)
def relu(lib: Any, rng: Rng, shape: Sizes, zeros: bool = False) -> Case:
    x = rng.standard_normal(shape)
    x = np.sign(x) * (np.abs(x) + 0.1)
    if zeros:
        x[::2] = 0
    return Case(
        lambda dtype: lib.ReLU(),
        {"x": x},
        in_torch(nn.ReLU()),
        in_keras(keras.layers.ReLU()),
        finite="no derivative at 0" if zeros else "central",
    )


@entry("Sigmoid", 10, shape=SHAPES)
def sigmoid(lib: Any, rng: Rng, shape: Sizes) -> Case:
    return activation(lib, rng, shape, "Sigmoid", nn.Sigmoid(), keras.layers.Activation("sigmoid"))


@entry("Tanh", 10, shape=SHAPES)
def tanh(lib: Any, rng: Rng, shape: Sizes) -> Case:
    return activation(lib, rng, shape, "Tanh", nn.Tanh(), keras.layers.Activation("tanh"))


@entry(
    "GELU",
    14,
    always=[{"shape": [7, 5], "approximate": kind} for kind in ("none", "tanh")],
    shape=st.lists(st.integers(3, 5), min_size=2, max_size=3),  # a single slope may be next to 0
    approximate=st.sampled_from(["none", "tanh"]),
)
def gelu(lib: Any, rng: Rng, shape: Sizes, approximate: str) -> Case:
    layer = keras.layers.Activation(lambda x: keras.activations.gelu(x, approximate == "tanh"))
    return activation(
        lib,
        rng,
        shape,
        "GELU",
        nn.GELU(approximate),
        layer,
        approximate,
        finite="complex" if approximate == "tanh" else "central",  # Cody's erf is piecewise
        keras_allowed=1e-7,
        note="TensorFlow's gelu rounds its constants to float32, so 1e-07 is allowed",
    )


@entry(
    "Softmax",
    12,
    shape=st.lists(st.integers(2, 4), min_size=2, max_size=3),
    dim=st.sampled_from([-1, -2, 0, 1]),
)
def softmax(lib: Any, rng: Rng, shape: Sizes, dim: int) -> Case:
    return activation(lib, rng, shape, "Softmax", nn.Softmax(dim), keras.layers.Softmax(dim), dim)


# Containers


@entry("Sequential", 12, rows=st.integers(4, 6), inputs=SIZES, hidden=st.integers(2, 4))
def sequential(lib: Any, rng: Rng, rows: int, inputs: int, hidden: int) -> Case:
    def make(dtype: Any) -> Any:
        return lib.Sequential(
            lib.Linear(inputs, hidden, dtype=dtype),
            lib.Tanh(),
            lib.BatchNorm1d(hidden, dtype=dtype),
            lib.Linear(hidden, 2, dtype=dtype),
            lib.Softmax(),
        )

    layers = (nn.Linear(inputs, hidden), nn.Tanh(), nn.BatchNorm1d(hidden), nn.Linear(hidden, 2))

    def keras_side(given: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        model = keras.Sequential(
            [
                keras.Input((inputs,)),
                keras.layers.Dense(hidden, "tanh"),
                keras.layers.BatchNormalization(epsilon=1e-5),
                keras.layers.Dense(2, "softmax"),
            ]
        )
        first, second = dense_weights(state, "0."), dense_weights(state, "3.")
        weights = [*first, *existing(state, "2.weight", "2.bias"), *second]
        return {"y": stateless(model, weights, given["x"], training=True)}

    x = rng.standard_normal((rows, inputs))
    return Case(make, {"x": x}, in_torch(nn.Sequential(*layers, nn.Softmax(-1)).double()), keras_side)


class TorchResidual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


@entry(
    "Residual",
    12,
    always=[{"lead": [3], "inputs": 2, "outputs": 2, "shortcut": shortcut} for shortcut in (False, True)],
    lead=SHAPES,
    inputs=SIZES,
    outputs=SIZES,
    shortcut=st.booleans(),
)
def residual(lib: Any, rng: Rng, lead: Sizes, inputs: int, outputs: int, shortcut: bool) -> Case:
    outputs = outputs if shortcut else inputs

    def make(dtype: Any) -> Any:
        body = lib.Sequential(lib.Linear(inputs, outputs, dtype=dtype), lib.Tanh())
        return lib.Residual(body, lib.Linear(inputs, outputs, dtype=dtype) if shortcut else None)

    module = TorchResidual(
        nn.Sequential(nn.Linear(inputs, outputs), nn.Tanh()),
        nn.Linear(inputs, outputs) if shortcut else nn.Identity(),
    )

    def keras_side(given: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        x = keras.Input((*lead[1:], inputs))
        body = keras.layers.Dense(outputs, "tanh", name="body")(x)
        passed = keras.layers.Dense(outputs, name="shortcut")(x) if shortcut else x
        model = keras.Model(x, keras.layers.add([body, passed]))
        weights = {"body": dense_weights(state, "body.0.")}
        if shortcut:
            weights["shortcut"] = dense_weights(state, "shortcut.")
        order = [weight for layer in model.layers for weight in weights.get(layer.name, [])]
        return {"y": stateless(model, order, given["x"])}

    return Case(make, {"x": rng.standard_normal((*lead, inputs))}, in_torch(module.double()), keras_side)


# Losses

REDUCTIONS = st.sampled_from(["mean", "sum"])
MEAN_OF_ROWS = {"shape": [3, 4], "reduction": "mean"}
KERAS_REDUCTION = {"mean": "sum_over_batch_size", "sum": "sum"}


def elementwise_loss(
    lib: Any, rng: Rng, name: str, reduction: str, target: Any, keras_loss: Callable[[Any, Any], Any]
) -> Case:
    module = getattr(nn, name)(reduction=reduction)

    def keras_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        # Keras averages over the last axis, whatever the reduction, so give it length 1.
        return {"y": keras_loss(tf.reshape(target, (-1, 1)), tf.reshape(inputs["input"], (-1, 1)))}

    return Case(
        lambda dtype: getattr(lib, name)(reduction=reduction),
        {"input": 2 * rng.standard_normal(target.shape)},
        lambda inputs, _: {"y": module(inputs["input"], torch.tensor(target))},
        keras_side,
        {"target": target},
    )


@entry("MSELoss", 12, [MEAN_OF_ROWS], shape=SHAPES, reduction=REDUCTIONS)
def mse_loss(lib: Any, rng: Rng, shape: Sizes, reduction: str) -> Case:
    loss = keras.losses.MeanSquaredError(reduction=KERAS_REDUCTION[reduction])
    return elementwise_loss(lib, rng, "MSELoss", reduction, rng.standard_normal(shape), loss)


@entry("BCEWithLogitsLoss", 12, [MEAN_OF_ROWS], shape=SHAPES, reduction=REDUCTIONS)
def bce_loss(lib: Any, rng: Rng, shape: Sizes, reduction: str) -> Case:
    loss = keras.losses.BinaryCrossentropy(from_logits=True, reduction=KERAS_REDUCTION[reduction])
    return elementwise_loss(lib, rng, "BCEWithLogitsLoss", reduction, rng.uniform(0, 1, shape), loss)


CROSS_ENTROPY = {
    "count": 3,
    "classes": 4,
    "extra": [2],
    "ignored": True,
    "smoothing": 0.1,
    "reduction": "mean",
}


@entry(
    "CrossEntropyLoss",
    20,
    always=[CROSS_ENTROPY | {"ignore_index": index} for index in (-100, 1)],
    count=st.integers(1, 4),
    classes=st.integers(2, 5),
    extra=st.lists(st.integers(1, 3), max_size=2),
    ignored=st.booleans(),
    ignore_index=st.sampled_from([-100, 1]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    reduction=REDUCTIONS,
)
def cross_entropy_loss(
    lib: Any,
    rng: Rng,
    count: int,
    classes: int,
    extra: Sizes,
    ignored: bool,
    ignore_index: int,
    smoothing: float,
    reduction: str,
) -> Case:
    target = rng.integers(0, classes, (count, *extra))
    if ignored:
        target.flat[::2] = ignore_index
    target.flat[-1] = 0  # at least one label counts
    counts = target != ignore_index
    module = nn.CrossEntropyLoss(None, None, ignore_index, None, reduction, smoothing)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction="sum")

    def keras_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        logits = keras.ops.moveaxis(inputs["input"], 1, -1)
        labels = keras.ops.one_hot(np.where(counts, target, 0), classes, dtype="float64")
        total = loss(labels, logits, sample_weight=counts.astype(np.float64))
        return {"y": total / float(counts.sum()) if reduction == "mean" else total}

    return Case(
        lambda dtype: lib.CrossEntropyLoss(
            ignore_index=ignore_index, reduction=reduction, label_smoothing=smoothing
        ),
        {"input": 2 * rng.standard_normal((count, classes, *extra))},
        lambda inputs, _: {"y": module(inputs["input"], torch.tensor(target))},
        keras_side,
        {"target": target},
        note="Keras smooths one-hot labels only, and has sample_weight instead of ignore_index",
    )


# Penalties are functions; here they become layers without inputs, with the penalized weights as parameters.

STRENGTHS = st.sampled_from([0.125, 2.0, 0.1])  # float32 rounds the last one


def penalty(lib: Any, shape: Sizes, function: Any, torch_penalty: Any, keras_penalty: Any) -> Case:
    class Penalty(lib.Module):
        def __init__(self, dtype: Any) -> None:
            super().__init__()
            self.params = {"v": np.zeros(shape, dtype), "w": np.zeros((3, 2), dtype)}

        def forward(self) -> Any:
            value, self.found = function(self.params)
            return np.asarray(value, self.params["w"].dtype)

        def backward(self, dy: Any) -> tuple[Any, ...]:
            self.grads = {key: dy * g for key, g in self.found.items()}
            return ()

    def side(one: Any) -> Side:
        return lambda _, state: {"y": sum(one(w) for w in state.values())}

    return Case(
        Penalty,
        {},
        side(torch_penalty),
        side(keras_penalty),
        finite="central",
        keras_allowed=1e-7,
        note="Keras's regularizers round their strength to float32, so 1e-07 is allowed",
    )


@entry("l1_penalty", 10, shape=SHAPES, strength=STRENGTHS)
def l1_penalty(lib: Any, _: Rng, shape: Sizes, strength: float) -> Case:
    return penalty(
        lib,
        shape,
        partial(lib.l1_penalty, strength=strength),
        lambda w: strength * w.abs().sum(),
        keras.regularizers.L1(strength),
    )


@entry("l2_penalty", 10, shape=SHAPES, strength=STRENGTHS, formula=st.sampled_from(["torch", "keras"]))
def l2_penalty(lib: Any, _: Rng, shape: Sizes, strength: float, formula: str) -> Case:
    factor = strength / 2 if formula == "torch" else strength  # Keras's regularizer has no 1/2
    return penalty(
        lib,
        shape,
        partial(lib.l2_penalty, strength=strength, formula=formula),
        lambda w: factor * (w * w).sum(),
        keras.regularizers.L2(factor),
    )
