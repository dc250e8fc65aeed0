"""Linear layers, activations, containers, losses and penalties."""

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
SIZES = st.integers(1, 4)
SHAPES = st.lists(SIZES, min_size=1, max_size=3)


def normal(rng: Rng, shape: list[int]) -> Any:
    """Return an array of normal numbers."""
    return rng.standard_normal(shape)


def dense_weights(state: dict[str, Any], prefix: str = "") -> list[Any]:
    """Return a linear layer's weights as Keras has them."""
    weights = named(state, f"{prefix}weight", f"{prefix}bias")
    return [tf.transpose(weights[0]), *weights[1:]]


@entry(
    "Linear",
    lead=SHAPES,
    inputs=SIZES,
    outputs=SIZES,
    bias=st.booleans(),
    always=[{"lead": [5], "inputs": 3, "outputs": 3, "bias": True}],
)
def linear(lib: Any, o: Options, rng: Rng) -> Case:
    n, m, bias = o["inputs"], o["outputs"], o["bias"]
    return make_case(
        "Linear",
        lambda dtype: lib.Linear(n, m, bias, dtype=dtype),
        rng,
        {"x": rng.standard_normal((*o["lead"], n))},
        in_torch(nn.Linear(n, m, bias, dtype=torch.float64)),
        in_keras(keras.layers.Dense(m, use_bias=bias), dense_weights),
    )


