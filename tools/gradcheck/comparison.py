"""Compare three backward passes: by hand, by torch's autograd and by TensorFlow's GradientTape.

A `Case` is one layer of `shared/backprop` with its weights, its inputs and a random gradient for
each of its outputs. `compare` computes outputs and gradients on each side and returns how far they
differ. Everything is float64; the difference of two arrays is max |a - b| / max |b|.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from numpy.typing import DTypeLike

from shared.backprop.module import Array, Module

Arrays = dict[str, Array]  # outputs by name (y), gradients by the name of the quantity (dx, dweight)
Side = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]

AUTOGRAD = 1e-9  # allowed relative difference to torch and to Keras
COMPLEX_STEP = 1e-9
CENTRAL = 1e-6  # central differences: truncation and rounding errors balance at about 1e-9
NOTHING = 1e-12  # anything up to this counts as zero


@dataclass(frozen=True)
class Case:
    """One layer, its inputs, and the same layer in the frameworks.

    Attributes:
        make: builds the NumPy layer in a dtype.
        inputs: the inputs that have a gradient, by name, in the order of `forward`.
        torch: (inputs, state) -> outputs, tensors by name; or the reason why torch has no equivalent.
        keras: the same with TensorFlow's tensors. Outputs of only one side are not compared.
        keywords: other arguments (masks, lengths, labels), by name.
        finite: "complex" for the complex-step derivative, "central" if the layer is not analytic, or
            the reason why neither applies.
        keras_allowed: the allowed difference to Keras.
        note: why more than usual is allowed, or what else the table should explain.
        state: its parameters and buffers, under torch's names.
        upstream: the gradient of the loss with respect to each output, by name.
    """

    make: Callable[[DTypeLike], Module]
    inputs: Arrays
    torch: Side | str
    keras: Side | str
    keywords: dict[str, Any] = field(default_factory=dict)
    finite: str = "complex"
    keras_allowed: float = AUTOGRAD
    note: str = ""
    state: Arrays = field(default_factory=dict)
    upstream: Arrays = field(default_factory=dict)

    def build(self, dtype: DTypeLike = np.float64) -> Module:
        """Return the NumPy layer with its weights."""
        layer = self.make(dtype)
        layer.load_state_dict(self.state)
        return layer

    def parameters(self) -> list[str]:
        """Return the names of the parameters: the state without the buffers."""
        buffers = self.make(np.float64).buffers
        return [name for name in self.state if name not in buffers]


@dataclass(frozen=True)
class Difference:
    """How far a quantity of the layer is from a reference, and how far it may be.

    `what` replaces the number if something else is wrong.
    """

    quantity: str
    reference: str
    value: float
    allowed: float
    what: str = ""

    @property
    def failed(self) -> bool:
        """Whether the difference is too large or NaN."""
        return not self.value <= self.allowed

    def __str__(self) -> str:
        numbers = f"differs from {self.reference} by {self.value:.1e} (allowed {self.allowed:.0e})"
        return f"{self.quantity} {self.what or numbers}"


def compare(case: Case, references: Sequence[str]) -> list[Difference]:
    """Compare the NumPy layer with "torch", "Keras" and "finite differences", if they exist."""
    own = by_hand(case)
    found: list[Difference] = []
    if "torch" in references and callable(case.torch):
        found += differences(own, by_torch(case, case.torch), "torch", AUTOGRAD)
    if "Keras" in references and callable(case.keras):
        found += differences(own, by_keras(case, case.keras), "Keras", case.keras_allowed)
    if "finite differences" in references and case.finite in ("complex", "central"):
        found += finite_differences(case, own)
    return found


def differences(own: Arrays, reference: Arrays, name: str, allowed: float) -> list[Difference]:
    """Compare every output that the reference has, and all gradients of both sides."""
    quantities = [*reference, *(key for key in own if key.startswith("d") and key not in reference)]
    return [difference(key, own.get(key), reference.get(key), name, allowed) for key in quantities]


def difference(
    quantity: str, given: Array | None, expected: Array | None, name: str, allowed: float
) -> Difference:
    """Return max |given - expected| / max |expected|; if `expected` is 0, `given` must be 0."""
    value, what = np.inf, ""
    if given is None:
        what = f"is missing; {name} has it"
    elif expected is None:
        what = f"exists, but {name} has no such gradient"
    elif given.shape != expected.shape:
        what = f"has shape {given.shape}; {name} has {expected.shape}"
    else:
        size, distance = np.abs(expected).max(initial=0), np.abs(given - expected).max(initial=0)
        value = float(distance / size) if size > NOTHING else (0.0 if distance <= NOTHING else np.inf)
    return Difference(quantity, name, value, allowed, what)


# The layer itself


def by_hand(case: Case) -> Arrays:
    """Return outputs, buffers and gradients of the NumPy layer."""
    layer = case.build()
    outputs = forward(layer, copies(case.inputs), copies(case.keywords))
    gradients = backward(layer, copies(case.upstream), list(case.inputs))
    return outputs | layer.buffers | gradients


def forward(layer: Module, inputs: Mapping[str, Any], keywords: Mapping[str, Any]) -> Arrays:
    """Call `layer.forward` and name its outputs.

    A recurrent layer takes its initial state as h0 (and c0); its outputs are y, h_n (and c_n).
    """
    arguments = list(inputs.values())
    if "h0" in inputs:
        arguments[1:] = [state_argument(arguments[1:])]
    names = ("y", "h_n", "c_n") if hasattr(layer, "dhx") else ("y", "weights")
    return dict(zip(names, flatten(layer.forward(*arguments, **keywords)), strict=False))


def backward(layer: Module, upstream: Arrays, names: Sequence[str]) -> Arrays:
    """Call `layer.backward`; return the gradients of inputs and parameters by name."""
    dy, *dlast = upstream.values()
    if hasattr(layer, "dhx"):
        dx = layer.backward(dy, state_argument(dlast))  # type: ignore[call-arg]
        values = flatten((dx, layer.dhx))[: len(names)]  # an initial state may not be given
    else:
        dx = layer.backward(dy)
        values = flatten(dx) if names else []
    gradients = dict(zip(names, values, strict=True)) | layer.grads
    return {f"d{name}": gradient for name, gradient in gradients.items()}


def state_argument(arrays: Sequence[Array]) -> Any:
    """Return the state of a recurrent layer as an argument: one array, or a tuple of two for an LSTM."""
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def flatten(value: Any) -> list[Array]:
    """Return the arrays in nested tuples, in their order."""
    if isinstance(value, tuple):
        return [array for item in value for array in flatten(item)]
    return [np.asarray(value)]


def copies(values: Mapping[str, Any], dtype: DTypeLike = np.float64) -> dict[str, Any]:
    """Return the values, with float arrays copied to a dtype."""
    return {
        name: value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value
        for name, value in values.items()
    }


# The frameworks


def by_torch(case: Case, side: Side) -> Arrays:
    """Return outputs and gradients by torch's autograd; only outputs if their shapes are not the layer's."""
    inputs = {name: torch.tensor(value, requires_grad=True) for name, value in case.inputs.items()}
    state = {name: torch.tensor(value) for name, value in case.state.items()}
    sources = inputs | {name: state[name].requires_grad_() for name in case.parameters()}
    outputs = side(inputs, state)
    values = {name: y.detach().numpy() for name, y in outputs.items()}
    if any(outputs[name].shape != dy.shape for name, dy in case.upstream.items()):
        return values
    loss = sum((outputs[name] * torch.tensor(dy)).sum() for name, dy in case.upstream.items())
    found = torch.autograd.grad(loss, list(sources.values()), allow_unused=True, materialize_grads=True)
    return values | {f"d{name}": g.numpy() for name, g in zip(sources, found, strict=True)}


def by_keras(case: Case, side: Side) -> Arrays:
    """Return outputs and gradients by TensorFlow's GradientTape.

    The tape watches the weights in torch's layout, so the gradients have that layout, too.
    """
    inputs = {name: tf.constant(value) for name, value in case.inputs.items()}
    state = {name: tf.constant(value) for name, value in case.state.items()}
    sources = inputs | {name: state[name] for name in case.parameters()}
    with tf.device("CPU"), tf.GradientTape() as tape:
        tape.watch(list(sources.values()))
        outputs = side(inputs, state)
        loss = tf.add_n([tf.reduce_sum(outputs[name] * dy) for name, dy in case.upstream.items()])
    found = tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    values = {name: np.asarray(y) for name, y in outputs.items()}
    return values | {f"d{name}": tf.convert_to_tensor(g).numpy() for name, g in found.items()}


# Finite differences


def finite_differences(case: Case, own: Arrays) -> list[Difference]:
    """Compare the slope of the loss along a random direction v of each quantity with dot(g, v)."""
    rng = np.random.default_rng(0)
    allowed = COMPLEX_STEP if case.finite == "complex" else CENTRAL
    found = []
    for name in [*case.inputs, *case.parameters()]:
        shape = (case.inputs | case.state)[name].shape
        direction = rng.standard_normal(shape)
        gradient = own.get(f"d{name}")
        value = np.inf
        if gradient is not None and gradient.shape == shape:
            expected, terms = slope(case, name, direction), gradient * direction
            # The terms may cancel, so their absolute sum bounds the accuracy of the slope.
            size = max(float(np.abs(terms).sum()), abs(expected))
            value = abs(expected - float(terms.sum())) / size if size > NOTHING else 0.0
        found.append(Difference(f"d{name}", "finite differences", value, allowed))
    return found


def slope(case: Case, name: str, v: Array) -> float:
    """Return the derivative of the loss L along the direction v of the quantity w called `name`.

    The complex step, Im L(w + i h v) / h, subtracts nothing, so h can be tiny (Martins et al. 2003);
    otherwise (L(w + h v) - L(w - h v)) / 2 h.
    """
    if case.finite == "complex":
        h = 1e-30
        return float(loss(case, name, 1j * h * v, np.complex128).imag / h)
    h = 1e-5
    above, below = (loss(case, name, sign * h * v, np.float64) for sign in (1, -1))
    return float((above - below).real / (2 * h))


def loss(case: Case, name: str, change: Array, dtype: DTypeLike) -> complex:
    """Return the sum of dy * y over all outputs, with `change` added to the quantity `name`."""
    inputs, state = copies(case.inputs, dtype), copies(case.state, dtype)
    target = inputs if name in inputs else state
    target[name] = target[name] + change
    layer = case.make(dtype)
    layer.load_state_dict(state)
    outputs = forward(layer, inputs, copies(case.keywords, dtype))
    return complex(sum((outputs[key] * dy).sum() for key, dy in case.upstream.items()))


# Side effects and precision


def side_effects(case: Case) -> Iterator[Difference]:
    """Yield side effects that no layer may have, and results in float32 that are not float32."""
    layer, names = case.build(), list(case.inputs)
    originals = {"input": case.inputs, "argument": case.keywords, "gradient of": case.upstream}
    given = {kind: copies(values) for kind, values in originals.items()}
    outputs = forward(layer, given["input"], given["argument"])
    y_before = {name: value.copy() for name, value in outputs.items()}
    first, second = (
        {name: value.copy() for name, value in backward(layer, given["gradient of"], names).items()}
        for _ in range(2)
    )
    pairs = [
        (f"{kind} {name}", "was modified in place", value, originals[kind][name])
        for kind, values in given.items()
        for name, value in values.items()
    ]
    pairs += [(name, "was modified by backward", outputs[name], y) for name, y in y_before.items()]
    pairs += [(name, "changes when backward is called again", second[name], g) for name, g in first.items()]
    pairs += [
        (name, "was modified by forward or backward", layer.params[name], case.state[name])
        for name in case.parameters()
    ]
    for quantity, what, value, expected in pairs:
        if not np.array_equal(value, expected):
            yield Difference(quantity, "itself", np.inf, 0.0, what)
    yield from precision(case, y_before, first)


def precision(case: Case, exact_outputs: Arrays, exact_gradients: Arrays) -> Iterator[Difference]:
    """Compare the layer in float32 with its results in float64; every result must be float32."""

    def check(name: str, given: Array, expected: Array) -> Difference:
        if given.dtype != np.float32:
            what = f"is {given.dtype} although all inputs are float32"
            return Difference(name, "float32", np.inf, 0.0, what)
        scale = max(float(np.abs(expected).max(initial=0)), 0.1)
        value = float(np.abs(given - expected).max(initial=0)) / scale
        return Difference(name, "itself in float32", value, 1e-3)

    single = np.float32
    layer = case.build(single)
    outputs = forward(layer, copies(case.inputs, single), copies(case.keywords, single))
    found = [check(name, outputs[name], y) for name, y in exact_outputs.items()]
    found += [check(name, b, b) for name, b in layer.buffers.items() if b.dtype.kind == "f"]
    yield from found
    if not any(one.failed for one in found):  # backward refuses a gradient of another dtype
        gradients = backward(layer, copies(case.upstream, single), list(case.inputs))
        yield from (check(name, gradients[name], g) for name, g in exact_gradients.items())
