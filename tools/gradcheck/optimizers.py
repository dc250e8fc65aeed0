"""The optimizers, step by step against torch.optim and keras.optimizers, and gradient clipping."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import shared.parity  # noqa: F401  (before TensorFlow)

# isort: split
import keras
import numpy as np
import tensorflow as tf
import torch
from hypothesis import strategies as st

from tools.gradcheck.comparison import Arrays, Difference, difference
from tools.gradcheck.entries import ENTRIES, Entry, Options, Outcome

ALLOWED = 1e-10
STEPS = 6
SHAPES = {"w": (3, 2), "b": (2,)}


def draw(seed: int) -> tuple[Arrays, list[Arrays]]:
    """Return random weights, and the gradients of each step."""
    rng = np.random.default_rng(seed)
    weights, *gradients = (
        {name: rng.standard_normal(shape) for name, shape in SHAPES.items()} for _ in range(STEPS + 1)
    )
    return weights, gradients


def steps(lr: float, gradients: list[Arrays]) -> Iterator[tuple[float, Arrays]]:
    """Yield the learning rate, which changes with every step, and the gradients of each step."""
    for step, grads in enumerate(gradients):
        yield lr * 0.5**step, grads


def by_hand(lib: Any, name: str, options: Options, seed: int, formula: str) -> list[Arrays]:
    """Return the weights after each step of the NumPy optimizer."""
    params, gradients = draw(seed)
    optimizer = getattr(lib, name)(params, **options, formula=formula)
    path = []
    for optimizer.lr, grads in steps(options["lr"], gradients):
        given = {key: g.copy() for key, g in grads.items()}
        optimizer.step(given)
        if any((given[key] != grads[key]).any() for key in grads):
            raise RuntimeError("a gradient was modified in place")
        path.append({key: w.copy() for key, w in params.items()})
    return path


def by_torch(name: str, options: Options, seed: int) -> list[Arrays]:
    """Return the weights after each step of torch.optim; an L1 penalty is part of the loss."""
    weights, gradients = draw(seed)
    params = {key: torch.tensor(w, requires_grad=True) for key, w in weights.items()}
    options, l1 = without_l1(options)
    optimizer = getattr(torch.optim, name)(params.values(), **options)
    path = []
    for optimizer.param_groups[0]["lr"], grads in steps(options["lr"], gradients):
        optimizer.zero_grad()
        for key, g in grads.items():
            ((params[key] * torch.tensor(g)).sum() + l1 * params[key].abs().sum()).backward()
        optimizer.step()
        path.append({key: w.detach().numpy().copy() for key, w in params.items()})
    return path


def by_keras(name: str, arguments: dict[str, Any], lr: float, seed: int) -> list[Arrays]:
    """Return the weights after each step of Keras's optimizer, with an L1 regularizer."""
    weights, gradients = draw(seed)
    variables = {key: keras.Variable(w, dtype="float64") for key, w in weights.items()}
    arguments, l1 = without_l1(arguments)
    optimizer = getattr(keras.optimizers, name)(lr, **arguments)
    path = []
    for rate, grads in steps(lr, gradients):
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            penalty = sum(keras.regularizers.L1(l1)(w) for w in variables.values())
            loss = penalty + sum(tf.reduce_sum(w * grads[key]) for key, w in variables.items())
        trained = list(variables.values())
        optimizer.apply(tape.gradient(loss, trained), trained)
        path.append({key: np.asarray(w) for key, w in variables.items()})
    return path


def without_l1(options: Options) -> tuple[Options, float]:
    """Return the options of an optimizer without the strength of the L1 penalty, and that."""
    return {key: value for key, value in options.items() if key != "l1"}, options.get("l1", 0.0)


def compare_paths(own: list[Arrays], other: list[Arrays], reference: str) -> list[Difference]:
    """Compare every weight after every step."""
    return [
        difference(f"{key} after step {step}", ours[key], theirs[key], reference, ALLOWED)
        for step, (ours, theirs) in enumerate(zip(own, other, strict=True), start=1)
        for key in theirs
    ]