@entry(
    "Embedding",
    shape=st.lists(SIZES, min_size=0, max_size=3),
    rows=st.integers(1, 6),
    columns=SIZES,
    padding=st.booleans(),
    always=[{"shape": [4, 3], "rows": 3, "columns": 2, "padding": padding} for padding in (False, True)],
)
def embedding(lib: Any, o: Options, rng: Rng) -> Case:
    rows, columns = o["rows"], o["columns"]
    index = rows - 1 if o["padding"] else None
    x = rng.integers(0, rows, o["shape"])
    module = nn.Embedding(rows, columns, index, dtype=torch.float64)
    layer = keras.layers.Embedding(rows, columns)

    def in_tf(_: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        return {"y": stateless(layer, [state["weight"]], tf.constant(x))}

    def torch_side(_: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        return {"y": torch.func.functional_call(module, state, torch.tensor(x))}

    def in_torch_form(dtype: Any) -> Any:
        return lib.Embedding(rows, columns, index, dtype=dtype)

    no_padding = "Keras's Embedding has no padding_idx: every row has a gradient"
    # torch and hand leave the row's gradient out on purpose; the slope of the loss is not 0 there.
    kind = "padding_idx leaves a gradient out on purpose" if o["padding"] else "complex"
    return make_case(
        "Embedding",
        in_torch_form,
        rng,
        {},
        torch_side,
        no_padding if o["padding"] else in_tf,
        {"x": np.asarray(x)},
        kind,
    )


@entry("Flatten", 10, shape=st.lists(SIZES, min_size=2, max_size=4))
def flatten(lib: Any, o: Options, rng: Rng) -> Case:
    return make_case(
        "Flatten",
        lambda dtype: lib.Flatten(),
        rng,
        {"x": normal(rng, o["shape"])},
        in_torch(nn.Flatten()),
        in_keras(keras.layers.Flatten()),
    )


@entry(
    "Dropout",
    shape=SHAPES,
    p=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    mask_of=st.sampled_from(["torch", "keras", "evaluation"]),
    seed=st.integers(0, 99),
    always=[{"shape": [4, 5], "p": 0.4, "mask_of": framework, "seed": 1} for framework in ("torch", "keras")],
)
def dropout(lib: Any, o: Options, rng: Rng) -> Case:
    """A framework draws its mask itself: the same seed twice, once to see it, once to compare."""
    shape, p, drawn = o["shape"], o["p"], o["mask_of"]
    training = drawn != "evaluation"

    def torch_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        torch.manual_seed(o["seed"])
        return {"y": nn.Dropout(p).train(training)(inputs["x"])}

    def keras_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        return {"y": keras.layers.Dropout(p, seed=o["seed"])(inputs["x"], training=training)}

    with torch.random.fork_rng():
        seen = (
            torch_side({"x": torch.ones(*shape, dtype=torch.float64)}, {})["y"].numpy()
            if drawn == "torch"
            else np.asarray(keras_side({"x": tf.ones(shape, tf.float64)}, {})["y"])
        )
    case = make_case(
        "Dropout",
        lambda dtype: lib.Dropout(p).train(training),
        rng,
        {"x": normal(rng, shape)},
        torch_side if drawn != "keras" else "",
        keras_side if drawn != "torch" else "",
        {"mask": seen != 0},
    )
    return replace(case, note="a framework draws its mask itself: seen first, with the same seed")


def activation(
    lib: Any,
    o: Options,
    rng: Rng,
    name: str,
    module: nn.Module,
    layer: Any,
    finite: str = "complex",
    **arguments: Any,
) -> Case:
    return make_case(
        name,
        lambda dtype: getattr(lib, name)(**arguments),
        rng,
        {"x": 2 * normal(rng, o["shape"])},
        in_torch(module),
        in_keras(layer),
        finite=finite,
    )


@entry("ReLU", 12, shape=SHAPES, always=[{"shape": [3, 4], "kinks": True}])
def relu(lib: Any, o: Options, rng: Rng) -> Case:
    x = rng.standard_normal(o["shape"])
    x = np.sign(x) * (np.abs(x) + 0.1)
    if o.get("kinks"):
        x[::2] = 0
    finite = "no derivative at 0" if o.get("kinks") else "central"
    return make_case(
        "ReLU",
        lambda dtype: lib.ReLU(),
        rng,
        {"x": x},
        in_torch(nn.ReLU()),
        in_keras(keras.layers.ReLU()),
        finite=finite,
    )


@entry("Sigmoid", 10, shape=SHAPES)
def sigmoid(lib: Any, o: Options, rng: Rng) -> Case:
    return activation(lib, o, rng, "Sigmoid", nn.Sigmoid(), keras.layers.Activation("sigmoid"))


@entry("Tanh", 10, shape=SHAPES)
def tanh(lib: Any, o: Options, rng: Rng) -> Case:
    return activation(lib, o, rng, "Tanh", nn.Tanh(), keras.layers.Activation("tanh"))


@entry(
    "GELU",
    14,
    shape=SHAPES,
    approximate=st.sampled_from(["none", "tanh"]),
    always=[{"shape": [7, 5], "approximate": kind} for kind in ("none", "tanh")],
)
def gelu(lib: Any, o: Options, rng: Rng) -> Case:
    kind = o["approximate"]
    layer = keras.layers.Activation(lambda x: keras.activations.gelu(x, kind == "tanh"))
    finite = "complex" if kind == "tanh" else "central"  # Cody's erf is made of pieces
    case = activation(lib, o, rng, "GELU", nn.GELU(kind), layer, finite, approximate=kind)
    note = "TensorFlow's gelu rounds its constants to float32: 1e-07 is allowed"
    return replace(case, keras_allowed=1e-7, note=note)


@entry(
    "Softmax",
    12,
    shape=st.lists(st.integers(2, 4), min_size=2, max_size=3),
    dim=st.sampled_from([-1, -2, 0, 1]),
)
def softmax(lib: Any, o: Options, rng: Rng) -> Case:
    dim = o["dim"]
    return activation(lib, o, rng, "Softmax", nn.Softmax(dim), keras.layers.Softmax(dim), dim=dim)


# Containers


@entry("Sequential", 12, rows=st.integers(4, 6), inputs=SIZES, hidden=st.integers(2, 4))
def sequential(lib: Any, o: Options, rng: Rng) -> Case:
    n, m = o["inputs"], o["hidden"]

    def make(dtype: Any) -> Any:
        return lib.Sequential(
            lib.Linear(n, m, dtype=dtype),
            lib.Tanh(),
            lib.BatchNorm1d(m, dtype=dtype),
            lib.Linear(m, 2, dtype=dtype),
            lib.Softmax(),
        )

    module = nn.Sequential(
        nn.Linear(n, m), nn.Tanh(), nn.BatchNorm1d(m), nn.Linear(m, 2), nn.Softmax(-1)
    ).double()

    def keras_side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        model = keras.Sequential(
            [
                keras.Input((n,)),
                keras.layers.Dense(m),
                keras.layers.Activation("tanh"),
                keras.layers.BatchNormalization(epsilon=1e-5),
                keras.layers.Dense(2),
                keras.layers.Softmax(),
            ]
        )
        weights = [
            *dense_weights(state, "0."),
            *named(state, "2.weight", "2.bias"),
            *dense_weights(state, "3."),
        ]
        return {"y": stateless(model, weights, inputs["x"], training=True)}

    x = rng.standard_normal((o["rows"], n))
    return make_case("Sequential", make, rng, {"x": x}, in_torch(module), keras_side)


class TorchResidual(nn.Module):
    """y = body(x) + shortcut(x)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.body = body
        if shortcut is not None:
            self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + (self.shortcut(x) if hasattr(self, "shortcut") else x)


@entry(
    "Residual",
    12,
    lead=SHAPES,
    inputs=SIZES,
    outputs=SIZES,
    shortcut=st.booleans(),
    always=[{"lead": [3], "inputs": 2, "outputs": 2, "shortcut": shortcut} for shortcut in (False, True)],
)
def residual(lib: Any, o: Options, rng: Rng) -> Case:
    n = o["inputs"]
    m = o["outputs"] if o["shortcut"] else n

    def make(dtype: Any) -> Any:
        body = lib.Sequential(lib.Linear(n, m, dtype=dtype), lib.Tanh())
        return lib.Residual(body, lib.Linear(n, m, dtype=dtype) if o["shortcut"] else None)

    module = TorchResidual(
        nn.Sequential(nn.Linear(n, m), nn.Tanh()), nn.Linear(n, m) if o["shortcut"] else None
    ).double()

    def keras_side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        x = keras.Input((*o["lead"][1:], n))
        passed = keras.layers.Dense(m)(x) if o["shortcut"] else x
        tanh = keras.activations.tanh
        body = keras.layers.Dense(m, tanh)(x)
        model = keras.Model(x, keras.layers.add([body, passed]))
        weights = {"body": dense_weights(state, "body.0.")}
        if o["shortcut"]:
            weights["shortcut"] = dense_weights(state, "shortcut.")
        layers = [layer for layer in model.layers if layer.weights]
        order = [
            weight
            for layer in layers
            for weight in weights["body" if layer.activation is tanh else "shortcut"]
        ]
        return {"y": stateless(model, order, inputs["x"])}

    values = rng.standard_normal((*o["lead"], n))
    return make_case("Residual", make, rng, {"x": values}, in_torch(module), keras_side)


# Losses

REDUCTIONS = st.sampled_from(["mean", "sum"])
KERAS_REDUCTION = {"mean": "sum_over_batch_size", "sum": "sum"}


def elementwise_loss(lib: Any, o: Options, rng: Rng, name: str, target: Any, loss: Any) -> Case:
    reduction = o["reduction"]
    module = getattr(nn, name)(reduction=reduction)

    def torch_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        return {"y": module(inputs["input"], torch.tensor(target))}

    def keras_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        # Keras takes the mean over the last axis, whatever the reduction: let it have length 1.
        truth, predicted = tf.reshape(target, (-1, 1)), tf.reshape(inputs["input"], (-1, 1))
        return {"y": loss(truth, predicted)}

    return make_case(
        name,
        lambda dtype: getattr(lib, name)(reduction=reduction),
        rng,
        {"input": 2 * normal(rng, o["shape"])},
        torch_side,
        keras_side,
        {"target": target},
    )


@entry("MSELoss", 12, shape=SHAPES, reduction=REDUCTIONS)
def mse_loss(lib: Any, o: Options, rng: Rng) -> Case:
    loss = keras.losses.MeanSquaredError(reduction=KERAS_REDUCTION[o["reduction"]])
    return elementwise_loss(lib, o, rng, "MSELoss", rng.standard_normal(o["shape"]), loss)


@entry("BCEWithLogitsLoss", 12, shape=SHAPES, reduction=REDUCTIONS)
def bce_loss(lib: Any, o: Options, rng: Rng) -> Case:
    loss = keras.losses.BinaryCrossentropy(from_logits=True, reduction=KERAS_REDUCTION[o["reduction"]])
    target = rng.uniform(0, 1, o["shape"])
    return elementwise_loss(lib, o, rng, "BCEWithLogitsLoss", target, loss)


@entry(
    "CrossEntropyLoss",
    20,
    count=st.integers(1, 4),
    classes=st.integers(2, 5),
    extra=st.lists(st.integers(1, 3), max_size=2),
    ignored=st.booleans(),
    ignore_index=st.sampled_from([-100, 1]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    reduction=REDUCTIONS,
    always=[
        {
            "count": 3,
            "classes": 4,
            "extra": [2],
            "ignored": True,
            "ignore_index": i,
            "smoothing": 0.1,
            "reduction": "mean",
        }
        for i in (-100, 1)
    ],
)
def cross_entropy_loss(lib: Any, o: Options, rng: Rng) -> Case:
    classes, smoothing, ignored = o["classes"], o["smoothing"], o["ignore_index"]
    target = rng.integers(0, classes, (o["count"], *o["extra"]))
    if o["ignored"]:
        target.flat[::2] = ignored
    target.flat[-1] = 0  # one that counts
    counted = target != ignored
    module = nn.CrossEntropyLoss(None, None, ignored, None, o["reduction"], smoothing)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction="sum")

    def torch_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        return {"y": module(inputs["input"], torch.tensor(target))}

    def keras_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        logits = keras.ops.moveaxis(inputs["input"], 1, -1)
        labels = keras.ops.one_hot(np.where(counted, target, 0), classes, dtype="float64")
        total = loss(labels, logits, sample_weight=counted.astype(np.float64))
        return {"y": total / float(counted.sum()) if o["reduction"] == "mean" else total}

    case = make_case(
        "CrossEntropyLoss",
        lambda dtype: lib.CrossEntropyLoss(
            ignore_index=ignored, reduction=o["reduction"], label_smoothing=smoothing
        ),
        rng,
        {"input": 2 * rng.standard_normal((o["count"], classes, *o["extra"]))},
        torch_side,
        keras_side,
        {"target": target},
    )
    note = "Keras has smoothing for one-hot labels only, and sample_weight in place of ignore_index"
    return replace(case, note=note)


# Penalties: functions, here as layers without an input whose parameters are what is penalised.


def penalty(
    lib: Any, rng: Rng, shape: list[int], name: str, function: Any, torch_side: Any, keras_side: Any
) -> Case:
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

    case = make_case(
        name,
        Penalty,
        rng,
        {},
        lambda _, state: {"y": sum(torch_side(w) for w in state.values())},
        lambda _, state: {"y": tf.add_n([keras_side(w) for w in state.values()])},
        finite="central",
    )
    note = "Keras's regularizers round their strength to float32: 1e-07 is allowed"
    return replace(case, keras_allowed=1e-7, note=note)


STRENGTHS = st.sampled_from([0.125, 2.0, 0.1])  # the last one is not exact in float32


@entry("l1_penalty", 10, shape=SHAPES, strength=STRENGTHS)
def l1_penalty(lib: Any, o: Options, rng: Rng) -> Case:
    a = o["strength"]
    return penalty(
        lib,
        rng,
        o["shape"],
        "l1_penalty",
        lambda p: lib.l1_penalty(p, a),
        lambda w: a * w.abs().sum(),
        keras.regularizers.L1(a),
    )


@entry("l2_penalty", 10, shape=SHAPES, strength=STRENGTHS, formula=st.sampled_from(["torch", "keras"]))
def l2_penalty(lib: Any, o: Options, rng: Rng) -> Case:
    """Keras's regularizer of strength a is torch's weight_decay of 2 a."""
    a = o["strength"]
    factor = a / 2 if o["formula"] == "torch" else a
    return penalty(
        lib,
        rng,
        o["shape"],
        "l2_penalty",
        lambda p: lib.l2_penalty(p, a, o["formula"]),
        lambda w: factor * (w * w).sum(),
        keras.regularizers.L2(factor),
    )
