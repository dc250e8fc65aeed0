"""The optimizers, step by step against torch.optim and keras.optimizers."""

from collections.abc import Callable
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


def rates(lr: float) -> list[float]:
    """Return a learning rate for each step: another one each time."""
    return [lr * 0.5**step for step in range(STEPS)]


@dataclass(frozen=True)
class OptimizerEntry:
    """An optimizer: its options, and how Keras calls them (or why it cannot be compared)."""

    name: str
    options: st.SearchStrategy[Options]
    keras: Callable[[Options], dict[str, Any] | str]


def drawn(seed: int) -> tuple[Arrays, list[Arrays]]:
    """Return weights and the gradients of each step."""
    rng = np.random.default_rng(seed)
    weights = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    return weights, [
        {name: rng.standard_normal(shape) for name, shape in SHAPES.items()} for _ in range(STEPS)
    ]


def by_hand(lib: Any, name: str, options: Options, seed: int, formula: str) -> list[Arrays]:
    """Return the weights after each step of the NumPy optimizer."""
    params, gradients = drawn(seed)
    lr = options["lr"]
    optimizer = getattr(lib, name)(params, **options, formula=formula)
    path = []
    for rate, grads in zip(rates(lr), gradients, strict=True):
        optimizer.lr = rate
        given = {key: g.copy() for key, g in grads.items()}
        optimizer.step(given)
        if any((given[key] != grads[key]).any() for key in grads):
            raise AssertionError(f"{name}: a gradient was changed in place")
        path.append({key: w.copy() for key, w in params.items()})
    return path


def by_torch(name: str, options: Options, seed: int) -> list[Arrays]:
    """Return the weights after each step of torch.optim."""
    weights, gradients = drawn(seed)
    params = {key: torch.tensor(w, requires_grad=True) for key, w in weights.items()}
    optimizer = getattr(torch.optim, name)(params.values(), **options)
    path = []
    for rate, grads in zip(rates(options["lr"]), gradients, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        for key, g in grads.items():
            params[key].grad = torch.tensor(g)
        optimizer.step()
        path.append({key: w.detach().numpy().copy() for key, w in params.items()})
    return path


def by_keras(name: str, arguments: dict[str, Any], lr: float, seed: int) -> list[Arrays]:
    """Return the weights after each step of Keras's optimizer."""
    weights, gradients = drawn(seed)
    variables = {key: keras.Variable(w, dtype="float64") for key, w in weights.items()}
    optimizer = getattr(keras.optimizers, name)(lr, **arguments)
    path = []
    for rate, grads in zip(rates(lr), gradients, strict=True):
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


ROUNDED = "Keras's optimizers round their arguments to float32: exact ones are compared"


def choices(**values: tuple[list[Any], list[Any]]) -> st.SearchStrategy[Options]:
    """Return options that are either as people write them, or as float32 has them exactly."""
    usual, exact = (
        st.fixed_dictionaries({key: st.sampled_from(both[n]) for key, both in values.items()}) for n in (0, 1)
    )
    return st.one_of(exact, usual)


LR = ([0.1, 0.01], [0.125, 2.0**-7])
DECAY = ([0.0, 0.1], [0.0, 0.125])
EPS = ([1e-8, 1e-2], [2.0**-26, 2.0**-7])
MOMENTUM = ([0.0, 0.9], [0.0, 0.875])
BETAS = ([(0.9, 0.999), (0.5, 0.8)], [(0.875, 0.9375), (0.5, 0.75)])
FLAG = ([False, True],) * 2
ADAM: dict[str, Any] = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": DECAY}


def in_keras(o: Options, **others: str) -> dict[str, Any] | str:
    """Return the options under Keras's names, or why they cannot be compared."""
    numbers = [n for value in o.values() for n in (value if isinstance(value, tuple) else (value,))]
    if any(float(np.float32(n)) != n for n in numbers):
        return ROUNDED
    names = {"eps": "epsilon", "alpha": "rho"}
    given = {names.get(key, key): value for key, value in o.items() if key != "lr"}
    if "betas" in given:
        given["beta_1"], given["beta_2"] = given.pop("betas")
    for name, lacking in others.items():
        if given.pop(name):
            return lacking
    return given


def without_clash(o: Options) -> Options:
    """Return options that SGD takes: Nesterov needs momentum and no dampening."""
    if o["nesterov"]:
        return o | {"momentum": o["momentum"] or 0.5, "dampening": 0.0}
    return o


OPTIMIZERS = {
    one.name: one
    for one in (
        OptimizerEntry(
            "SGD",
            choices(
                lr=LR,
                momentum=MOMENTUM,
                dampening=([0.0, 0.3], [0.0, 0.25]),
                weight_decay=DECAY,
                nesterov=FLAG,
            ).map(without_clash),
            lambda o: in_keras(o, dampening="Keras's SGD has no dampening"),
        ),
        OptimizerEntry(
            "RMSprop",
            choices(
                lr=LR,
                alpha=([0.99, 0.5], [0.75, 0.5]),
                eps=EPS,
                weight_decay=DECAY,
                momentum=MOMENTUM,
                centered=FLAG,
            ),
            in_keras,
        ),
        OptimizerEntry(
            "Adagrad",
            choices(
                lr=LR,
                lr_decay=([0.0, 0.2], [0.0, 0.0, 0.25]),
                weight_decay=DECAY,
                eps=EPS,
                initial_accumulator_value=([0.0, 0.1], [0.0, 0.125]),
            ),
            lambda o: in_keras(o, lr_decay="Keras's Adagrad has no lr_decay"),
        ),
        OptimizerEntry("Adam", choices(**ADAM), in_keras),
        OptimizerEntry("AdamW", choices(**ADAM), in_keras),
    )
}


def compare_optimizer(lib: Any, name: str, options: Options, seed: int) -> list[Difference]:
    """Compare an optimizer with torch.optim, and with formula="keras" with Keras's own."""
    own = by_hand(lib, name, options, seed, "torch")
    found = compare_paths(name, own, by_torch(name, options, seed), "torch")
    arguments = OPTIMIZERS[name].keras(options)
    if not isinstance(arguments, str):
        own = by_hand(lib, name, options, seed, "keras")
        found += compare_paths(name, own, by_keras(name, arguments, options["lr"], seed), "Keras")
    return found


# Clipping


def compare_clipping(lib: Any, name: str, options: Options, seed: int) -> list[Difference]:
    """Compare clip_grad_norm_ and clip_grad_value_ with torch.nn.utils."""
    grads = drawn(seed)[1][0]
    params = [torch.zeros(*g.shape, dtype=torch.float64, requires_grad=True) for g in grads.values()]
    for w, g in zip(params, grads.values(), strict=True):
        w.grad = torch.tensor(g)
    expected = getattr(torch.nn.utils, name)(params, options["limit"])
    given = getattr(lib, name)(grads, options["limit"])
    found = []
    if expected is not None:
        norms = (np.asarray(given), expected.numpy())
        found.append(difference(name, "norm", *norms, "torch", ALLOWED))
    for (key, g), w in zip(grads.items(), params, strict=True):
        assert w.grad is not None
        found.append(difference(name, f"d{key}", g, w.grad.numpy(), "torch", ALLOWED))
    return found


CLIPPING: dict[str, st.SearchStrategy[Options]] = {
    "clip_grad_norm_": st.fixed_dictionaries({"limit": st.sampled_from([0.1, 1.0, 100.0])}),
    "clip_grad_value_": st.fixed_dictionaries({"limit": st.sampled_from([0.1, 1.0, 100.0])}),
}
