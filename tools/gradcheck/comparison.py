"""Do three backward passes agree: by hand, torch's autograd and TensorFlow's GradientTape?

A `Case` is one layer of `shared/backprop` with its weights, its inputs and a random gradient for
each of its outputs. `compare` computes outputs and gradients with each side and says where they
differ. All of it is in float64; the difference of two arrays is max |a - b| / max |b|.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from numpy.typing import DTypeLike

from shared.backprop.module import Array, Module

Arrays = dict[str, Array]
Side = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]

AUTOGRAD = 1e-9  # allowed relative difference to torch and to Keras
COMPLEX_STEP = 1e-9
CENTRAL = 1e-6  # central differences: the truncation and the rounding error meet at about 1e-9
NOTHING = 1e-12  # what is no larger than this counts as zero


@dataclass(frozen=True)
class Case:
    """One layer, all that goes into it, and the same layer in the frameworks.

    Attributes:
        layer: its name, for messages.
        make: builds the NumPy layer in a dtype.
        state: its parameters and buffers, by torch's names.
        inputs: the inputs that have a gradient, by name, in the order of `forward`.
        keywords: other arguments (masks, lengths, labels), by name.
        upstream: the gradient of the loss with respect to each output, by name.
        torch: (inputs, state) -> outputs, tensors by name; or why torch has no such thing.
        keras: the same with TensorFlow's tensors. Outputs that only one side has are left out.
        finite: "complex" for the complex-step derivative, "central" where the layer is not
            analytic, or why neither can be had.
        keras_allowed: the difference to Keras that is allowed, and
        note: why it is more than usual, or what else is to be said.
    """

    layer: str
    make: Callable[[DTypeLike], Module]
    inputs: Arrays
    torch: Side | str
    keras: Side | str
    state: Arrays = field(default_factory=dict)
    keywords: dict[str, Any] = field(default_factory=dict)
    upstream: Arrays = field(default_factory=dict)
    finite: str = "complex"
    keras_allowed: float = AUTOGRAD
    note: str = ""

    def built(self, dtype: DTypeLike = np.float64) -> Module:
        """Return the NumPy layer with its weights."""
        layer = self.make(dtype)
        layer.load_state_dict(self.state)
        return layer


@dataclass(frozen=True)
class Result:
    """What one side gives: outputs by name, and gradients by name (without the d in front)."""

    outputs: Arrays
    gradients: Arrays


@dataclass(frozen=True)
class Difference:
    """How far a quantity of the layer is from a reference, and how far it may be."""

    layer: str
    quantity: str
    reference: str
    value: float
    allowed: float
    what: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is too far (NaN is)."""
        return not self.value <= self.allowed

    def __str__(self) -> str:
        if self.what:
            return f"{self.layer}: {self.quantity} {self.what}"
        return (
            f"{self.layer}: {self.quantity} differs from {self.reference} by {self.value:.1e} "
            f"(allowed {self.allowed:.0e})"
        )


def compare(case: Case, references: Sequence[str]) -> list[Difference]:
    """Compare the NumPy layer with "torch", "keras" and "finite differences", where these exist."""
    own = by_hand(case)
    found: list[Difference] = []
    if "torch" in references and not isinstance(case.torch, str):
        found += differences(case.layer, own, by_torch(case, case.torch), "torch", AUTOGRAD)
    if "keras" in references and not isinstance(case.keras, str):
        other = by_keras(case, case.keras)
        found += differences(case.layer, own, other, "Keras", case.keras_allowed)
    if "finite differences" in references and case.finite in ("complex", "central"):
        found += finite_differences(case, own)
    return found


def differences(layer: str, own: Result, reference: Result, name: str, allowed: float) -> list[Difference]:
    """Compare every output that the reference has, and every gradient: these it must all have."""
    found = [
        difference(layer, key, own.outputs.get(key), value, name, allowed)
        for key, value in reference.outputs.items()
    ]
    for key in sorted(own.gradients.keys() | reference.gradients.keys()):
        expected = reference.gradients.get(key)
        if expected is None:
            what = f"is there, but {name} has no such gradient"
            found.append(Difference(layer, f"d{key}", name, np.inf, allowed, what))
        else:
            given = own.gradients.get(key)
            found.append(difference(layer, f"d{key}", given, expected, name, allowed))
    return found


def difference(
    layer: str, quantity: str, given: Array | None, expected: Array, name: str, allowed: float
) -> Difference:
    """Return max |given - expected| / max |expected|; where `expected` is 0, `given` must be."""
    if given is None:
        return Difference(layer, quantity, name, np.inf, allowed, f"is missing; {name} has it")
    if given.shape != expected.shape:
        what = f"has the shape {given.shape}, {name}'s {expected.shape}"
        return Difference(layer, quantity, name, np.inf, allowed, what)
    if not expected.size:
        return Difference(layer, quantity, name, 0.0, allowed)
    size = float(np.abs(expected).max())
    distance = float(np.abs(given - expected).max())
    if size <= NOTHING:
        return Difference(layer, quantity, name, 0.0 if distance <= NOTHING else np.inf, allowed)
    return Difference(layer, quantity, name, distance / size, allowed)


