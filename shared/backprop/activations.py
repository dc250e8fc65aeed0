"""Activation functions; shapes: any, y like x. All but Softmax work on each number by itself."""

import math

import numpy as np

from shared.backprop.module import Array, Module


class ReLU(Module):
    """y = max(x, 0). Backward: dx = dy where x > 0, else 0 (at 0 too, as torch and Keras)."""

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("...",))
        return self._keep(np.maximum(x, 0), x)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (x,) = self._recall(dy)
        return np.where(x > 0, dy, 0)


class Sigmoid(Module):
    """y = 1 / (1 + exp(-x)). Backward: dx = dy * y (1 - y), in terms of the output."""

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("...",))
        y = sigmoid(x)
        return self._keep(y, y)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (y,) = self._recall(dy)
        return dy * y * (1 - y)


class Tanh(Module):
    """y = tanh(x). Backward: dx = dy * (1 - y^2)."""

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("...",))
        y = np.tanh(x)
        return self._keep(y, y)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (y,) = self._recall(dy)
        return dy * (1 - y * y)


class GELU(Module):
    """y = x Phi(x), Phi being the normal distribution's (Hendrycks and Gimpel 2016, equation 1).

    approximate="none": Phi(x) = (1 + erf(x / sqrt(2))) / 2
    approximate="tanh": Phi(x) ~ (1 + tanh(u)) / 2,  u = sqrt(2 / pi) (x + 0.044715 x^3)

    Backward: dx = dy * (Phi + x Phi'), with
        none: Phi' = exp(-x^2 / 2) / sqrt(2 pi)
        tanh: Phi' = (1 - tanh(u)^2) / 2 * sqrt(2 / pi) (1 + 3 * 0.044715 x^2)
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: expected approximate none or tanh, given {approximate}")
        self.approximate = approximate

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("...",))
        if self.approximate == "none":
            phi = (1 + erf(x / math.sqrt(2))) / 2
        else:
            phi = (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        return self._keep(x * phi, x, phi)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        x, phi = self._recall(dy)
        if self.approximate == "none":
            slope = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        else:  # (1 - tanh^2) / 2 = 2 phi (1 - phi)
            inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
            slope = 2 * phi * (1 - phi) * inner
        return dy * (phi + x * slope)


class Softmax(Module):
    """y_i = exp(x_i) / sum_j exp(x_j) along axis `dim`.

    Backward: dx_i = y_i (dy_i - sum_j dy_j y_j), which is 0 for dy = (1, ..., 1).
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("...",))
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(f"{self}: expected an axis {self.dim}, given the shape {x.shape}")
        y = softmax(x, self.dim)
        return self._keep(y, y)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (y,) = self._recall(dy)
        return softmax_backward(dy, y, self.dim)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)); a power that overflows gives the 0 that it should."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def softmax(x: Array, dim: int = -1) -> Array:
    """Return exp(x) over its sum along `dim`; the largest x is taken out first, so that none
    overflows.
    """
    powers = np.exp(x - x.max(axis=dim, keepdims=True))
    return powers / powers.sum(axis=dim, keepdims=True)


def softmax_backward(dy: Array, y: Array, dim: int = -1) -> Array:
    """Return the gradient of softmax's input, from that of its output and the output."""
    return y * (dy - (dy * y).sum(axis=dim, keepdims=True))


def erf(x: Array) -> Array:
    """Return the error function, to a few units in the last place.

    Rational approximations (Cody 1969, Mathematics of Computation 23, 107, tables II and III): of
    erf(x) / x in x^2 where x is small, of exp(x^2) erfc(x) elsewhere.
    """
    size = np.minimum(np.abs(x), 6)  # erf(6) is 1 in float64
    square = size * size
    near = size * np.polyval(_NEAR, square) / np.polyval(_NEAR_BELOW, square)
    far = 1 - np.exp(-square) * np.polyval(_FAR, size) / np.polyval(_FAR_BELOW, size)
    return np.copysign(np.where(size < 0.46875, near, far), x).astype(x.dtype)


_NEAR = [
    1.85777706184603153e-1,
    3.16112374387056560,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
]
_NEAR_BELOW = [
    1.0,
    2.36012909523441209e1,
    2.44024637934444173e2,
    1.28261652607737228e3,
    2.84423683343917062e3,
]
_FAR = [
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
]
_FAR_BELOW = [
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
]
