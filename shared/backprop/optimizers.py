"""Optimizers: `step(grads)` updates the parameters in place.

g is the gradient, w the weight, t the number of the step from 1, wd the weight decay. Arguments and
defaults are those of torch.optim. formula="torch" gives torch's update and formula="keras" Keras's.
They differ in where the learning rate and eps enter, and in weight decay: torch adds wd w to g
(except in AdamW), Keras subtracts lr wd w from the weight before the step. An argument that neither
has, l1, adds l1 sign(w) to g.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from shared.backprop.module import Array

State = dict[str, Array]  # the moments of one parameter, by name


@dataclass(repr=False, eq=False)
class Optimizer(ABC):
    """Base class of the optimizers: the states of the parameters, and weight decay.

    Args:
        params: the parameters by name, such as `module.params`; they are updated in place.
        lr: the learning rate; assign a new one at any time.
        weight_decay: wd, see above.
        formula: "torch" or "keras".
        l1: strength of the L1 penalty, see above.
    """

    params: Mapping[str, Array]
    lr: float = 1e-3
    formula: str = field(default="torch", kw_only=True)
    l1: float = field(default=0.0, kw_only=True)
    weight_decay = 0.0
    decoupled = False  # whether torch's formula, too, subtracts lr wd w from the weight

    def __post_init__(self) -> None:
        if self.formula not in ("torch", "keras"):
            raise ValueError(f"{self}: expected formula=torch or keras, got {self.formula}")
        given = [self.lr, self.weight_decay, self.l1]
        if not all(value >= 0 for value in given):
            raise ValueError(f"{self}: lr, weight_decay and l1 must not be negative, got {given}")
        self.params = dict(self.params)
        self.keras = self.formula == "keras"
        self.t = 0
        self.state = {name: self.start(w) for name, w in self.params.items()}

    def __repr__(self) -> str:
        return type(self).__name__

    def start(self, w: Array) -> State:
        """Return the state of parameter `w` before the first step."""
        return {}

    @abstractmethod
    def change(self, g: Array, state: State) -> Array:
        """Update the state; return the change to add to the weight."""

    def step(self, grads: Mapping[str, Array]) -> None:
        """Update every parameter, given its gradient.

        Raises:
            ValueError: a gradient is missing, or its shape does not fit.
        """
        for name, w in self.params.items():
            given = grads[name].shape if name in grads else None
            if given != w.shape:
                raise ValueError(f"{self}: expected a gradient of {name} {w.shape}, got {given}")
        self.t += 1
        for name, w in self.params.items():
            g = grads[name]
            if self.l1:
                g = g + self.l1 * np.sign(w)
            if self.weight_decay and (self.keras or self.decoupled):
                w -= self.lr * self.weight_decay * w
            elif self.weight_decay:
                g = g + self.weight_decay * w
            w += self.change(g, self.state[name])


@dataclass(repr=False, eq=False)
class SGD(Optimizer):
    """Gradient descent, with momentum mu and dampening d (Sutskever et al. 2013, section 2).

    torch:  v = g at t = 1, then v = mu v + (1 - d) g;   w -= lr v;   Nesterov: w -= lr (g + mu v)
    keras:  v = mu v - lr g, from 0;                     w += v;      Nesterov: w += mu v - lr g

    Without weight decay the two agree as long as lr is constant. Keras has no dampening.
    """

    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("SGD: nesterov needs momentum and no dampening")
        if self.formula == "keras" and self.dampening:
            raise ValueError("SGD: formula=keras has no dampening")
        super().__post_init__()

    def start(self, w: Array) -> State:
        """Return v = 0, if there is momentum."""
        return {"v": np.zeros_like(w)} if self.momentum else {}

    def change(self, g: Array, state: State) -> Array:
        """Return the step: -lr v, or what the formula gives instead."""
        if not self.momentum:
            return -self.lr * g
        if self.keras:
            v = state["v"] = self.momentum * state["v"] - self.lr * g
            return self.momentum * v - self.lr * g if self.nesterov else v
        v = g.copy() if self.t == 1 else self.momentum * state["v"] + (1 - self.dampening) * g
        state["v"] = v
        return -self.lr * (g + self.momentum * v if self.nesterov else v)


@dataclass(repr=False, eq=False)
class RMSprop(Optimizer):
    """v = alpha v + (1 - alpha) g^2 (Hinton 2012, lecture 6e).

    If centered, v - m^2 replaces v below, where m = alpha m + (1 - alpha) g.

    torch:  w -= lr u,  u = g / (sqrt(v) + eps);   momentum mu: b = mu b + u;      w -= lr b
    keras:  w -= lr u,  u = g / sqrt(v + eps);     momentum mu: b = mu b + lr u;   w -= b
    """

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    def start(self, w: Array) -> State:
        """Return v, m and b, all 0."""
        return {name: np.zeros_like(w) for name in "vmb"}

    def change(self, g: Array, state: State) -> Array:
        """Return the step: -lr u, or what the formula gives instead."""
        v = state["v"] = self.alpha * state["v"] + (1 - self.alpha) * g * g
        if self.centered:
            m = state["m"] = self.alpha * state["m"] + (1 - self.alpha) * g
            v = v - m * m
        u = g / (np.sqrt(v + self.eps) if self.keras else np.sqrt(v) + self.eps)
        if not self.momentum:
            return -self.lr * u
        b = state["b"] = self.momentum * state["b"] + (self.lr * u if self.keras else u)
        return -b if self.keras else -self.lr * b


@dataclass(repr=False, eq=False)
class Adagrad(Optimizer):
    """v = v + g^2, starting at initial_accumulator_value (Duchi et al. 2011, JMLR 12, section 1.1).

    torch:  w -= lr / (1 + (t - 1) lr_decay) * g / (sqrt(v) + eps)
    keras:  w -= lr * g / sqrt(v + eps)        (where initial_accumulator_value is 0.1 by default)
    """

    lr: float = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    def __post_init__(self) -> None:
        if self.formula == "keras" and self.lr_decay:
            raise ValueError("Adagrad: formula=keras has no lr_decay")
        super().__post_init__()

    def start(self, w: Array) -> State:
        """Return v."""
        return {"v": np.full_like(w, self.initial_accumulator_value)}

    def change(self, g: Array, state: State) -> Array:
        """Return the step."""
        v = state["v"] = state["v"] + g * g
        if self.keras:
            return -self.lr * g / np.sqrt(v + self.eps)
        lr = self.lr / (1 + (self.t - 1) * self.lr_decay)
        return -lr * g / (np.sqrt(v) + self.eps)


@dataclass(repr=False, eq=False)
class Adam(Optimizer):
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2 (Kingma and Ba 2015, arXiv:1412.6980).

    torch:  w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)      (algorithm 1)
    keras:  w -= lr sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)        (section 2, end)
    """

    betas: Sequence[float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def start(self, w: Array) -> State:
        """Return m and v, both 0."""
        return {"m": np.zeros_like(w), "v": np.zeros_like(w)}

    def change(self, g: Array, state: State) -> Array:
        """Return the step."""
        b1, b2 = self.betas
        m = state["m"] = b1 * state["m"] + (1 - b1) * g
        v = state["v"] = b2 * state["v"] + (1 - b2) * g * g
        root = (1 - b2**self.t) ** 0.5
        if self.keras:
            return -self.lr * root / (1 - b1**self.t) * m / (np.sqrt(v) + self.eps)
        return -self.lr / (1 - b1**self.t) * m / (np.sqrt(v) / root + self.eps)


@dataclass(repr=False, eq=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: w -= lr wd w comes before Adam's step.

    Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2, with lr as the schedule multiplier, as
    in torch and Keras.
    """

    weight_decay: float = 1e-2
    decoupled = True


def clip_grad_norm_(grads: dict[str, Array], max_norm: float) -> float:
    """Scale all gradients in place so that their total norm is at most max_norm; return the old norm n.

    n = sqrt(sum g^2),  g *= min(1, max_norm / (n + 1e-6))  (Pascanu et al. 2013, arXiv:1211.5063,
    algorithm 1, with torch's 1e-6).
    """
    norm = sum(float(np.square(g, dtype=np.float64).sum()) for g in grads.values()) ** 0.5
    if not (factor := max_norm / (norm + 1e-6)) >= 1:  # also if the norm is NaN: then every gradient is
        for g in grads.values():
            g *= factor
    return norm


def clip_grad_value_(grads: dict[str, Array], clip_value: float) -> None:
    """Clip every number of all gradients to [-clip_value, clip_value], in place."""
    for g in grads.values():
        np.clip(g, -clip_value, clip_value, out=g)
