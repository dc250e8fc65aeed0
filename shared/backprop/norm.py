"""Batch and layer normalization."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from shared.backprop.module import Array, Module, Size


class _BatchNorm(Module):
    """y = gamma * xhat + beta,  xhat = (x - mean) / sqrt(var + eps), channel by channel.

    In training mode, mean and (biased) var are those of the batch, over all axes but the channels',
    m numbers per channel (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1). They update the
    running statistics, with the unbiased variance:
        running_mean = (1 - momentum) running_mean + momentum mean
        running_var  = (1 - momentum) running_var  + momentum var m / (m - 1)
    In evaluation mode, the running statistics replace mean and var.

    Parameters: weight (gamma) and bias (beta), (num_features,), initially 1 and 0.
    Buffers: running_mean and running_var, (num_features,), initially 0 and 1; num_batches_tracked.

    Backward (the same paper, section 3), with sums and means over the m numbers of a channel:
        dgamma = sum dy xhat        dbeta = sum dy
        training:    dx = gamma / sqrt(var + eps) * (dy - mean(dy) - xhat mean(dy xhat))
        evaluation:  dx = gamma / sqrt(running_var + eps) * dy
    """

    shapes: Sequence[Sequence[str]]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        if affine:
            self.params["weight"] = np.ones(num_features, dtype)
            self.params["bias"] = np.zeros(num_features, dtype)
        self.buffers["running_mean"] = np.zeros(num_features, dtype)
        self.buffers["running_var"] = np.ones(num_features, dtype)
        self.buffers["num_batches_tracked"] = np.zeros((), np.int64)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_features})"

    def forward(self, x: Array) -> Array:
        """Return y."""
        running_mean, running_var = self.buffers["running_mean"], self.buffers["running_var"]
        rank = getattr(x, "ndim", 0)
        names = next((names for names in self.shapes if len(names) == rank), self.shapes[0])
        shape: tuple[Size, ...] = tuple(self.num_features if n == "C" else n for n in names)
        self._check("an input", x, shape, running_mean.dtype)
        axes = (0, *range(2, rank))
        if self.training:
            count = x.size // self.num_features
            if count < 2:
                raise ValueError(f"{self}: training needs two values per channel or more, got {x.shape}")
            mean = x.mean(axis=axes)
            centered = x - self._wide(mean, x)
            var = (centered * centered).mean(axis=axes)
            running_mean += self.momentum * (mean - running_mean)
            running_var += self.momentum * (var * (count / (count - 1)) - running_var)
            self.buffers["num_batches_tracked"] += 1
        else:
            centered, var = x - self._wide(running_mean, x), running_var
        scale = 1 / np.sqrt(var + self.eps)
        xhat = centered * self._wide(scale, x)
        y = xhat
        if "weight" in self.params:
            y = xhat * self._wide(self.params["weight"], x) + self._wide(self.params["bias"], x)
        return self._keep(y, xhat, scale, axes, self.training)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        xhat, scale, axes, training = self._recall(dy)
        if "weight" in self.params:
            self.grads["weight"] = (dy * xhat).sum(axis=axes)
            self.grads["bias"] = dy.sum(axis=axes)
            scale = scale * self.params["weight"]
        if training:
            along = xhat * (dy * xhat).mean(axis=axes, keepdims=True)
            dy = dy - dy.mean(axis=axes, keepdims=True) - along
        return dy * self._wide(scale, dy)

    @staticmethod
    def _wide(values: Array, x: Array) -> Array:
        """Reshape values (C,) so that they broadcast with x (N, C, ...)."""
        return values.reshape(-1, *(1,) * (x.ndim - 2))


class BatchNorm1d(_BatchNorm):
    """Batch normalization of x (N, C) or (N, C, L); y has the shape of x."""

    __doc__ += _BatchNorm.__doc__ or ""
    shapes = ("NC", "NCL")


class BatchNorm2d(_BatchNorm):
    """Batch normalization of x (N, C, H, W); y has the shape of x."""

    __doc__ += _BatchNorm.__doc__ or ""
    shapes = ("NCHW",)


class LayerNorm(Module):
    """y = gamma * xhat + beta,  xhat = (x - mean) / sqrt(var + eps), example by example.

    Mean and biased variance are taken over the last axes of x, those of `normalized_shape`
    (Ba et al. 2016, arXiv:1607.06450, section 3); training and evaluation do not differ.

    Shapes: x and y (..., *normalized_shape); weight (gamma) and bias (beta) normalized_shape,
    initially 1 and 0.

    Backward, with g = dy * gamma, means over normalized_shape and sums over the other axes:
        dgamma = sum dy xhat        dbeta = sum dy
        dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(var + eps)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        given = np.atleast_1d(normalized_shape).tolist()
        self.normalized_shape, self.eps, self.dtype = tuple(given), eps, np.dtype(dtype)
        if elementwise_affine:
            self.params["weight"] = np.ones(self.normalized_shape, dtype)
            if bias:
                self.params["bias"] = np.zeros(self.normalized_shape, dtype)

    def __repr__(self) -> str:
        return f"LayerNorm({self.normalized_shape})"

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("...", *self.normalized_shape), self.dtype)
        axes = tuple(range(-len(self.normalized_shape), 0))
        centered = x - x.mean(axis=axes, keepdims=True)
        scale = 1 / np.sqrt((centered * centered).mean(axis=axes, keepdims=True) + self.eps)
        xhat = centered * scale
        y = xhat * self.params.get("weight", 1) + self.params.get("bias", 0)
        return self._keep(np.asarray(y, self.dtype), xhat, scale, axes)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        xhat, scale, axes = self._recall(dy)
        others = tuple(range(dy.ndim - len(axes)))
        if "weight" in self.params:
            self.grads["weight"] = (dy * xhat).sum(axis=others)
        if "bias" in self.params:
            self.grads["bias"] = dy.sum(axis=others)
        g = np.asarray(dy * self.params.get("weight", 1), self.dtype)
        along = xhat * (g * xhat).mean(axis=axes, keepdims=True)
        return (g - g.mean(axis=axes, keepdims=True) - along) * scale
