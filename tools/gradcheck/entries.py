"""What the comparison of every layer needs: random options, weights, and Keras's layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import shared.parity  # noqa: F401  (before TensorFlow)

# isort: split
import keras
import numpy as np
import torch
from hypothesis import strategies as st

from shared.backprop.module import Array
from tools.gradcheck.comparison import Case, Side, cast, forward

Options = dict[str, Any]
Build = Callable[[Any, Options, np.random.Generator], Case]


@dataclass(frozen=True)
class Entry:
    """A layer: the options that Hypothesis draws, and the case that they make.

    `build` takes the package (`shared.backprop` or a copy of it with a fault), options and a source
    of random numbers. `always` are options that are tried besides those that are drawn.
    """

    name: str
    options: st.SearchStrategy[Options]
    build: Build
    examples: int
    always: tuple[Options, ...] = ()


ENTRIES: dict[str, Entry] = {}


def entry(
    name: str, examples: int = 15, always: Sequence[Options] = (), **options: st.SearchStrategy[Any]
) -> Callable[[Build], Build]:
    """Register a function that builds cases of the layer `name` from `options`."""

    def register(build: Build) -> Build:
        strategy = st.fixed_dictionaries(options)
        ENTRIES[name] = Entry(name, strategy, build, examples, tuple(always))
        return build

    return register


@contextmanager
def double_precision() -> Iterator[None]:
    """Have Keras build its layers in float64."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def make_case(
    name: str,
    make: Callable[[Any], Any],
    rng: np.random.Generator,
    inputs: Mapping[str, Array],
    torch_side: Side | str,
    keras_side: Side | str,
    keywords: Mapping[str, Any] | None = None,
    finite: str = "complex",
) -> Case:
    """Return a case with random weights, and a random gradient for each output."""
    layer = make(np.float64)
    state = {key: value.copy() for key, value in layer.buffers.items()}
    for key, value in layer.params.items():
        state[key] = rng.standard_normal(value.shape)
    for key, value in layer.buffers.items():
        if value.dtype.kind == "f":  # running statistics, and a variance is positive
            state[key] = rng.uniform(0.5, 2, value.shape)
    layer.load_state_dict(state)
    given = {key: np.asarray(value) for key, value in inputs.items()}
    arguments = dict(keywords or {})
    outputs = forward(layer, cast(given, np.float64), cast(arguments, np.float64))
    upstream = {key: rng.standard_normal(y.shape) for key, y in outputs.items() if key != "weights"}
    return Case(name, make, given, torch_side, keras_side, state, arguments, upstream, finite)


def in_torch(module: torch.nn.Module, **keywords: Any) -> Side:
    """Return a side that calls a module of torch.nn with the inputs in their order."""

    def side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        y = torch.func.functional_call(module, state, tuple(inputs.values()), keywords, strict=True)
        return {"y": y}

    return side


def in_keras(layer: Any, weights: Callable[[dict[str, Any]], list[Any]] = lambda state: []) -> Side:
    """Return a side that calls a layer of Keras; `weights` brings the state into its layout."""

    def side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        return {"y": stateless(layer, weights(state), *inputs.values())}

    return side


def stateless(layer: Any, weights: list[Any], *inputs: Any, **keywords: Any) -> Any:
    """Call a layer of Keras with other weights than its own; nothing is assigned."""
    if not layer.built:
        layer.build(*(x.shape for x in inputs))
    if [tuple(w.shape) for w in layer.trainable_variables] != [tuple(w.shape) for w in weights]:
        raise ValueError(f"{layer.name}: expected weights {layer.trainable_variables}")
    others = layer.non_trainable_variables
    y, _ = layer.stateless_call(weights, others, *inputs, **keywords)
    return y


def named(state: Mapping[str, Any], *names: str) -> list[Any]:
    """Return those of the names that the state has: a layer may do without a bias."""
    return [state[name] for name in names if name in state]
