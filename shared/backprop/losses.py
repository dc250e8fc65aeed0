"""Losses. Those that contain a sigmoid or a softmax take logits, for numerical stability.

`forward(input, target)` returns the loss, a scalar of the input's dtype; `backward()` returns the
gradient of the input. N is the number of terms unless stated otherwise; reduction="mean" divides
their sum by N, reduction="sum" does not.
"""

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np

from shared.backprop.activations import sigmoid
from shared.backprop.module import Array, Module


class _Loss(Module):
    """Base class of the losses: the reduction, and the backward pass of a scalar.

    Args:
        reduction: "mean" or "sum".
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum"):
            raise ValueError(f"{self}: expected reduction=mean or sum, got {reduction}")
        self.reduction = reduction

    @abstractmethod
    def forward(self, input: Array, target: Array) -> Array:  # type: ignore[override]  # noqa: A002
        """Return the loss."""

    def backward(self, dy: Array | float = 1.0) -> Array:
        """Return the gradient of the input, where `dy` is the gradient of the loss."""
        gradient, count = self._recall(np.asarray(dy, self._output.dtype))
        return gradient * np.asarray(dy / count, gradient.dtype)

    def _reduce(self, terms: Array, gradient: Array, count: int) -> Array:
        """Return the loss, given its terms and their gradients; `count` is N."""
        divisor = count if self.reduction == "mean" else 1
        return self._keep(terms.sum() / terms.dtype.type(divisor), gradient, divisor)

    def _check_pair(self, input: Array, target: Array) -> None:  # noqa: A002
        self._check("an input", input, ("...",))
        self._check("a target", target, input.shape, input.dtype)


class MSELoss(_Loss):
    """L = sum (x - y)^2 / N, with input x and target y of the same shape.

    Backward: dx = 2 (x - y) / N.
    """

    def forward(self, input: Array, target: Array) -> Array:  # type: ignore[override]  # noqa: A002
        """Return the loss."""
        self._check_pair(input, target)
        difference = input - target
        return self._reduce(difference * difference, 2 * difference, difference.size)


class BCEWithLogitsLoss(_Loss):
    """L = - sum (y log s(x) + (1 - y) log(1 - s(x))) / N, where s is the sigmoid.

    Input x (logits) and target y (0 to 1) have the same shape. Each term is computed as
    max(x, 0) - x y + log(1 + exp(-|x|)), which cannot overflow.

    Backward: dx = (s(x) - y) / N.
    """

    def forward(self, input: Array, target: Array) -> Array:  # type: ignore[override]  # noqa: A002
        """Return the loss."""
        self._check_pair(input, target)
        positive = input > 0
        magnitude = np.where(positive, input, -input)
        terms = input * positive - input * target + np.log1p(np.exp(-magnitude))
        return self._reduce(terms, sigmoid(input) - target, input.size)


class CrossEntropyLoss(_Loss):
    """L = - sum_n sum_k q_nk log p_nk / N with p = softmax(x), over the N examples that are not ignored.

    q_nk is 1 if k is the label of example n, else 0; with label smoothing a (Szegedy et al. 2016,
    arXiv:1512.00567, section 7) it is (1 - a) [k is the label] + a / C.

    Input x (N, C) or (N, C, d1, ...): logits. Target (N,) or (N, d1, ...): integers in [0, C), or
    ignore_index for examples to ignore.

    Backward: dx = (p - q) / N, and 0 for ignored examples.
    """

    def __init__(
        self, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(reduction=reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"{self}: expected label_smoothing 0 to 1, got {label_smoothing}")
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Array, target: Array) -> Array:  # type: ignore[override]  # noqa: A002
        """Return the loss."""
        rank = getattr(input, "ndim", 2)
        self._check("an input", input, ("N", "C", *(f"d{n}" for n in range(1, rank - 1))))
        classes = input.shape[1]
        counted = self._not_ignored(target, (len(input), *input.shape[2:]), classes)
        logits = input - input.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        labels = np.where(counted, target, 0)[:, None]
        q = np.full_like(log_p, self.label_smoothing / classes)
        at_label = np.take_along_axis(q, labels, axis=1) + (1 - self.label_smoothing)
        np.put_along_axis(q, labels, at_label.astype(q.dtype), axis=1)
        q *= counted[:, None]
        terms = -q * np.where(q == 0, 0, log_p)  # so that 0 * log 0 is 0
        return self._reduce(terms, np.exp(log_p) * counted[:, None] - q, int(counted.sum()))

    def _not_ignored(self, target: Array, shape: tuple[int, ...], classes: int) -> Array:
        """Return which examples count, after checking the labels."""
        self._check_integers("a target", target)
        if target.shape != shape:
            raise ValueError(f"{self}: expected a target of shape {shape}, got {target.shape}")
        counted = np.asarray(target != self.ignore_index)
        wrong = target[counted & ((target < 0) | (target >= classes))]
        if wrong.size:
            raise ValueError(f"{self}: expected labels 0 to {classes - 1}, got {wrong[0]}")
        if not counted.any():
            raise ValueError(f"{self}: every label is ignore_index={self.ignore_index}")
        return counted


def l1_penalty(params: Mapping[str, Array], strength: float) -> tuple[float, dict[str, Array]]:
    """Return strength * sum |w|, and its gradients by name: strength * sign(w), which is 0 at 0."""
    value = strength * sum(float(np.abs(w).sum()) for w in params.values())
    return value, {name: w.dtype.type(strength) * np.sign(w) for name, w in params.items()}


def l2_penalty(
    params: Mapping[str, Array], strength: float, formula: str = "torch"
) -> tuple[float, dict[str, Array]]:
    """Return the penalty on the sum of squares, and its gradients by name.

    formula="torch": strength / 2 * sum w^2, gradient strength * w, like torch's weight_decay.
    formula="keras": strength * sum w^2, gradient 2 * strength * w, like Keras's kernel_regularizer.
    """
    if formula not in ("torch", "keras"):
        raise ValueError(f"l2_penalty: expected formula=torch or keras, got {formula}")
    factor = strength if formula == "torch" else 2 * strength
    value = factor / 2 * sum(float((w * w).sum()) for w in params.values())
    return value, {name: w.dtype.type(factor) * w for name, w in params.items()}
