"""Run a layer forward and backward on copies, and write down everything that a mistake could change."""

import copy
import inspect
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shared.backprop.module import Array, Module
from shared.errors import ConfigError

OTHERS = str(Path(__file__).parent), "site-packages"  # whose lines are not the learner's
GRADIENT_NAMES = ("d{}", "d_{}", "grad_{}", "{}_grad")
AGAIN, CHANGES = " in the second call", " is modified in place"
EVALUATION, SINGLE = " in evaluation mode", " is float64 although all inputs are float32"
SAME = 1e-6  # relative difference between the same numbers computed in two ways
ZERO = 1e-5  # differences of smaller numbers are not relative to them
Seen = dict[str, Array | None]  # outputs, gradients and side effects by name; None if one is missing


class LayerFailed(ConfigError):
    """The layer cannot be checked, or raised an exception."""


class InputRefused(LayerFailed):
    """`forward` raised an exception: the input may have the wrong shape."""


def in_suite(layer: Any) -> bool:
    """Return whether a layer is one of `shared/backprop`, or of a copy of it."""
    return type(layer).__module__.startswith(Module.__module__.rpartition(".")[0])


def is_float(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


def parameters(layer: Any) -> dict[str, Array]:
    """Return the parameters: `layer.params`, or else all attributes that are arrays of floats."""
    params = getattr(layer, "params", None)
    return dict(params if isinstance(params, dict) else filter(lambda item: is_float(item[1]), own(layer)))


def own(layer: Any) -> list[tuple[str, Any]]:
    return list(getattr(layer, "__dict__", {}).items())


def clone(layer: Any, dtype: Any = np.float64) -> Any:
    """Return a copy whose arrays of floats have the dtype; those that were shared stay shared."""
    layers = [one for _, one in layer.named_modules()] if hasattr(layer, "named_modules") else [layer]
    held = [value for one in layers for _, value in own(one)]
    arrays = [*held, *(value for one in held if isinstance(one, dict) for value in one.values())]
    memo = {id(value): value.astype(dtype) for value in arrays if is_float(value)}
    copied = copy.deepcopy(layer, memo)
    if hasattr(copied, "dtype"):
        copied.dtype = np.dtype(dtype)
    return copied


def flatten(value: Any) -> list[Any]:
    return [one for item in value for one in flatten(item)] if isinstance(value, tuple | list) else [value]


def call(layer: Any, method: str, *arguments: Any, **keywords: Any) -> Any:
    """Call a method; report an exception as the layer's own, with its line.

    The global random numbers are the same in every call, so that a mask does not change.
    """
    state = np.random.get_state()
    np.random.seed(0)
    try:
        return getattr(layer, method)(*arguments, **keywords)
    except Exception as error:
        kind = InputRefused if method == "forward" else LayerFailed
        raise kind(f"{type(layer).__name__}.{method} raised {describe(error)}") from error
    finally:
        np.random.set_state(state)


def describe(error: Exception) -> str:
    """Return an exception with the learner's line: the last one that is not of a package."""
    trace = [one for one in traceback.extract_tb(error.__traceback__) if one.line]
    trace = [one for one in trace if not any(folder in one.filename for folder in OTHERS)]
    lines = (f"\n  line {one.lineno}: {one.line}" for one in trace[-1:])
    return f"{type(error).__name__}: {error}{''.join(lines)}"


def outputs_of(layer: Any, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Call forward; refuse an output that is not finite numbers."""
    y = call(layer, "forward", *inputs, **keywords)
    for one in flatten(y):
        if not np.issubdtype(np.asarray(one).dtype, np.number):
            raise LayerFailed(f"{type(layer).__name__}.forward returned {type(one).__name__}, not an array")
        if not np.isfinite(one).all():
            raise LayerFailed(f"{type(layer).__name__}.forward returned NaN or infinity: try a smaller input")
    return y


def distance(given: Array | None, expected: Array | None) -> float:
    """Return max |given - expected| / max |expected|; NaN in `expected` stands for any number."""
    if given is None or expected is None or given.shape != expected.shape:
        return 0.0 if given is expected else np.inf
    known = ~np.isnan(expected)
    size = np.abs(expected[known]).max(initial=0)
    far = float(np.abs(given[known] - expected[known]).max(initial=0))
    return far / size if size > ZERO else far


def same(given: Array | None, expected: Array | None) -> bool:
    return distance(given, expected) <= SAME


class Trial(NamedTuple):
    """What a layer is tried with: inputs with their names, other arguments, and whether dy is 1."""

    inputs: Sequence[Any]
    names: Sequence[str]
    keywords: Mapping[str, Any]
    unit: bool

    @classmethod
    def of(cls, layer: Any, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> "Trial":
        """Return the trial of a layer; dy is 1 if `backward` takes no gradient, as a loss may."""
        known, count = positional(layer.forward), len(inputs)
        names = known[:count] if len(known) >= count else [f"x{number or ''}" for number in range(count)]
        return cls([np.asarray(value) for value in inputs], names, keywords, not positional(layer.backward))

    def parameters(self, layer: Any) -> dict[str, Array]:
        """Return the parameters, without inputs that an earlier call has left as attributes."""
        return {name: value for name, value in parameters(layer).items() if name not in self.names}

    def upstream(self, layer: Any, y: Any) -> tuple[Any, ...]:
        """Return the arguments of backward: a random gradient for each output that it takes."""
        rng = np.random.default_rng(1986)  # not a seed that gives the input, too: x^T x is symmetric

        def draw(one: Any) -> Any:
            if isinstance(one, tuple | list):
                return tuple(draw(item) for item in one)
            drawn = np.ones(np.shape(one)) if self.unit else rng.standard_normal(np.shape(one))
            return np.asarray(drawn, np.asarray(one).dtype)

        return draw(y if isinstance(y, tuple | list) else (y,))[: len(positional(layer.backward))]


def positional(method: Any) -> list[str]:
    known = inspect.signature(method).parameters.values()
    return [one.name for one in known if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]


def observe(layer: Any, trial: Trial) -> Seen:
    """Return everything that a layer shows, by name."""
    seen = run(clone(layer), trial)
    if in_suite(layer):
        evaluated, single = run(clone(layer).eval(), trial), run(clone(layer, np.float32), trial, np.float32)
        seen |= {f"{key}{EVALUATION}": value for key, value in evaluated.items()}
        for key, value in single.items():
            if value is not None and value.dtype.kind == "f" and CHANGES not in key:
                seen[f"{key}{SINGLE}"] = np.array(float(value.dtype == np.float64))
    return seen


def run(layer: Any, trial: Trial, dtype: Any = np.float64) -> Seen:
    """Run the layer forward once and backward twice; return what it shows."""
    given, arguments = (
        {key: value.astype(dtype) if is_float(value) else value for key, value in items}
        for items in (zip(trial.names, trial.inputs, strict=True), trial.keywords.items())
    )
    known = trial.parameters(layer)  # before forward, which may keep its inputs as attributes
    before = copy.deepcopy([given, arguments])
    y = outputs_of(layer, list(given.values()), arguments)
    seen: Seen = {f"y{number or ''}": np.array(one) for number, one in enumerate(flatten(y))}
    seen |= {name: np.array(value) for name, value in getattr(layer, "buffers", {}).items()}
    dys = trial.upstream(layer, y)
    kept = copy.deepcopy(dys)
    for turn in ("", AGAIN):
        for name, gradient in gradients(layer, trial.names, known, dys).items():
            seen[f"{name}{turn}"] = None if gradient is None else np.array(gradient)
    changed = dict.fromkeys(given, 0.0) | dict.fromkeys(arguments, 0.0)
    for now, old in zip((given, arguments), before, strict=True):
        changed |= {key: float(not np.array_equal(value, old[key])) for key, value in now.items()}
    pairs = zip(flatten(dys), flatten(kept), strict=True)
    changed["the gradient of y"] = float(not all(np.array_equal(*pair) for pair in pairs))
    return seen | {f"{name}{CHANGES}": np.array(value) for name, value in changed.items()}


def gradients(layer: Any, names: Sequence[str], params: Collection[str], dys: Sequence[Any]) -> Seen:
    """Call backward; return the gradients of inputs and parameters, None for those that are missing."""
    returned = flatten(call(layer, "backward", *dys))
    grads = getattr(layer, "grads", None)
    found: Seen = {f"d{names[0]}": None} if names else {}
    found |= {f"d{name}": value for name, value in zip(names, returned, strict=False)}
    for name in params:
        if isinstance(grads, dict):
            found[f"d{name}"] = grads.get(name)
        else:
            held = (getattr(layer, form.format(name), None) for form in GRADIENT_NAMES)
            found[f"d{name}"] = next((value for value in held if value is not None), None)
    return found
