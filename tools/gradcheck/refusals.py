"""What a layer must refuse: with a ValueError that names the layer, what it expects and what it got."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tools.gradcheck.comparison import Case, copies, forward

# What is wrong, the call, and what the message must contain besides the name.
Refusal = tuple[str, Callable[[], object], *tuple[str, ...]]

CONTAINERS = ("Bidirectional", "MultiheadAttention", "Residual", "Sequential")  # a layer inside may refuse
FORWARD_FIRST = "backward was called before forward"


def problems(layer: str, library: Any, refusals: Iterable[Refusal]) -> Iterator[str]:
    """Yield a message for each refusal that does not happen as it must."""
    for what, call, *fragments in refusals:
        try:
            call()
        except ValueError as error:
            message = str(error)
            name = re.match(r"\w*", message)
            refused_by = name[0] if name and layer in CONTAINERS and hasattr(library, name[0]) else layer
            missing = [one for one in (refused_by, *fragments) if one not in message]
            if missing:
                yield f"{layer}: {what}: {missing} not in the message: {message}"
        except Exception as error:
            yield f"{layer}: {what}: {type(error).__name__} instead of a ValueError: {error}"
        else:
            yield f"{layer}: {what} was accepted"


def common_refusals(case: Case) -> Iterator[Refusal]:
    """Yield what every layer with an input must refuse, given one of its cases."""
    first, x = next(iter(case.inputs.items()))
    dy = case.upstream["y"]
    nan = x.copy()
    nan.flat[-1] = np.nan

    def forward_of(value: Any) -> Callable[[], object]:
        return lambda: forward(case.build(), case.inputs | {first: value}, case.keywords)

    def backward_of(gradient: Any) -> Callable[[], object]:
        def call() -> object:
            layer: Any = case.build()
            forward(layer, copies(case.inputs), case.keywords)
            return layer.backward(gradient)

        return call

    yield "no array", forward_of(x.tolist()), "must be an array", "list"
    yield "integers as input", forward_of(x.astype(int)), "float64", "int64"
    yield "NaN in the input", forward_of(nan), "NaN", str(x.shape)
    if case.state:
        yield "float32 for float64 weights", forward_of(x.astype(np.float32)), "float64", "float32"
    yield "backward before forward", lambda: case.build().backward(dy), FORWARD_FIRST
    yield "dy of a wrong shape", backward_of(np.ones((*dy.shape, 7))), str((*dy.shape, 7))
    yield "NaN in dy", backward_of(dy * np.nan), "NaN"
    if dy.ndim:  # losses convert their dy
        yield "dy of a wrong dtype", backward_of(dy.astype(np.float32)), "float64", "float32"


def special_refusals(lib: Any) -> dict[str, list[Refusal]]:
    """Return what each layer must refuse in addition; everything is float32 unless it must not be."""

    def ones(*shape: int, dtype: Any = np.float32) -> Any:
        return np.ones(shape, dtype)

    x, no_key = ones(2, 3), np.array([[True, False, True], [False, False, False]])

    def wrong_shape(make: Callable[[], Any], expected: str, *shape: int) -> Refusal:
        return "an input of a wrong shape", lambda: make().forward(ones(*shape)), expected, str(shape)

    def conv(**options: Any) -> Any:
        return lib.Conv2d(2, 3, 3, **options)

    def cross_entropy(target: Any, x: Any = x, **options: Any) -> Any:
        return lib.CrossEntropyLoss(**options).forward(x, np.asarray(target))

    def embed(x: Any) -> Any:
        return lib.Embedding(4, 2).forward(np.asarray(x))

    def residual(outputs: int) -> Any:
        return lib.Residual(lib.Linear(3, outputs))

    def attend(mask: Any = None, k: tuple[int, ...] = (3, 4)) -> Any:
        return lib.ScaledDotProductAttention().forward(ones(2, 4), ones(*k), ones(3, 5), mask)

    def attend_heads(mask: Any = None, q: tuple[int, ...] = (2, 1, 4), k: tuple[int, ...] = (3, 1, 4)) -> Any:
        return lib.MultiheadAttention(4, 2).forward(ones(*q), ones(*k), ones(*k), mask)

    def recurrent(name: str) -> list[Refusal]:
        directions = 2 if name == "Bidirectional" else 1

        def make() -> Any:
            return lib.Bidirectional(lib.GRU, 3, 2) if name == "Bidirectional" else getattr(lib, name)(3, 2)

        def call(**options: Any) -> Any:
            return make().forward(ones(4, 2, 3), **options)

        def lengths(*values: Any) -> Callable[[], object]:
            return lambda: call(lengths=np.array(values))

        def backward(dhx: Any) -> Any:
            layer = make()
            layer.forward(ones(4, 2, 3))
            return layer.backward(ones(4, 2, 2 * directions), dhx)

        state = (ones(1, 5, 2),) * 2 if name == "LSTM" else ones(directions, 5, 2)
        return [
            wrong_shape(make, "(T, N, 3)", 4, 2, 5),
            ("a length of 0", lengths(0, 2), "2 lengths from 1 to 4", "[0, 2]"),
            ("a length of 5 in 4 steps", lengths(1, 5), "2 lengths from 1 to 4", "[1, 5]"),
            ("three lengths for two examples", lengths(1, 2, 3), "2 lengths", "[1, 2, 3]"),
            ("float lengths", lengths(1.0, 2.0), "2 lengths", "[1.0, 2.0]"),
            ("a state of a wrong shape", lambda: call(hx=state), "(1, 2, 2)", "(1, 5, 2)"),
            ("a gradient of a state of a wrong shape", lambda: backward(state), "(1, 2, 2)", "(1, 5, 2)"),
        ]

    def loss(name: str) -> list[Refusal]:
        def call(target: Any) -> Callable[[], object]:
            return lambda: getattr(lib, name)().forward(x, target)

        return [
            ("a target of a wrong shape", call(ones(2, 4)), "(2, 3)", "(2, 4)"),
            ("a target of a wrong dtype", call(ones(2, 3, dtype=np.float64)), "float32", "float64"),
            ("NaN in the target", call(x * np.float32(np.nan)), "NaN", "(2, 3)"),
            ("an unknown reduction", lambda: getattr(lib, name)(reduction="none"), "mean", "none"),
        ]

    def pool(name: str) -> list[Refusal]:
        kind = getattr(lib, name)
        return [
            wrong_shape(lambda: kind(2), "(N, C, H, W)", 2, 4, 4),
            ("too much padding", lambda: kind(3, padding=2), "half", "(2, 2)"),
        ]

    def load(layer: Any, *shape: int) -> Callable[[], object]:
        return lambda: layer.load_state_dict({"weight": ones(*shape)})

    return {
        "Linear": [
            wrong_shape(lambda: lib.Linear(3, 4), "(..., 3)", 2, 5),
            ("a state without its bias", load(lib.Linear(3, 4), 4, 3), "bias", "['weight']"),
            ("a weight of a wrong shape", load(lib.Linear(3, 4, False), 3, 4), "(4, 3)", "(3, 4)"),
        ],
        "Embedding": [
            ("floats as indices", lambda: embed([1.0]), "integers", "float64"),
            ("an index beyond the table", lambda: embed([1, 4]), "0 to 3", "1 to 4"),
            ("a negative index", lambda: embed([-1, 2]), "0 to 3", "-1 to 2"),
            ("no array", lambda: lib.Embedding(4, 2).forward([1]), "array", "list"),
            ("backward before forward", lambda: lib.Embedding(4, 2).backward(ones(1, 2)), FORWARD_FIRST),
        ],
        "Dropout": [
            ("p = 1", lambda: lib.Dropout(1.0), "below 1", "1.0"),
            ("a mask of a wrong shape", lambda: lib.Dropout().forward(x, x.T > 0), "(2, 3)", "(3, 2)"),
            ("a float mask", lambda: lib.Dropout().forward(x, x), "bool", "float32"),
        ],
        "GELU": [("an unknown approximation", lambda: lib.GELU("erf"), "none or tanh", "erf")],
        "Softmax": [("an axis that does not exist", lambda: lib.Softmax(2).forward(x), "axis 2", "(2, 3)")],
        "Sequential": [wrong_shape(lambda: lib.Sequential(lib.Linear(3, 2)), "(..., 3)", 2, 5)],
        "Residual": [
            wrong_shape(lambda: residual(3), "(..., 3)", 2, 5),
            ("a body of a wrong shape", lambda: residual(2).forward(x), "Residual", "(2, 3)", "(2, 2)"),
        ],
        "MSELoss": loss("MSELoss"),
        "BCEWithLogitsLoss": loss("BCEWithLogitsLoss"),
        "CrossEntropyLoss": [
            ("a label out of range", lambda: cross_entropy([0, 3]), "0 to 2", "3"),
            ("a negative label", lambda: cross_entropy([0, -1]), "0 to 2", "-1"),
            ("only ignored labels", lambda: cross_entropy([1, 1], ignore_index=1), "ignore_index=1"),
            ("labels of a wrong shape", lambda: cross_entropy([0, 1, 2]), "(2,)", "(3,)"),
            ("float labels", lambda: cross_entropy([0.0, 1.0]), "integers", "float64"),
            ("an input of one axis", lambda: cross_entropy(0, ones(3)), "(N, C)", "(3,)"),
            ("smoothing above 1", lambda: lib.CrossEntropyLoss(label_smoothing=1.5), "0 to 1", "1.5"),
        ],
        "l2_penalty": [("an unknown formula", lambda: lib.l2_penalty({}, 1.0, "jax"), "keras", "jax")],
        "Conv2d": [
            wrong_shape(conv, "(N, 2, H, W)", 2, 4, 4),
            wrong_shape(conv, "3 x 3", 1, 2, 2, 4),  # smaller than the window
            ("a stride of 0", lambda: conv(stride=0), "at least 1", "0"),
            ("groups that do not fit", lambda: conv(groups=2), "2 groups"),
        ],
        "MaxPool2d": pool("MaxPool2d"),
        "AvgPool2d": pool("AvgPool2d"),
        "AdaptiveAvgPool2d": [
            wrong_shape(lib.AdaptiveAvgPool2d, "(N, C, H, W)", 2, 4, 4),
            ("another output_size", lambda: lib.AdaptiveAvgPool2d(2), "output_size must be 1", "2"),
        ],
        "BatchNorm1d": [
            wrong_shape(lambda: lib.BatchNorm1d(3), "(N, 3)", 4, 2),
            wrong_shape(lambda: lib.BatchNorm1d(3), "two values", 1, 3),  # one per channel
        ],
        "BatchNorm2d": [wrong_shape(lambda: lib.BatchNorm2d(3), "(N, 3, H, W)", 2, 3, 4)],
        "LayerNorm": [wrong_shape(lambda: lib.LayerNorm((2, 3)), "(..., 2, 3)", 4, 3, 2)],
        "RNN": recurrent("RNN"),
        "LSTM": [
            *recurrent("LSTM"),
            ("one state of two", lambda: lib.LSTM(3, 2).forward(ones(4, 2, 3), (ones(1, 2, 2),)), "2 arrays"),
        ],
        "GRU": recurrent("GRU"),
        "Bidirectional": recurrent("Bidirectional"),
        "ScaledDotProductAttention": [
            (
                "a row of the mask that is all False",
                lambda: attend(no_key),
                "leaves a query no key",
                "(2, 3)",
            ),
            ("a mask that does not fit", lambda: attend(ones(2, 2, dtype=bool)), "(2, 3)", "(2, 2)"),
            ("a float mask", lambda: attend(x), "bool", "float32"),
            ("keys of a wrong width", lambda: attend(k=(3, 6)), "4", "(3, 6)"),
        ],
        "MultiheadAttention": [
            ("a row of the mask that is all False", lambda: attend_heads(no_key), "leaves a query no key"),
            ("a query of a wrong width", lambda: attend_heads(q=(2, 1, 5)), "(L, N, 4)", "(2, 1, 5)"),
            ("keys of a wrong batch size", lambda: attend_heads(k=(3, 2, 4)), "(S, 1, 4)", "(3, 2, 4)"),
            ("heads that do not fit", lambda: lib.MultiheadAttention(4, 3), "number of heads, 3"),
        ],
    }
