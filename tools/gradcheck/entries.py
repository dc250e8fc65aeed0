"""The registry of layers, and helpers that build a case in torch and Keras."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import shared.parity  # noqa: F401  (before TensorFlow)

# isort: split
import keras
import numpy as np
import torch
from hypothesis import strategies as st

from tools.gradcheck.comparison import Case, Side, copies, forward

Options = dict[str, Any]
Rng = np.random.Generator


@dataclass(frozen=True)
class Entry:
    """A layer: the options that Hypothesis draws, and the case that they make.

    Attributes:
        build: (package, rng, **options) -> case without weights, where the package is
            `shared.backprop` or a copy of it with a planted fault.
        always: options that are tried in addition to those drawn.
    """

    name: str
    options: st.SearchStrategy[Options]
    build: Callable[..., Case]
    examples: int
    always: tuple[Options, ...]

    def case(self, library: Any, options: Options, seed: int) -> Case:
        """Return the case with random weights, and a random gradient for each output."""
        rng = np.random.default_rng(seed)
        case = self.build(library, rng, **options)
        layer = case.make(np.float64)
        state = {key: value.copy() for key, value in layer.buffers.items()}
        state |= {key: rng.standard_normal(value.shape) for key, value in layer.params.items()}
        for key, value in layer.buffers.items():
            if value.dtype.kind == "f":  # running statistics; a variance is positive
                state[key] = rng.uniform(0.5, 2, value.shape)
        layer.load_state_dict(state)
        outputs = forward(layer, copies(case.inputs), copies(case.keywords))
        upstream = {key: rng.standard_normal(y.shape) for key, y in outputs.items() if key != "weights"}
        return replace(case, layer=self.name, state=state, upstream=upstream)


ENTRIES: dict[str, Entry] = {}


def entry(
    name: str, examples: int = 15, always: Sequence[Options] = (), **options: st.SearchStrategy[Any]
) -> Callable[[Callable[..., Case]], Callable[..., Case]]:
    """Register a function that builds cases of the layer `name` from `options`."""

    def register(build: Callable[..., Case]) -> Callable[..., Case]:
        ENTRIES[name] = Entry(name, st.fixed_dictionaries(options), build, examples, tuple(always))
        return build

    return register


@contextmanager
def double_precision() -> Iterator[None]:
    """Let Keras build its layers in float64."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def in_torch(module: torch.nn.Module, **keywords: Any) -> Side:
    """Return a side that calls a module of torch.nn with the inputs in their order."""

    def side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        y = torch.func.functional_call(module, state, tuple(inputs.values()), keywords, strict=True)
        return {"y": y}

    return side


def in_keras(layer: Any, weights: Callable[[dict[str, Any]], list[Any]] = lambda state: []) -> Side:
    """Return a side that calls a layer of Keras; `weights` converts the state to its layout."""
    return lambda inputs, state: {"y": stateless(layer, weights(state), *inputs.values())}


def stateless(layer: Any, weights: list[Any], *inputs: Any, **keywords: Any) -> Any:
    """Call a layer of Keras with the given weights, without assigning them."""
    if not layer.built:
        layer.build(*(x.shape for x in inputs))
    if [tuple(w.shape) for w in layer.trainable_variables] != [tuple(w.shape) for w in weights]:
        raise ValueError(f"{layer.name}: expected weights {layer.trainable_variables}")
    y, _ = layer.stateless_call(weights, layer.non_trainable_variables, *inputs, **keywords)
    return y


def existing(state: Mapping[str, Any], *names: str) -> list[Any]:
    """Return the values of those names that the state has; a layer may lack a bias."""
    return [state[name] for name in names if name in state]
