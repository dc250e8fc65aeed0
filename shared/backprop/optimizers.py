"""Optimizers: `step(grads)` changes the parameters in place.

g is the gradient, w the weight, t the step from 1, wd the weight decay. Arguments and defaults are
those of torch.optim. formula="torch" is torch's update; formula="keras" is Keras's, where it
differs: in where the learning rate meets the momentum, where eps stands, and in weight decay, which
in torch adds wd w to g (AdamW apart) and in Keras takes lr wd w off the weight, before the step.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from shared.backprop.module import Array

State = dict[str, Array]  # of one parameter, by the name of the quantity


class Optimizer(ABC):
    """What the optimizers have in common: the parameters, a state for each, and weight decay.

    Args:
        params: the parameters by name, as `module.params`; they are changed in place.
        lr: the learning rate; assign another one at any time.
        weight_decay: wd, see above.
        formula: "torch" or "keras".
    """

    decoupled = False  # whether wd w is taken off the weight in torch's formula too

    def __init__(
        self, params: Mapping[str, Array], lr: float, weight_decay: float = 0.0, *, formula: str = "torch"
    ) -> None:
        if formula not in ("torch", "keras"):
            raise ValueError(f"{self}: expected formula torch or keras, given {formula}")
        if not lr >= 0 or not weight_decay >= 0:
            raise ValueError(f"{self}: expected lr and weight_decay from 0, given {lr} and {weight_decay}")
        self.params, self.lr, self.weight_decay = dict(params), lr, weight_decay
        self.keras = formula == "keras"
        self.t = 0
        self.state = {name: self.start(w) for name, w in self.params.items()}

    def __repr__(self) -> str:
        return type(self).__name__

    def start(self, w: Array) -> State:
        """Return the state of parameter `w` before the first step."""
        return {}

    @abstractmethod
    def change(self, g: Array, state: State) -> Array:
        """Update the state; return what is to be added to the weight."""

    def step(self, grads: Mapping[str, Array]) -> None:
        """Change every parameter by its gradient.

        Raises:
            ValueError: a gradient is missing, or its shape does not fit.
        """
        for name, w in self.params.items():
            given = grads[name].shape if name in grads else None
            if given != w.shape:
                raise ValueError(f"{self}: expected a gradient of {name} {w.shape}, given {given}")
        self.t += 1
        for name, w in self.params.items():
            g = grads[name]
            if self.weight_decay and (self.keras or self.decoupled):
                w -= self.lr * self.weight_decay * w
            elif self.weight_decay:
                g = g + self.weight_decay * w
            w += self.change(g, self.state[name])


class SGD(Optimizer):
    """Gradient descent, with momentum mu and dampening d (Sutskever et al. 2013, section 2).

    torch:  v = g at t = 1, then v = mu v + (1 - d) g;   w -= lr v;   Nesterov: w -= lr (g + mu v)
    keras:  v = mu v - lr g, from 0;                     w += v;      Nesterov: w += mu v - lr g

    Without weight decay the two agree as long as lr stays the same. Keras has no dampening.
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        formula: str = "torch",
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: expected momentum and no dampening with nesterov")
        if formula == "keras" and dampening:
            raise ValueError("SGD: expected no dampening with formula=keras")
        self.momentum, self.dampening, self.nesterov = momentum, dampening, nesterov
        super().__init__(params, lr, weight_decay, formula=formula)

    def start(self, w: Array) -> State:
        """Return v = 0, where there is momentum."""
        return {"v": np.zeros_like(w)} if self.momentum else {}

    def change(self, g: Array, state: State) -> Array:
        """Return -lr v, or what the formula has in its place."""
        if not self.momentum:
            return -self.lr * g
        if self.keras:
            v = state["v"] = self.momentum * state["v"] - self.lr * g
            return self.momentum * v - self.lr * g if self.nesterov else v
        v = g.copy() if self.t == 1 else self.momentum * state["v"] + (1 - self.dampening) * g
        state["v"] = v
        return -self.lr * (g + self.momentum * v if self.nesterov else v)


