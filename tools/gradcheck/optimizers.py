"""The optimizers, step by step against torch.optim and keras.optimizers, and gradient clipping."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import shared.parity  # noqa: F401  (before TensorFlow)

# isort: split
import keras
import numpy as np
import torch
from hypothesis import strategies as st

from shared.backprop.module import Array
from tools.gradcheck.comparison import Difference, difference
from tools.gradcheck.entries import Options

ALLOWED = 1e-10
STEPS = 6
SHAPES = {"w": (3, 2), "b": (2,)}

Arrays = dict[str, Array]


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
            raise AssertionError(f"{name}: a gradient was modified in place")
        path.append({key: w.copy() for key, w in params.items()})
    return path


def by_torch(name: str, options: Options, seed: int) -> list[Arrays]:
    """Return the weights after each step of torch.optim."""
    weights, gradients = draw(seed)
    params = {key: torch.tensor(w, requires_grad=True) for key, w in weights.items()}
    optimizer = getattr(torch.optim, name)(params.values(), **options)
    path = []
    for optimizer.param_groups[0]["lr"], grads in steps(options["lr"], gradients):
        for key, g in grads.items():
            params[key].grad = torch.tensor(g)
        optimizer.step()
        path.append({key: w.detach().numpy().copy() for key, w in params.items()})
    return path


def by_keras(name: str, arguments: dict[str, Any], lr: float, seed: int) -> list[Arrays]:
    """Return the weights after each step of Keras's optimizer."""
    weights, gradients = draw(seed)
    variables = {key: keras.Variable(w, dtype="float64") for key, w in weights.items()}
    optimizer = getattr(keras.optimizers, name)(lr, **arguments)
    path = []
    for rate, grads in steps(lr, gradients):
        optimizer.learning_rate.assign(rate)
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in grads.values()], list(variables.values()))
        path.append({key: np.asarray(w) for key, w in variables.items()})
    return path


def compare_paths(name: str, own: list[Arrays], other: list[Arrays], reference: str) -> list[Difference]:
    """Compare every weight after every step."""
    return [
        difference(name, f"{key} after step {step}", ours[key], theirs[key], reference, ALLOWED)
        for step, (ours, theirs) in enumerate(zip(own, other, strict=True), start=1)
        for key in theirs
    ]


def choices(**values: tuple[list[Any], list[Any]]) -> st.SearchStrategy[Options]:
    """Return options that are all usual values, or all exact in float32."""
    usual, exact = (
        st.fixed_dictionaries({key: st.sampled_from(both[n]) for key, both in values.items()}) for n in (0, 1)
    )
    return st.one_of(exact, usual)


LR = ([0.1, 0.01], [0.125, 2.0**-7])
DECAY = ([0.0, 0.1], [0.0, 0.125])
EPS = ([1e-8, 1e-2], [2.0**-26, 2.0**-7])
MOMENTUM = ([0.0, 0.9], [0.0, 0.875])
FLAG = ([False, True],) * 2
ADAM = choices(
    lr=LR, betas=([(0.9, 0.999), (0.5, 0.8)], [(0.875, 0.9375), (0.5, 0.75)]), eps=EPS, weight_decay=DECAY
)


def in_keras(options: Options, **absent: str) -> dict[str, Any] | str:
    """Return the options under Keras's names, or why Keras cannot be compared.

    Args:
        absent: the options that Keras lacks, with that reason.
    """
    numbers = [n for value in options.values() for n in (value if isinstance(value, tuple) else (value,))]
    if any(float(np.float32(n)) != n for n in numbers):
        return "Keras's optimizers round their arguments to float32, so only exact ones are compared"
    names = {"eps": "epsilon", "alpha": "rho"}
    given = {names.get(key, key): value for key, value in options.items() if key != "lr"}
    if "betas" in given:
        given["beta_1"], given["beta_2"] = given.pop("betas")
    return next((reason for name, reason in absent.items() if given.pop(name)), given)


def valid_nesterov(options: Options) -> Options:
    """Return options that SGD accepts: Nesterov needs momentum and no dampening."""
    if options["nesterov"]:
        return options | {"momentum": options["momentum"] or 0.5, "dampening": 0.0}
    return options


@dataclass(frozen=True)
class OptimizerEntry:
    """The options of an optimizer; `keras` returns them for Keras, or why it cannot be compared."""

    options: st.SearchStrategy[Options]
    keras: Callable[[Options], dict[str, Any] | str] = in_keras


OPTIMIZERS = {
    "SGD": OptimizerEntry(
        choices(
            lr=LR, momentum=MOMENTUM, dampening=([0.0, 0.3], [0.0, 0.25]), weight_decay=DECAY, nesterov=FLAG
        ).map(valid_nesterov),
        lambda options: in_keras(options, dampening="Keras's SGD has no dampening"),
    ),
    "RMSprop": OptimizerEntry(
        choices(
            lr=LR,
            alpha=([0.99, 0.5], [0.75, 0.5]),
            eps=EPS,
            weight_decay=DECAY,
            momentum=MOMENTUM,
            centered=FLAG,
        )
    ),
    "Adagrad": OptimizerEntry(
        choices(
            lr=LR,
            lr_decay=([0.0, 0.2], [0.0, 0.0, 0.25]),
            weight_decay=DECAY,
            eps=EPS,
            initial_accumulator_value=([0.0, 0.1], [0.0, 0.125]),
        ),
        lambda options: in_keras(options, lr_decay="Keras's Adagrad has no lr_decay"),
    ),
    "Adam": OptimizerEntry(ADAM),
    "AdamW": OptimizerEntry(ADAM),
}


def compare_optimizer(lib: Any, name: str, options: Options, seed: int) -> list[Difference]:
    """Compare an optimizer with torch.optim and, with formula="keras", with Keras's own."""
    own = by_hand(lib, name, options, seed, "torch")
    found = compare_paths(name, own, by_torch(name, options, seed), "torch")
    arguments = OPTIMIZERS[name].keras(options)
    if not isinstance(arguments, str):
        own = by_hand(lib, name, options, seed, "keras")
        found += compare_paths(name, own, by_keras(name, arguments, options["lr"], seed), "Keras")
    return found


# Clipping

LIMITS = st.fixed_dictionaries({"limit": st.sampled_from([0.1, 1.0, 100.0])})
CLIPPING = {"clip_grad_norm_": LIMITS, "clip_grad_value_": LIMITS}


def compare_clipping(lib: Any, name: str, options: Options, seed: int) -> list[Difference]:
    """Compare clip_grad_norm_ or clip_grad_value_ with torch.nn.utils."""
    grads = draw(seed)[1][0]
    params = {key: torch.zeros(*g.shape, dtype=torch.float64) for key, g in grads.items()}
    for key, g in grads.items():
        params[key].grad = torch.tensor(g)
    expected = getattr(torch.nn.utils, name)(params.values(), options["limit"])
    given = getattr(lib, name)(grads, options["limit"])
    pairs = {f"d{key}": (g, params[key].grad.numpy()) for key, g in grads.items()}  # type: ignore[union-attr]
    if expected is not None:
        pairs["norm"] = (np.asarray(given), expected.numpy())
    return [difference(name, key, ours, theirs, "torch", ALLOWED) for key, (ours, theirs) in pairs.items()]
