"""The registry of everything that is checked, and helpers that build a case in torch and Keras."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from shared.parity.weights import to_keras  # imports torch's compiler before TensorFlow

# isort: split
import keras
import numpy as np
import torch
from hypothesis import strategies as st

from tools.gradcheck.comparison import Case, Difference, Side, compare, copies, forward, side_effects

Options = dict[str, Any]
Rng = np.random.Generator


@dataclass(frozen=True)
class Outcome:
    """The differences found in one case, and why some references were left out."""

    found: list[Difference]
    lacking: list[str] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Entry(ABC):
    """A layer, loss, optimizer or function that is checked.

    Attributes:
        options: how Hypothesis draws the options of a case.
        examples: number of cases that are drawn.
        always: options that are tried in addition to those drawn.
    """

    name: str
    options: st.SearchStrategy[Options]
    examples: int = 36
    always: Sequence[Options] = ()

    @abstractmethod
    def compare(self, library: Any, options: Options, seed: int, references: Sequence[str]) -> Outcome:
        """Compare one case with the references.

        Args:
            library: `shared.backprop`, or a copy of it with a planted fault.
            options: the options of the case.
            seed: seed of its random numbers.
            references: of "torch", "Keras" and "finite differences".
        """


@dataclass(frozen=True, kw_only=True)
class LayerEntry(Entry):
    """A layer, loss or penalty; `build` makes a case without weights of (library, rng, **options)."""

    build: Callable[..., Case]

    def compare(self, library: Any, options: Options, seed: int, references: Sequence[str]) -> Outcome:
        case = self.case(library, options, seed)
        lacking = [why for why in (case.torch, case.keras) if isinstance(why, str) and why]
        if case.finite not in ("complex", "central"):
            lacking.append(f"finite differences: {case.finite}")
        return Outcome([*compare(case, references), *side_effects(case)], lacking, case.note)

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
        return replace(case, state=state, upstream=upstream)


ENTRIES: dict[str, Entry] = {}


def entry(
    name: str, examples: int = 15, always: Sequence[Options] = (), **options: st.SearchStrategy[Any]
) -> Callable[[Callable[..., Case]], Callable[..., Case]]:
    """Register a function that builds cases of the layer `name`.

    Its arguments after the first two are the options. The annotation of an argument without a default
    says how it is drawn, unless `options` does: `Annotated[int, st.integers(1, 4)]`.
    """

    def register(build: Callable[..., Case]) -> Callable[..., Case]:
        _, _, *arguments = inspect.signature(build).parameters.values()
        drawn = {one.name: st.from_type(one.annotation) for one in arguments if one.default is one.empty}
        strategy = st.fixed_dictionaries(drawn | options)
        ENTRIES[name] = LayerEntry(name, strategy, examples, always, build=build)
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


def layer_case(
    kind: Any,
    arguments: Sequence[Any],
    x: Any,
    keras_side: Side | str,
    options: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Case:
    """Return the case of a layer with one input x, which torch.nn builds from the same arguments.

    Args:
        kind: the NumPy layer.
        arguments: its positional arguments.
        x: the input.
        keras_side: see `Case`.
        options: its keyword arguments without the dtype.
        fields: other fields of the case.
    """
    make = partial(kind, *arguments, **(options or {}))
    typed = "dtype" in inspect.signature(kind).parameters
    module = getattr(torch.nn, kind.__name__)(*arguments, **(options or {}))
    return Case(
        lambda dtype: make(dtype=dtype) if typed else make(),
        {"x": x},
        in_torch(module.double()),
        keras_side,
        **fields,
    )


def in_torch(module: torch.nn.Module, **keywords: Any) -> Side:
    """Return a side that calls a module of torch.nn with the inputs in their order."""

    def side(inputs: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        y = torch.func.functional_call(module, state, tuple(inputs.values()), keywords, strict=True)
        return {"y": y}

    return side


def in_keras(layer: Any) -> Side:
    """Return a side that calls a layer of Keras with the inputs in their order."""
    return lambda inputs, state: {"y": stateless(layer, state, *inputs.values())}


def stateless(layer: Any, state: dict[str, Any], *inputs: Any, **keywords: Any) -> Any:
    """Call a layer of Keras with weights under torch's names, without assigning them."""
    if not layer.built:
        layer.build(*(x.shape for x in inputs))
    weights = to_keras(layer, state) if state else []
    if [tuple(w.shape) for w in layer.trainable_variables] != [tuple(w.shape) for w in weights]:
        raise ValueError(f"{layer.name}: expected weights {layer.trainable_variables}")
    y, _ = layer.stateless_call(weights, layer.non_trainable_variables, *inputs, **keywords)
    return y