class RMSprop(Optimizer):
    """v = alpha v + (1 - alpha) g^2 (Hinton 2012, lecture 6e); centered: v - m^2 takes the place of
    v below, m = alpha m + (1 - alpha) g.

    torch:  w -= lr u,  u = g / (sqrt(v) + eps);   momentum mu: b = mu b + u;      w -= lr b
    keras:  w -= lr u,  u = g / sqrt(v + eps);     momentum mu: b = mu b + lr u;   w -= b
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        formula: str = "torch",
    ) -> None:
        self.alpha, self.eps, self.momentum, self.centered = alpha, eps, momentum, centered
        super().__init__(params, lr, weight_decay, formula=formula)

    def start(self, w: Array) -> State:
        """Return v, m and b, all 0."""
        return {name: np.zeros_like(w) for name in "vmb"}

    def change(self, g: Array, state: State) -> Array:
        """Return -lr u, or what the formula has in its place."""
        v = state["v"] = self.alpha * state["v"] + (1 - self.alpha) * g * g
        if self.centered:
            m = state["m"] = self.alpha * state["m"] + (1 - self.alpha) * g
            v = v - m * m
        u = g / (np.sqrt(v + self.eps) if self.keras else np.sqrt(v) + self.eps)
        if not self.momentum:
            return -self.lr * u
        b = state["b"] = self.momentum * state["b"] + (self.lr * u if self.keras else u)
        return -b if self.keras else -self.lr * b


class Adagrad(Optimizer):
    """v = v + g^2, from initial_accumulator_value (Duchi et al. 2011, JMLR 12, section 1.1).

    torch:  w -= lr / (1 + (t - 1) lr_decay) * g / (sqrt(v) + eps)
    keras:  w -= lr * g / sqrt(v + eps)        (whose own initial_accumulator_value is 0.1)
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        formula: str = "torch",
    ) -> None:
        if formula == "keras" and lr_decay:
            raise ValueError("Adagrad: expected no lr_decay with formula=keras")
        self.lr_decay, self.eps, self.initial = lr_decay, eps, initial_accumulator_value
        super().__init__(params, lr, weight_decay, formula=formula)

    def start(self, w: Array) -> State:
        """Return v."""
        return {"v": np.full_like(w, self.initial)}

    def change(self, g: Array, state: State) -> Array:
        """Return the step."""
        v = state["v"] = state["v"] + g * g
        if self.keras:
            return -self.lr * g / np.sqrt(v + self.eps)
        lr = self.lr / (1 + (self.t - 1) * self.lr_decay)
        return -lr * g / (np.sqrt(v) + self.eps)


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2 (Kingma and Ba 2015, arXiv:1412.6980).

    torch:  w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)      (algorithm 1)
    keras:  w -= lr sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)        (section 2, end)
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        formula: str = "torch",
    ) -> None:
        self.betas, self.eps = betas, eps
        super().__init__(params, lr, weight_decay, formula=formula)

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


class AdamW(Adam):
    """Adam after w -= lr wd w (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2, whose
    schedule multiplier is lr here, as in torch and Keras).
    """

    decoupled = True

    def __init__(
        self,
        params: Mapping[str, Array],
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        formula: str = "torch",
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, formula=formula)


def clip_grad_norm_(grads: dict[str, Array], max_norm: float) -> float:
    """Scale all gradients, in place, so that their norm together is max_norm at most; return the
    norm before: n = sqrt(sum g^2), g *= min(1, max_norm / (n + 1e-6)), as torch
    (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1).
    """
    norm = sum(float(np.square(g, dtype=np.float64).sum()) for g in grads.values()) ** 0.5
    if not (factor := max_norm / (norm + 1e-6)) >= 1:  # NaN too, which then is in all of them
        for g in grads.values():
            g *= factor
    return norm


def clip_grad_value_(grads: dict[str, Array], clip_value: float) -> None:
    """Bring every number of all gradients, in place, into [-clip_value, clip_value]."""
    for g in grads.values():
        np.clip(g, -clip_value, clip_value, out=g)