# The layer itself


def by_hand(case: Case, dtype: DTypeLike = np.float64) -> Result:
    """Return outputs and gradients of the NumPy layer."""
    layer = case.built(dtype)
    outputs = forward(layer, cast(case.inputs, dtype), cast(case.keywords, dtype))
    gradients = backward(layer, cast(case.upstream, dtype), list(case.inputs))
    return Result(outputs | layer.buffers, gradients)


def forward(layer: Module, inputs: Arrays, keywords: Mapping[str, Any]) -> Arrays:
    """Call `layer.forward` and give its outputs names.

    A recurrent layer takes its initial state as h0 (and c0) and has the outputs y, h_n (and c_n).
    """
    arguments: dict[str, Any] = dict(inputs)
    if "h0" in arguments:
        state = tuple(arguments.pop(name) for name in ("h0", "c0") if name in arguments)
        arguments["hx"] = state if len(state) > 1 else state[0]
    given = layer.forward(*arguments.values(), **keywords)
    if not isinstance(given, tuple):
        return {"y": np.asarray(given)}
    if not hasattr(layer, "dhx"):
        return {"y": given[0], "weights": given[1]}
    last = given[1] if isinstance(given[1], tuple) else (given[1],)
    return {"y": given[0]} | dict(zip(("h_n", "c_n"), last, strict=False))


def backward(layer: Module, upstream: Arrays, names: Sequence[str]) -> Arrays:
    """Call `layer.backward`; return the gradients of inputs and parameters by name."""
    if hasattr(layer, "dhx"):
        last = tuple(upstream[name] for name in ("h_n", "c_n") if name in upstream)
        given: Any = layer.backward(upstream["y"], last if len(last) > 1 else last[0])  # type: ignore[call-arg]
        initial = layer.dhx if isinstance(layer.dhx, tuple) else (layer.dhx,)
        given = (given, *initial)[: len(names)]
    else:
        given = layer.backward(upstream["y"])
    values = given if isinstance(given, tuple) else (given,)
    gradients = {} if not names else dict(zip(names, values, strict=True))
    return gradients | layer.grads


def cast(values: Mapping[str, Any], dtype: DTypeLike) -> dict[str, Any]:
    """Return copies, floats in another dtype, everything else as it is."""
    return {
        name: value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value
        for name, value in values.items()
    }


# Autograd


def by_torch(case: Case, side: Side) -> Result:
    """Return outputs and gradients by torch's autograd."""
    inputs = {name: torch.tensor(value, requires_grad=True) for name, value in case.inputs.items()}
    state = {name: torch.tensor(value) for name, value in case.state.items()}
    names = trained(case)
    for name in names:
        state[name].requires_grad_()
    outputs = side(inputs, state)
    if any(outputs[name].shape != dy.shape for name, dy in case.upstream.items()):
        return Result({name: y.detach().numpy() for name, y in outputs.items()}, {})
    loss = sum(
        ((outputs[name] * torch.tensor(dy)).sum() for name, dy in case.upstream.items()),
        torch.zeros((), dtype=torch.float64),
    )
    sources = {**inputs, **{name: state[name] for name in names}}
    found = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
    gradients = {
        name: np.zeros(tuple(source.shape)) if gradient is None else gradient.numpy()
        for (name, source), gradient in zip(sources.items(), found, strict=True)
    }
    return Result({name: y.detach().numpy() for name, y in outputs.items()}, gradients)


def by_keras(case: Case, side: Side) -> Result:
    """Return outputs and gradients by TensorFlow's GradientTape.

    The weights are brought into Keras's layout on the tape, so that the gradients are in torch's.
    """
    inputs = {name: tf.constant(value) for name, value in case.inputs.items()}
    state = {name: tf.constant(value) for name, value in case.state.items()}
    sources = {**inputs, **{name: state[name] for name in trained(case)}}
    with tf.device("CPU"), tf.GradientTape() as tape:
        tape.watch(list(sources.values()))
        outputs = side(inputs, state)
        loss = tf.add_n(
            [tf.reduce_sum(outputs[name] * tf.constant(dy)) for name, dy in case.upstream.items()]
        )
    found = tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    gradients = {name: tf.convert_to_tensor(value).numpy() for name, value in found.items()}
    return Result({name: np.asarray(y) for name, y in outputs.items()}, gradients)


def trained(case: Case) -> list[str]:
    """Return the names of the parameters: the state without what is kept but not trained."""
    buffers = case.make(np.float64).buffers
    return [name for name in case.state if name not in buffers]


# Finite differences


