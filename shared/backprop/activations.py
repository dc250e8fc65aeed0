"""Activation functions. All but Softmax are elementwise; y has the shape of x, which may be any."""

import math

import numpy as np

from shared.backprop.module import Array, Module


class ReLU(Module):
    """y = max(x, 0). Backward: dx = dy where x > 0, else 0 (also at x = 0, as in torch and Keras)."""

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("...",))
        return self._keep(np.maximum(x, 0), x)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (x,) = self._recall(dy)
        return np.where(x > 0, dy, 0)


class ReLU6(Module):
    """y = min(max(x, 0), 6) (Howard et al. 2017, arXiv:1704.04861).

    Backward: dx = dy where 0 < x < 6, else 0 (also at x = 0 and x = 6, as in torch and Keras).
    """

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("...",))
        return self._keep(np.clip(x, 0, 6), x)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (x,) = self._recall(dy)
        return np.where((x > 0) & (x < 6), dy, 0)


class Sigmoid(Module):
    """y = 1 / (1 + exp(-x)). Backward: dx = dy * y (1 - y), where y is the output."""

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
    """y = x Phi(x), where Phi is the normal distribution function (Hendrycks and Gimpel 2016, eq. 1).

    approximate="none": Phi(x) = (1 + erf(x / sqrt(2))) / 2
    approximate="tanh": Phi(x) ~ (1 + tanh(u)) / 2,  u = sqrt(2 / pi) (x + 0.044715 x^3)

    Backward: dx = dy * (Phi + x Phi'), with
        none: Phi' = exp(-x^2 / 2) / sqrt(2 pi)
        tanh: Phi' = (1 - tanh(u)^2) / 2 * sqrt(2 / pi) (1 + 3 * 0.044715 x^2)
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: expected approximate=none or tanh, got {approximate}")
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

    Backward: dx_i = y_i (dy_i - sum_j dy_j y_j), which is 0 if dy = (1, ..., 1).
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("...",))
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(f"{self}: no axis {self.dim} in an input of shape {x.shape}")
        y = softmax(x, self.dim)
        return self._keep(y, y)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (y,) = self._recall(dy)
        return softmax_backward(dy, y, self.dim)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)). If exp(-x) overflows, the result is 0, which is correct."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def softmax(x: Array, dim: int = -1) -> Array:
    """Return exp(x) divided by its sum along `dim`, with the maximum subtracted to avoid overflow."""
    powers = np.exp(x - x.max(axis=dim, keepdims=True))
    return powers / powers.sum(axis=dim, keepdims=True)


def softmax_backward(dy: Array, y: Array, dim: int = -1) -> Array:
    """Return dx of a softmax, given dy and its output y."""
    return y * (dy - (dy * y).sum(axis=dim, keepdims=True))


def erf(x: Array) -> Array:
    """Return the error function, accurate to a few units in the last place.

    Rational approximations by Cody (1969, Mathematics of Computation 23, 107, tables II and III): to
    erf(x) / x as a function of x^2 for small x, to exp(x^2) erfc(x) elsewhere.
    """
    size = np.minimum(np.abs(x), 6)  # erf(6) is 1 in float64
    square = size * size
    near = size * np.polyval(_NEAR, square) / np.polyval(_NEAR_BELOW, square)
    far = 1 - np.exp(-square) * np.polyval(_FAR, size) / np.polyval(_FAR_BELOW, size)
    return np.copysign(np.where(size < 0.46875, near, far), x).astype(x.dtype)


# The coefficients are Cody's, to the 17 digits that a float64 distinguishes.
_NEAR = [0.18577770618460315, 3.1611237438705655, 113.86415415105016, 377.485237685302, 3209.3775891384694]
_NEAR_BELOW = [1.0, 23.601290952344122, 244.02463793444417, 1282.6165260773723, 2844.236833439171]
_FAR = [
    2.1531153547440383e-08,
    0.5641884969886701,
    8.883149794388377,
    66.11919063714163,
    298.6351381974001,
    881.952221241769,
    1712.0476126340707,
    2051.0783778260716,
    1230.3393547979972,
]
_FAR_BELOW = [
    1.0,
    15.744926110709835,
    117.6939508913125,
    537.1811018620099,
    1621.3895745666903,
    3290.7992357334597,
    4362.619090143247,
    3439.3676741437216,
    1230.3393548037495,
]
