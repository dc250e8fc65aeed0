"""Linear, Embedding, Flatten and Dropout."""

import numpy as np
from numpy.typing import DTypeLike

from shared.backprop.module import Array, Module, uniform


class Linear(Module):
    """y = x W^T + b.

    Shapes: x (..., in_features), y (..., out_features); weight W (out_features, in_features),
    bias b (out_features,). Initial values: U(-1/sqrt(in_features), 1/sqrt(in_features)), as in torch.

    Backward (Goodfellow et al. 2016, section 6.5.6), summing over all axes of x but the last:
        dx = dy W        dW = dy^T x        db = sum dy
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        bound = in_features**-0.5
        self.params["weight"] = uniform(rng, bound, (out_features, in_features), dtype)
        if bias:
            self.params["bias"] = uniform(rng, bound, (out_features,), dtype)

    def __repr__(self) -> str:
        return f"Linear({self.in_features}, {self.out_features})"

    def forward(self, x: Array) -> Array:
        """Return y."""
        weight = self.params["weight"]
        self._check("an input", x, ("...", self.in_features), weight.dtype)
        y = x @ weight.T
        if "bias" in self.params:
            y += self.params["bias"]
        return self._keep(y, x)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (x,) = self._recall(dy)
        rows = dy.reshape(-1, self.out_features)
        self.grads["weight"] = rows.T @ x.reshape(-1, self.in_features)
        if "bias" in self.params:
            self.grads["bias"] = rows.sum(axis=0)
        return dy @ self.params["weight"]


class Embedding(Module):
    """y = W[x], row x of a table.

    Shapes: x (...) of integers in [0, num_embeddings), y (..., embedding_dim); weight W
    (num_embeddings, embedding_dim). Initial values: N(0, 1), as in torch; row `padding_idx` is 0.

    Backward: dW[i] = sum of dy over all positions where x = i, and 0 for i = padding_idx. Integers
    have no gradient, so backward returns None.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx
        rng = rng or np.random.default_rng()
        weight = rng.standard_normal((num_embeddings, embedding_dim)).astype(dtype)
        if padding_idx is not None:
            weight[padding_idx] = 0
        self.params["weight"] = weight

    def __repr__(self) -> str:
        return f"Embedding({self.num_embeddings}, {self.embedding_dim})"

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check_integers("an input", x)
        if x.size and not (x.min() >= 0 and x.max() < self.num_embeddings):
            raise ValueError(
                f"{self}: expected indices from 0 to {self.num_embeddings - 1}, "
                f"got {x.min()} to {x.max()} in an input of shape {x.shape}"
            )
        return self._keep(self.params["weight"][x], x)

    def backward(self, dy: Array) -> None:
        """Set the gradient of the table in `grads`."""
        (x,) = self._recall(dy)
        gradient = self.grads["weight"] = np.zeros_like(self.params["weight"])
        # Sort the rows of dy by index, so that each index is one contiguous run to sum.
        order = np.argsort(x, axis=None, kind="stable")
        indices, starts = np.unique(x.ravel()[order], return_index=True)
        if x.size:
            rows = dy.reshape(-1, self.embedding_dim)[order]
            gradient[indices] = np.add.reduceat(rows, starts)
        if self.padding_idx is not None:
            gradient[self.padding_idx] = 0


class Flatten(Module):
    """y = x with all axes but the first merged: (N, C, H, W) becomes (N, C * H * W).

    Backward: dx = dy, reshaped like x.
    """

    def forward(self, x: Array) -> Array:
        """Return y."""
        self._check("an input", x, ("...",))
        return self._keep(x.reshape(len(x), int(np.prod(x.shape[1:]))), x.shape)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (shape,) = self._recall(dy)
        return dy.reshape(shape)


class Dropout(Module):
    """y = x * m / (1 - p) in training mode, where m is 0 with probability p and 1 otherwise; else y = x.

    Shapes: any. Inverted dropout (Srivastava et al. 2014, JMLR 15, section 10): the expected value
    of y is x, so evaluation needs no scaling.

    Backward: dx = dy * m / (1 - p), with the same m.

    Args:
        p: the probability of dropping a number, 0 <= p < 1.
        rng: the generator that draws m.
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: expected p from 0 to below 1, got {p}")
        self.p = p
        self.rng = rng or np.random.default_rng()

    def __repr__(self) -> str:
        return f"Dropout(p={self.p})"

    def forward(self, x: Array, mask: Array | None = None) -> Array:
        """Return y; `mask` (booleans, True keeps) replaces the random m."""
        self._check("an input", x, ("...",))
        if not self.training or self.p == 0:
            return self._keep(x, None)
        if mask is None:
            mask = self.rng.random(x.shape, np.float32) >= self.p
        self._check("a mask", mask, x.shape, np.bool_)
        factor = mask * np.asarray(1 / (1 - self.p), x.dtype)
        return self._keep(x * factor, factor)

    def backward(self, dy: Array) -> Array:
        """Return dx."""
        (factor,) = self._recall(dy)
        return dy if factor is None else dy * factor