def finite_differences(case: Case, own: Result) -> list[Difference]:
    """Compare the slope of the loss along a random direction of each quantity with dot(g, v)."""
    rng = np.random.default_rng(0)
    allowed = COMPLEX_STEP if case.finite == "complex" else CENTRAL
    slope = _complex_slope if case.finite == "complex" else _central_slope
    found = []
    for name in [*case.inputs, *trained(case)]:
        shape = (case.inputs | case.state)[name].shape
        direction = rng.standard_normal(shape)
        gradient = own.gradients.get(name)
        if gradient is None or gradient.shape != shape:
            found.append(Difference(case.layer, f"d{name}", "finite differences", np.inf, allowed))
            continue
        expected = slope(case, name, direction)
        distance = abs(expected - float((gradient * direction).sum()))
        # The sum may cancel; what it is made of says how exact it can be.
        size = float(np.abs(gradient * direction).sum())
        size = max(size, abs(expected))
        value = distance / size if size > NOTHING else 0.0
        found.append(Difference(case.layer, f"d{name}", "finite differences", value, allowed))
    return found


def _complex_slope(case: Case, name: str, direction: Array) -> float:
    """Im L(w + i h v) / h: no difference is taken, so h may be tiny (Martins et al. 2003)."""
    step = 1e-30
    return float(_loss(case, name, 1j * step * direction, np.complex128).imag / step)


def _central_slope(case: Case, name: str, direction: Array) -> float:
    """(L(w + h v) - L(w - h v)) / 2 h."""
    step = 1e-5
    above = _loss(case, name, step * direction, np.float64)
    below = _loss(case, name, -step * direction, np.float64)
    return float((above - below).real / (2 * step))


def _loss(case: Case, name: str, change: Array, dtype: DTypeLike) -> complex:
    """Return sum of dy * y over all outputs, with `change` added to the quantity `name`."""
    inputs, keywords = cast(case.inputs, dtype), cast(case.keywords, dtype)
    layer = case.make(dtype)
    state = cast(case.state, dtype)
    target = inputs if name in inputs else state
    target[name] = target[name] + change
    layer.load_state_dict(state)
    outputs = forward(layer, inputs, keywords)
    return complex(sum((outputs[key] * dy).sum() for key, dy in case.upstream.items()))


# What every layer does besides


def manners(case: Case) -> Iterator[Difference]:
    """Yield what a layer does that none may: changed inputs, other dtypes, another second time."""

    def fault(quantity: str, what: str) -> Difference:
        return Difference(case.layer, quantity, "itself", np.inf, 0.0, what)

    layer = case.built()
    given = {
        "input": cast(case.inputs, np.float64),
        "argument": cast(case.keywords, np.float64),
        "gradient of": cast(case.upstream, np.float64),
    }
    outputs = forward(layer, given["input"], given["argument"])
    kept = {name: value.copy() for name, value in outputs.items()}
    first = backward(layer, given["gradient of"], list(case.inputs))
    first = {name: value.copy() for name, value in first.items()}
    second = backward(layer, given["gradient of"], list(case.inputs))
    originals = {"input": case.inputs, "argument": case.keywords, "gradient of": case.upstream}
    for kind, values in given.items():
        for name, value in values.items():
            if not np.array_equal(value, originals[kind][name]):
                yield fault(f"{kind} {name}", "was changed in place")
    for name, value in kept.items():
        if not np.array_equal(value, outputs[name]):
            yield fault(name, "was changed by backward")
    for name, gradient in first.items():
        if not np.array_equal(gradient, second[name]):
            yield fault(f"d{name}", "is another one when backward is called again")
    for name in trained(case):
        if not np.array_equal(layer.params[name], case.state[name]):
            yield fault(name, "was changed by forward or backward")
    yield from _precision(case, Result(kept, first))


def _precision(case: Case, exact: Result) -> Iterator[Difference]:
    """Yield where float32 inputs and weights give something other than float32."""

    def checked(name: str, given: Array, expected: Array) -> Difference:
        if given.dtype != np.float32:
            what = f"is {given.dtype} where everything given is float32"
            return Difference(case.layer, name, "float32", np.inf, 0.0, what)
        scale = max(float(np.abs(expected).max(initial=0)), 0.1)
        value = float(np.abs(given - expected).max(initial=0)) / scale
        return Difference(case.layer, name, "itself in float32", value, 1e-3)

    single = np.float32
    layer = case.built(single)
    outputs = forward(layer, cast(case.inputs, single), cast(case.keywords, single))
    found = [checked(name, outputs[name], y) for name, y in exact.outputs.items()]
    found += [checked(name, b, b) for name, b in layer.buffers.items() if b.dtype.kind == "f"]
    yield from found
    if not any(one.failed for one in found):  # backward refuses a gradient in another precision
        gradients = backward(layer, cast(case.upstream, single), list(case.inputs))
        for name, gradient in exact.gradients.items():
            yield checked(f"d{name}", gradients[name], gradient)
