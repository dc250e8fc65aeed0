"""Linear layers, activations, containers, losses and penalties."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from shared.parity.weights import layer_state
from tools.gradcheck.comparison import Case, Side
from tools.gradcheck.entries import Rng, entry, in_keras, in_torch, layer_case, stateless

SIZES = st.integers(1, 4)
Size = Annotated[int, SIZES]
Shape = Annotated[list[int], st.lists(SIZES, min_size=1, max_size=3)]


@entry("Linear", always=[{"lead": [5], "inputs": 3, "outputs": 3, "bias": True}])
def linear(lib: Any, rng: Rng, lead: Shape, inputs: Size, outputs: Size, bias: bool) -> Case:
    layer = keras.layers.Dense(outputs, use_bias=bias)
    x = rng.standard_normal((*lead, inputs))
    return layer_case(lib.Linear, (inputs, outputs, bias), x, in_keras(layer))


@entry(
    "Embedding",
    always=[{"shape": [4, 3], "rows": 3, "columns": 2, "padded": padded} for padded in (False, True)],
)
def embedding(
    lib: Any,
    rng: Rng,
    shape: Annotated[list[int], st.lists(SIZES, max_size=3)],
    rows: Annotated[int, st.integers(1, 6)],
    columns: Size,
    padded: bool,
) -> Case:
    padding_idx = rows - 1 if padded else None
    x = np.asarray(rng.integers(0, rows, shape))
    module = nn.Embedding(rows, columns, padding_idx, dtype=torch.float64)
    layer = keras.layers.Embedding(rows, columns)
    return Case(
        lambda dtype: lib.Embedding(rows, columns, padding_idx, dtype=dtype),
        {},
        in_torch(module, input=torch.tensor(x)),
        "Keras's Embedding has no padding_idx: every row has a gradient"
        if padded
        else lambda _, state: {"y": stateless(layer, state, tf.constant(x))},
        {"x": x},
        # The slope of the loss is not 0 there.
        "padding_idx omits a gradient on purpose" if padded else "complex",
    )


@entry("Flatten", 10)
def flatten(lib: Any, rng: Rng, shape: Annotated[list[int], st.lists(SIZES, min_size=2, max_size=4)]) -> Case:
    return layer_case(lib.Flatten, (), rng.standard_normal(shape), in_keras(keras.layers.Flatten()))


@entry(
    "Dropout", always=[{"shape": [4, 5], "p": 0.4, "mask_of": name, "seed": 1} for name in ("torch", "keras")]
)
def dropout(
    lib: Any,
    rng: Rng,
    shape: Shape,
    p: Annotated[float, st.sampled_from([0.0, 0.1, 0.5, 0.9])],
    mask_of: Annotated[str, st.sampled_from(["torch", "keras", "evaluation"])],
    seed: Annotated[int, st.integers(0, 99)],
) -> Case:
    training = mask_of != "evaluation"

    def torch_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        torch.manual_seed(seed)
        return {"y": F.dropout(inputs["x"], p, training)}

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


@entry("ReLU", 12, always=[{"shape": [3, 4], "zeros": True}])
def relu(lib: Any, rng: Rng, shape: Shape, zeros: bool = False) -> Case:
    x = rng.standard_normal(shape)
    x = np.sign(x) * (np.abs(x) + 0.1)
    if zeros:
        x[::2] = 0
    finite = "no derivative at 0" if zeros else "central"
    return layer_case(lib.ReLU, (), x, in_keras(keras.layers.ReLU()), finite=finite)


@entry("ReLU6", 12, always=[{"shape": [4, 4], "kinks": True}])
def relu6(lib: Any, rng: Rng, shape: Shape, kinks: bool = False) -> Case:
    x = 3 + 4 * rng.standard_normal(shape)
    x += 0.1 * np.sign(x) + 0.1 * np.sign(x - 6)
    if kinks:
        x[::2], x[1] = 0, 6
    finite = "no derivative at 0 and 6" if kinks else "central"
    return layer_case(lib.ReLU6, (), x, in_keras(keras.layers.ReLU(6)), finite=finite)


def bounded(name: str, lib: Any, rng: Rng, shape: Shape) -> Case:
    layer = keras.layers.Activation(name.lower())
    return layer_case(getattr(lib, name), (), 2 * rng.standard_normal(shape), in_keras(layer))


for _name in ("Sigmoid", "Tanh"):
    entry(_name, 10)(partial(bounded, _name))


@entry("GELU", 14, always=[{"shape": [7, 5], "approximate": kind} for kind in ("none", "tanh")])
def gelu(
    lib: Any,
    rng: Rng,
    shape: Annotated[list[int], st.lists(st.integers(3, 5), min_size=2, max_size=3)],
    approximate: Annotated[str, st.sampled_from(["none", "tanh"])],
) -> Case:
    """Each shape has several numbers, because a single slope may be next to 0."""
    return layer_case(
        lib.GELU,
        (approximate,),
        2 * rng.standard_normal(shape),
        in_keras(keras.layers.Activation(lambda x: keras.activations.gelu(x, approximate == "tanh"))),
        finite="complex" if approximate == "tanh" else "central",  # Cody's erf is piecewise
        keras_allowed=1e-7,
        note="TensorFlow's gelu rounds its constants to float32, so 1e-07 is allowed",
    )


@entry("Softmax", 12)
def softmax(
    lib: Any,
    rng: Rng,
    shape: Annotated[list[int], st.lists(st.integers(2, 4), min_size=2, max_size=3)],
    dim: Annotated[int, st.sampled_from([-1, -2, 0, 1])],
) -> Case:
    x = 2 * rng.standard_normal(shape)
    return layer_case(lib.Softmax, (dim,), x, in_keras(keras.layers.Softmax(dim)))


# Containers


@entry("Sequential", 12)
def sequential(
    lib: Any,
    rng: Rng,
    rows: Annotated[int, st.integers(4, 6)],
    inputs: Size,
    hidden: Annotated[int, st.integers(2, 4)],
) -> Case:
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
        first, last = keras.layers.Dense(hidden, "tanh"), keras.layers.Dense(2, "softmax")
        norm = keras.layers.BatchNormalization(epsilon=1e-5)
        y = stateless(first, layer_state(state, "0"), given["x"])
        scale = {key: state[f"2.{key}"] for key in ("weight", "bias")}
        y = stateless(norm, scale, y, training=True)
        return {"y": stateless(last, layer_state(state, "3"), y)}

    x = rng.standard_normal((rows, inputs))
    return Case(make, {"x": x}, in_torch(nn.Sequential(*layers, nn.Softmax(-1)).double()), keras_side)


@entry(
    "Residual",
    12,
    always=[{"lead": [3], "inputs": 2, "outputs": 2, "shortcut": shortcut} for shortcut in (False, True)],
)
def residual(lib: Any, rng: Rng, lead: Shape, inputs: Size, outputs: Size, shortcut: bool) -> Case:
    outputs = outputs if shortcut else inputs

    def make(dtype: Any) -> Any:
        body = lib.Sequential(lib.Linear(inputs, outputs, dtype=dtype), lib.Tanh())
        return lib.Residual(body, lib.Linear(inputs, outputs, dtype=dtype) if shortcut else None)

    def torch_side(given: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        y = F.linear(given["x"], state["body.0.weight"], state["body.0.bias"]).tanh()
        projection = layer_state(state, "shortcut").values()
        return {"y": y + (F.linear(given["x"], *projection) if shortcut else given["x"])}

    def keras_side(given: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        x, dense = given["x"], keras.layers.Dense
        y = stateless(dense(outputs, "tanh"), layer_state(state, "body.0"), x)
        passed = stateless(dense(outputs), layer_state(state, "shortcut"), x) if shortcut else x
        return {"y": keras.layers.add([y, passed])}

    return Case(make, {"x": rng.standard_normal((*lead, inputs))}, torch_side, keras_side)


# Losses

Reduction = Annotated[str, st.sampled_from(["mean", "sum"])]
MEAN_OF_ROWS = {"shape": [3, 4], "reduction": "mean"}
KERAS_REDUCTION = {"mean": "sum_over_batch_size", "sum": "sum"}


def elementwise_loss(
    lib: Any, rng: Rng, name: str, reduction: str, target: Any, keras_loss: Callable[[Any, Any], Any]
) -> Case:
    def keras_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        # Keras averages over the last axis, whatever the reduction, so give it length 1.
        return {"y": keras_loss(tf.reshape(target, (-1, 1)), tf.reshape(inputs["input"], (-1, 1)))}

    return Case(
        lambda dtype: getattr(lib, name)(reduction=reduction),
        {"input": 2 * rng.standard_normal(target.shape)},
        in_torch(getattr(nn, name)(reduction=reduction), target=torch.tensor(target)),
        keras_side,
        {"target": target},
    )


@entry("MSELoss", 12, [MEAN_OF_ROWS])
def mse_loss(lib: Any, rng: Rng, shape: Shape, reduction: Reduction) -> Case:
    loss = keras.losses.MeanSquaredError(reduction=KERAS_REDUCTION[reduction])
    return elementwise_loss(lib, rng, "MSELoss", reduction, rng.standard_normal(shape), loss)


@entry("BCEWithLogitsLoss", 12, [MEAN_OF_ROWS])
def bce_loss(lib: Any, rng: Rng, shape: Shape, reduction: Reduction) -> Case:
    loss = keras.losses.BinaryCrossentropy(from_logits=True, reduction=KERAS_REDUCTION[reduction])
    return elementwise_loss(lib, rng, "BCEWithLogitsLoss", reduction, rng.uniform(0, 1, shape), loss)


CROSS_ENTROPY = {"count": 3, "classes": 4, "extra": [2], "ignored": True, "smoothing": 0.1}


@entry(
    "CrossEntropyLoss",
    20,
    always=[CROSS_ENTROPY | {"reduction": "mean", "ignore_index": index} for index in (-100, 1)],
)
def cross_entropy_loss(
    lib: Any,
    rng: Rng,
    count: Size,
    classes: Annotated[int, st.integers(2, 5)],
    extra: Annotated[list[int], st.lists(st.integers(1, 3), max_size=2)],
    ignored: bool,
    ignore_index: Annotated[int, st.sampled_from([-100, 1])],
    smoothing: Annotated[float, st.sampled_from([0.0, 0.1, 1.0])],
    reduction: Reduction,
) -> Case:
    target = rng.integers(0, classes, (count, *extra))
    if ignored:
        target.flat[::2] = ignore_index
    target.flat[-1] = 0  # at least one label counts
    counts = target != ignore_index
    options: Any = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": smoothing}
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction="sum")

    def keras_side(inputs: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        logits = keras.ops.moveaxis(inputs["input"], 1, -1)
        labels = keras.ops.one_hot(np.where(counts, target, 0), classes, dtype="float64")
        total = loss(labels, logits, sample_weight=counts.astype(np.float64))
        return {"y": total / float(counts.sum()) if reduction == "mean" else total}

    return Case(
        lambda dtype: lib.CrossEntropyLoss(**options),
        {"input": 2 * rng.standard_normal((count, classes, *extra))},
        in_torch(nn.CrossEntropyLoss(**options), target=torch.tensor(target)),
        keras_side,
        {"target": target},
        note="Keras smooths one-hot labels only, and has sample_weight instead of ignore_index",
    )


# Penalties are functions; here they become layers without inputs, with the penalized weights as parameters.

Strength = Annotated[float, st.sampled_from([0.125, 2.0, 0.1])]  # float32 rounds the last one


def penalty(lib: Any, shape: Shape, function: Any, torch_penalty: Any, keras_penalty: Any) -> Case:
    class Penalty(lib.Module):
        def __init__(self, dtype: Any) -> None:
            super().__init__()
            self.params = {"v": np.zeros(shape, dtype), "w": np.zeros((3, 2), dtype)}

        def forward(self) -> Any:
            value, self.found = function(self.params)
            return np.asarray(value, self.params["w"].dtype)

        def backward(self, dy: Any) -> None:
            self.grads = {key: dy * g for key, g in self.found.items()}

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


@entry("l1_penalty", 10)
def l1_penalty(lib: Any, _: Rng, shape: Shape, strength: Strength) -> Case:
    function = partial(lib.l1_penalty, strength=strength)
    return penalty(lib, shape, function, lambda w: strength * w.abs().sum(), keras.regularizers.L1(strength))


@entry("l2_penalty", 10)
def l2_penalty(
    lib: Any,
    _: Rng,
    shape: Shape,
    strength: Strength,
    formula: Annotated[str, st.sampled_from(["torch", "keras"])],
) -> Case:
    factor = strength / 2 if formula == "torch" else strength  # Keras's regularizer has no 1/2
    function = partial(lib.l2_penalty, strength=strength, formula=formula)
    return penalty(lib, shape, function, lambda w: factor * (w * w).sum(), keras.regularizers.L2(factor))