@dataclass(frozen=True, kw_only=True)
class OptimizerEntry(Entry):
    """An optimizer; `absent` is an option that Keras lacks."""

    absent: str = ""

    def compare(self, library: Any, options: Options, seed: int, references: Sequence[str]) -> Outcome:
        """Compare with torch.optim and, with formula="keras", with Keras's own optimizer."""
        own = by_hand(library, self.name, options, seed, "torch")
        found = compare_paths(own, by_torch(self.name, options, seed), "torch")
        arguments = self.keras_arguments(options)
        if isinstance(arguments, str):
            return Outcome(found, [arguments])
        own = by_hand(library, self.name, options, seed, "keras")
        other = by_keras(self.name, arguments, options["lr"], seed)
        return Outcome([*found, *compare_paths(own, other, "Keras")])

    def keras_arguments(self, options: Options) -> Options | str:
        """Return the options under Keras's names, or why Keras cannot be compared."""
        if any(np.any(np.float32(value) != np.float64(value)) for value in options.values()):
            return "Keras's optimizers round their arguments to float32, so only exact ones are compared"
        if options.get(self.absent):
            return f"Keras's {self.name} has no {self.absent}"
        names = {"eps": "epsilon", "alpha": "rho"}
        given = {
            names.get(key, key): value for key, value in options.items() if key not in ("lr", self.absent)
        }
        if "betas" in given:
            given["beta_1"], given["beta_2"] = given.pop("betas")
        return given


class ClippingEntry(Entry):
    """clip_grad_norm_ or clip_grad_value_, against torch.nn.utils."""

    def compare(self, library: Any, options: Options, seed: int, references: Sequence[str]) -> Outcome:
        grads = draw(seed)[1][0]
        params = {key: torch.zeros(*g.shape, dtype=torch.float64) for key, g in grads.items()}
        for key, g in grads.items():
            params[key].grad = torch.tensor(g)
        expected = getattr(torch.nn.utils, self.name)(params.values(), options["limit"])
        given = getattr(library, self.name)(grads, options["limit"])
        pairs = {f"d{key}": (g, params[key].grad.numpy()) for key, g in grads.items()}  # type: ignore[union-attr]
        if expected is not None:
            pairs["norm"] = (np.asarray(given), expected.numpy())
        found = [difference(key, *pair, "torch", ALLOWED) for key, pair in pairs.items()]
        return Outcome(found, note="Keras clips inside its optimizers, so only torch is compared")


def choices(**values: tuple[list[Any], list[Any]]) -> st.SearchStrategy[Options]:
    """Return options that are all usual values, or all exact in float32."""
    usual, exact = (
        st.fixed_dictionaries({key: st.sampled_from(both[n]) for key, both in values.items()}) for n in (0, 1)
    )
    return st.one_of(exact, usual)


def valid_nesterov(options: Options) -> Options:
    """Return options that SGD accepts: Nesterov needs momentum and no dampening."""
    if options["nesterov"]:
        return options | {"momentum": options["momentum"] or 0.5, "dampening": 0.0}
    return options


LR = ([0.1, 0.01], [0.125, 2.0**-7])
DECAY = ([0.0, 0.1], [0.0, 0.125])
L1 = ([0.0, 0.01], [0.0, 0.0625])
EPS = ([1e-8, 1e-2], [2.0**-26, 2.0**-7])
MOMENTUM = ([0.0, 0.9], [0.0, 0.875])
FLAG = ([False, True],) * 2
DAMPENING = ([0.0, 0.3], [0.0, 0.25])
LR_DECAY = ([0.0, 0.2], [0.0, 0.0, 0.25])
START = ([0.0, 0.1], [0.0, 0.125])
ALPHA = ([0.99, 0.5], [0.75, 0.5])
BETAS = ([(0.9, 0.999), (0.5, 0.8)], [(0.875, 0.9375), (0.5, 0.75)])

SGD = choices(lr=LR, momentum=MOMENTUM, dampening=DAMPENING, weight_decay=DECAY, l1=L1, nesterov=FLAG)
RMSPROP = choices(lr=LR, alpha=ALPHA, eps=EPS, weight_decay=DECAY, l1=L1, momentum=MOMENTUM, centered=FLAG)
ADAGRAD = choices(
    lr=LR, lr_decay=LR_DECAY, weight_decay=DECAY, l1=L1, eps=EPS, initial_accumulator_value=START
)
ADAM = choices(lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, l1=L1)
LIMITS = st.fixed_dictionaries({"limit": st.sampled_from([0.1, 1.0, 100.0])})

for one in [
    OptimizerEntry("SGD", SGD.map(valid_nesterov), absent="dampening"),
    OptimizerEntry("RMSprop", RMSPROP),
    OptimizerEntry("Adagrad", ADAGRAD, absent="lr_decay"),
    OptimizerEntry("Adam", ADAM),
    OptimizerEntry("AdamW", ADAM),
    ClippingEntry("clip_grad_norm_", LIMITS),
    ClippingEntry("clip_grad_value_", LIMITS),
]:
    ENTRIES[one.name] = one
