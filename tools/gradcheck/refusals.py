"""What a layer must refuse: with a ValueError that says its name, what it wants and what it got."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

NAN = np.full((2, 3), np.nan)
FORWARD_FIRST = "backward before forward; call forward first"


def ones(*shape: int, dtype: Any = np.float64) -> Any:
    return np.ones(shape, dtype)


@dataclass(frozen=True)
class Refusal:
    """A call with something wrong in it, and what the message must have besides the name."""

    what: str
    call: Callable[[Any], object]
    fragments: tuple[str, ...]
    name: str = ""  # of the layer inside that refuses, where it is another one

    def problems(self, layer: str, library: Any) -> list[str]:
        """Return why the refusal is not as it must be, in the form of the other messages."""
        try:
            self.call(library)
        except ValueError as error:
            message = str(error)
            missing = [one for one in (self.name or layer, *self.fragments) if one not in message]
            return [f"{layer}: {self.what}: {missing} not in the message: {message}"] * bool(missing)
        except Exception as error:
            return [f"{layer}: {self.what}: {type(error).__name__} in place of a ValueError: {error}"]
        return [f"{layer}: {self.what} was accepted"]


def layer_refusals(
    make: Callable[[Any], Any],
    fits: tuple[int, ...],
    wrong: tuple[int, ...],
    expected: str,
    output: tuple[int, ...],
    name: str = "",
) -> list[Refusal]:
    """Return what every layer with one input must refuse.

    `fits` is a shape that it takes, `output` that of its output, `wrong` one that it must refuse.
    """

    def after_forward(lib: Any, dy: Any) -> Any:
        layer = make(lib)
        layer.forward(ones(*fits))
        return layer.backward(dy)

    nan = ones(*fits)
    nan.flat[-1] = np.nan
    refusals = [
        Refusal("no array", lambda lib: make(lib).forward([1.0]), ("must be an array", "list")),
        Refusal(
            "integers as input", lambda lib: make(lib).forward(ones(*fits, dtype=int)), ("float64", "int64")
        ),
        Refusal("NaN in the input", lambda lib: make(lib).forward(nan), ("NaN", str(fits))),
        Refusal("backward before forward", lambda lib: make(lib).backward(ones(*output)), (FORWARD_FIRST,)),
        Refusal(
            "dy of another shape", lambda lib: after_forward(lib, ones(*output, 7)), (str((*output, 7)),)
        ),
        Refusal(
            "dy of another dtype",
            lambda lib: after_forward(lib, ones(*output, dtype=np.float32)),
            ("float64", "float32"),
        ),
        Refusal("NaN in dy", lambda lib: after_forward(lib, ones(*output) * np.nan), ("NaN",)),
    ]
    if wrong:
        refusals.append(
            Refusal(
                "an input of another shape",
                lambda lib: make(lib).forward(ones(*wrong)),
                (expected, str(wrong)),
            )
        )
    return [Refusal(one.what, one.call, one.fragments, name) for one in refusals]


def weighted(make: Callable[[Any], Any], fits: tuple[int, ...]) -> list[Refusal]:
    """Return the refusal of an input in another precision than the weights."""
    return [
        Refusal(
            "float32 for float64 weights",
            lambda lib: make(lib).forward(ones(*fits, dtype=np.float32)),
            ("float64", "float32"),
        )
    ]


def argument(what: str, call: Callable[[Any], object], *fragments: str) -> Refusal:
    return Refusal(what, call, fragments)


def recurrent_refusals(name: str) -> list[Refusal]:
    def make(lib: Any) -> Any:
        return getattr(lib, name)(3, 2, dtype=np.float64)

    def with_lengths(lengths: Any) -> Callable[[Any], object]:
        return lambda lib: make(lib).forward(ones(4, 2, 3), lengths=np.array(lengths))

    state = (ones(1, 5, 2),) * 2 if name == "LSTM" else ones(1, 5, 2)

    def last_state(lib: Any) -> Any:
        layer = make(lib)
        layer.forward(ones(4, 2, 3))
        return layer.backward(ones(4, 2, 2), state)

    return [
        *layer_refusals(make, (4, 2, 3), (4, 2, 5), "(T, N, 3)", (4, 2, 2)),
        *weighted(make, (4, 2, 3)),
        argument("a length of 0", with_lengths([0, 2]), "2 lengths from 1 to 4", "[0, 2]"),
        argument("a length of 5 in 4", with_lengths([1, 5]), "2 lengths from 1 to 4", "[1, 5]"),
        argument("three lengths for two", with_lengths([1, 2, 3]), "2 lengths", "[1, 2, 3]"),
        argument("lengths that are floats", with_lengths([1.0, 2.0]), "2 lengths", "[1.0, 2.0]"),
        argument(
            "a state of another shape",
            lambda lib: make(lib).forward(ones(4, 2, 3), state),
            "(1, 2, 2)",
            "(1, 5, 2)",
        ),
        argument("a gradient of the last state of another shape", last_state, "(1, 2, 2)", "(1, 5, 2)"),
    ]


def loss_refusals(name: str) -> list[Refusal]:
    def call(x: Any, target: Any) -> Callable[[Any], object]:
        return lambda lib: getattr(lib, name)().forward(x, target)

    return [
        argument("a target of another shape", call(ones(2, 3), ones(2, 4)), "(2, 3)", "(2, 4)"),
        argument(
            "a target of another dtype", call(ones(2, 3), ones(2, 3, dtype=np.float32)), "float64", "float32"
        ),
        argument("NaN in the input", call(NAN, ones(2, 3)), "NaN", "(2, 3)"),
        argument("NaN in the target", call(ones(2, 3), NAN), "NaN", "(2, 3)"),
        argument("backward before forward", lambda lib: getattr(lib, name)().backward(), FORWARD_FIRST),
        argument("an unknown reduction", lambda lib: getattr(lib, name)(reduction="none"), "mean", "none"),
    ]


def labels(target: Any, **arguments: Any) -> Callable[[Any], object]:
    return lambda lib: lib.CrossEntropyLoss(**arguments).forward(ones(2, 3), np.asarray(target))


def attend(mask: Any, query: tuple[int, ...] = (2, 4), key: tuple[int, ...] = (3, 4)) -> Any:
    value = (*key[:-1], 5)
    return lambda lib: lib.ScaledDotProductAttention().forward(ones(*query), ones(*key), ones(*value), mask)


def attend_heads(mask: Any = None, query: Any = (2, 1, 4), key: Any = (3, 1, 4)) -> Any:
    return lambda lib: lib.MultiheadAttention(4, 2, dtype=np.float64).forward(
        ones(*query), ones(*key), ones(*key), mask
    )


ROW = np.array([[True, False, True], [False, False, False]])


def attention_backward(lib: Any) -> object:
    return lib.ScaledDotProductAttention().backward(ones(2, 5))


def embed(x: Any) -> Callable[[Any], object]:
    return lambda lib: lib.Embedding(4, 2, dtype=np.float64).forward(np.asarray(x))


def images(make: Callable[[Any], Any], expected: str, output: tuple[int, ...]) -> list[Refusal]:
    return layer_refusals(make, (1, 2, 4, 4), (2, 4, 4), expected, output)


def anything(make: Callable[[Any], Any]) -> list[Refusal]:
    return layer_refusals(make, (2, 3), (), "", (2, 3))


def conv(lib: Any, **arguments: Any) -> Any:
    return lib.Conv2d(2, 3, 3, dtype=np.float64, **arguments)


def residual(lib: Any, outputs: int = 3) -> Any:
    return lib.Residual(lib.Linear(3, outputs, dtype=np.float64))


def net(lib: Any) -> Any:
    return lib.Sequential(lib.Linear(3, 2, dtype=np.float64))


REFUSALS: dict[str, list[Refusal]] = {
    "Linear": [
        *layer_refusals(lambda lib: lib.Linear(3, 4, dtype=np.float64), (2, 3), (2, 5), "(..., 3)", (2, 4)),
        *weighted(lambda lib: lib.Linear(3, 4, dtype=np.float64), (2, 3)),
        argument(
            "a state without its bias",
            lambda lib: lib.Linear(3, 4).load_state_dict({"weight": ones(4, 3)}),
            "bias",
            "['weight']",
        ),
        argument(
            "a weight of another shape",
            lambda lib: lib.Linear(3, 4, False).load_state_dict({"weight": ones(3, 4)}),
            "(4, 3)",
            "(3, 4)",
        ),
    ],
    "Embedding": [
        argument("floats as indices", embed([1.0]), "integers", "float64"),
        argument("an index beyond the table", embed([1, 4]), "0 to 3", "1 to 4"),
        argument("a negative index", embed([-1, 2]), "0 to 3", "-1 to 2"),
        argument("no array", lambda lib: lib.Embedding(4, 2).forward([1]), "array", "list"),
        argument(
            "backward before forward", lambda lib: lib.Embedding(4, 2).backward(ones(1, 2)), FORWARD_FIRST
        ),
    ],
    "Flatten": layer_refusals(lambda lib: lib.Flatten(), (2, 3, 2), (), "", (2, 6)),
    "Dropout": [
        *anything(lambda lib: lib.Dropout(0.5)),
        argument("p = 1", lambda lib: lib.Dropout(1.0), "below 1", "1.0"),
        argument(
            "a mask of another shape",
            lambda lib: lib.Dropout().forward(ones(2, 3), np.ones((3, 2), bool)),
            "(2, 3)",
            "(3, 2)",
        ),
        argument(
            "a mask of numbers", lambda lib: lib.Dropout().forward(ones(2, 3), ones(2, 3)), "bool", "float64"
        ),
    ],
    "ReLU": anything(lambda lib: lib.ReLU()),
    "Sigmoid": anything(lambda lib: lib.Sigmoid()),
    "Tanh": anything(lambda lib: lib.Tanh()),
    "GELU": [
        *anything(lambda lib: lib.GELU()),
        argument("an unknown approximation", lambda lib: lib.GELU("erf"), "none or tanh", "erf"),
    ],
    "Softmax": [
        *anything(lambda lib: lib.Softmax()),
        argument(
            "an axis that is not there", lambda lib: lib.Softmax(2).forward(ones(2, 3)), "axis 2", "(2, 3)"
        ),
    ],
    "Sequential": layer_refusals(net, (2, 3), (2, 5), "(..., 3)", (2, 2), "Linear"),
    "Residual": [
        *layer_refusals(residual, (2, 3), (2, 5), "(..., 3)", (2, 3), "Linear"),
        argument(
            "a body of another shape", lambda lib: residual(lib, 2).forward(ones(2, 3)), "(2, 3)", "(2, 2)"
        ),
    ],
    "MSELoss": loss_refusals("MSELoss"),
    "BCEWithLogitsLoss": loss_refusals("BCEWithLogitsLoss"),
    "CrossEntropyLoss": [
        argument("a label out of range", labels([0, 3]), "0 to 2", "3"),
        argument("a negative label", labels([0, -1]), "0 to 2", "-1"),
        argument("labels that are all ignored", labels([1, 1], ignore_index=1), "ignore_index=1"),
        argument("labels of another shape", labels([0, 1, 2]), "(2,)", "(3,)"),
        argument("labels that are floats", labels([0.0, 1.0]), "integers", "float64"),
        argument(
            "NaN in the input",
            lambda lib: lib.CrossEntropyLoss().forward(NAN, np.array([0, 1])),
            "NaN",
            "(2, 3)",
        ),
        argument(
            "an input of one axis",
            lambda lib: lib.CrossEntropyLoss().forward(ones(3), np.array(0)),
            "(N, C)",
            "(3,)",
        ),
        argument("smoothing above 1", lambda lib: lib.CrossEntropyLoss(label_smoothing=1.5), "0 to 1", "1.5"),
        argument("backward before forward", lambda lib: lib.CrossEntropyLoss().backward(), FORWARD_FIRST),
    ],
    "l1_penalty": [],
    "l2_penalty": [
        argument("an unknown formula", lambda lib: lib.l2_penalty({}, 1.0, "jax"), "keras", "jax")
    ],
    "Conv2d": [
        *images(conv, "(N, 2, H, W)", (1, 3, 2, 2)),
        *weighted(conv, (1, 2, 4, 4)),
        argument(
            "images smaller than the window",
            lambda lib: conv(lib).forward(ones(1, 2, 2, 4)),
            "3 x 3",
            "(1, 2, 2, 4)",
        ),
        argument("a stride of 0", lambda lib: conv(lib, stride=0), "from 1", "0"),
        argument("groups that do not fit", lambda lib: conv(lib, groups=2), "2 groups"),
    ],
    "MaxPool2d": [
        *images(lambda lib: lib.MaxPool2d(2), "(N, C, H, W)", (1, 2, 2, 2)),
        argument("too much padding", lambda lib: lib.MaxPool2d(3, padding=2), "half", "(2, 2)"),
    ],
    "AvgPool2d": [
        *images(lambda lib: lib.AvgPool2d(2), "(N, C, H, W)", (1, 2, 2, 2)),
        argument("too much padding", lambda lib: lib.AvgPool2d(3, padding=2), "half", "(2, 2)"),
    ],
    "AdaptiveAvgPool2d": [
        *images(lambda lib: lib.AdaptiveAvgPool2d(), "(N, C, H, W)", (1, 2, 1, 1)),
        argument("another output_size", lambda lib: lib.AdaptiveAvgPool2d(2), "output_size 1", "2"),
    ],
    "BatchNorm1d": [
        *layer_refusals(lambda lib: lib.BatchNorm1d(3, dtype=np.float64), (4, 3), (4, 2), "(N, 3)", (4, 3)),
        *weighted(lambda lib: lib.BatchNorm1d(3, dtype=np.float64), (4, 3)),
        argument(
            "one value a channel",
            lambda lib: lib.BatchNorm1d(3, dtype=np.float64).forward(ones(1, 3)),
            "two values",
            "(1, 3)",
        ),
    ],
    "BatchNorm2d": [
        *layer_refusals(
            lambda lib: lib.BatchNorm2d(3, dtype=np.float64),
            (2, 3, 2, 2),
            (2, 3, 4),
            "(N, 3, H, W)",
            (2, 3, 2, 2),
        ),
        *weighted(lambda lib: lib.BatchNorm2d(3, dtype=np.float64), (2, 3, 2, 2)),
    ],
    "LayerNorm": [
        *layer_refusals(
            lambda lib: lib.LayerNorm((2, 3), dtype=np.float64),
            (4, 2, 3),
            (4, 3, 2),
            "(..., 2, 3)",
            (4, 2, 3),
        ),
        *weighted(lambda lib: lib.LayerNorm((2, 3), dtype=np.float64), (4, 2, 3)),
    ],
    "RNN": recurrent_refusals("RNN"),
    "LSTM": [
        *recurrent_refusals("LSTM"),
        argument(
            "one state of two",
            lambda lib: lib.LSTM(3, 2, dtype=np.float64).forward(ones(4, 2, 3), (ones(1, 2, 2),)),
            "2 arrays",
        ),
    ],
    "GRU": recurrent_refusals("GRU"),
    "ScaledDotProductAttention": [
        argument("a row that is all masked", attend(ROW), "leaves every query a key", "(2, 3)"),
        argument("a mask that does not fit", attend(np.ones((2, 2), bool)), "(2, 3)", "(2, 2)"),
        argument("a mask of numbers", attend(ones(2, 3)), "bool", "float64"),
        argument("keys of another width", attend(None, key=(3, 6)), "4", "(3, 6)"),
        argument(
            "NaN in the query",
            lambda lib: lib.ScaledDotProductAttention().forward(NAN, ones(2, 3), ones(2, 3)),
            "NaN",
            "query",
        ),
        argument("backward before forward", attention_backward, FORWARD_FIRST),
    ],
    "MultiheadAttention": [
        Refusal(
            "a row that is all masked",
            attend_heads(ROW),
            ("leaves every query a key",),
            "ScaledDotProductAttention",
        ),
        argument("a query of another width", attend_heads(query=(2, 1, 5)), "(L, N, 4)", "(2, 1, 5)"),
        argument("keys of another batch size", attend_heads(key=(3, 2, 4)), "(S, 1, 4)", "(3, 2, 4)"),
        argument("heads that do not fit", lambda lib: lib.MultiheadAttention(4, 3), "3 heads"),
        argument(
            "NaN in the query",
            lambda lib: lib.MultiheadAttention(3, 1, dtype=np.float64).forward(
                NAN[None], ones(1, 2, 3), ones(1, 2, 3)
            ),
            "NaN",
            "query",
        ),
        argument(
            "backward before forward",
            lambda lib: lib.MultiheadAttention(4, 2).backward(ones(2, 1, 4)),
            FORWARD_FIRST,
        ),
    ],
}
