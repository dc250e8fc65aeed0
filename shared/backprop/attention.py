"""Attention: the output of a query is a weighted mean of the values, with weights from the keys."""

import numpy as np
from numpy.typing import DTypeLike

from shared.backprop.activations import softmax, softmax_backward
from shared.backprop.linear import Linear
from shared.backprop.module import Array, Module, uniform


class ScaledDotProductAttention(Module):
    """y = A v,  A = softmax(q k^T / sqrt(E)) over the keys (Vaswani et al. 2017, equation 1).

    Shapes: query q (..., L, E), key k (..., S, E), value v (..., S, Ev), y (..., L, Ev). The mask is
    boolean, of shape (L, S), or (..., L, S) with any size replaced by 1; True lets a query attend to
    a key, as in torch's function of this name and in Keras (torch.nn.MultiheadAttention means the
    opposite). After `forward`, `weights` holds A (..., L, S).

    Backward, with s = q k^T / sqrt(E):
        dv = A^T dy      dA = dy v^T      ds = A * (dA - sum_keys dA * A)
        dq = ds k / sqrt(E)               dk = ds^T q / sqrt(E)
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: Array = np.empty(0)

    def forward(  # type: ignore[override]
        self, query: Array, key: Array, value: Array, mask: Array | None = None
    ) -> Array:
        """Return y.

        Raises:
            ValueError: a shape or a dtype does not fit, or a query has no key to attend to.
        """
        self._check("a query", query, ("...", "L", "E"))
        keys = (*query.shape[:-2], "S", query.shape[-1])
        self._check("a key", key, keys, query.dtype)
        self._check("a value", value, (*key.shape[:-1], "Ev"), query.dtype)
        scale = np.asarray(query.shape[-1] ** -0.5, query.dtype)
        scores = query @ key.swapaxes(-1, -2) * scale
        if mask is not None:
            scores = np.where(self._mask(mask, scores.shape), scores, -np.inf)
        weights = self.weights = softmax(scores)
        return self._keep(weights @ value, query, key, value, weights, scale)

    def backward(self, dy: Array) -> tuple[Array, Array, Array]:
        """Return dq, dk, dv."""
        query, key, value, weights, scale = self._recall(dy)
        dvalue = weights.swapaxes(-1, -2) @ dy
        dweights = dy @ value.swapaxes(-1, -2)
        dscores = softmax_backward(dweights, weights) * scale
        return dscores @ key, dscores.swapaxes(-1, -2) @ query, dvalue

    def _mask(self, mask: Array, shape: tuple[int, ...]) -> Array:
        """Broadcast the mask to the shape of the scores, and check it."""
        self._check("a mask", mask, ("...", "S"), np.bool_)
        ones = zip(mask.shape, shape[-mask.ndim :], strict=False)
        fits = mask.ndim == len(shape) and all(given in (1, size) for given, size in ones)
        if not fits and mask.shape != shape[-2:]:  # other ranks would broadcast along the wrong axes
            raise ValueError(
                f"{self}: expected a mask of shape {shape[-2:]}, or {shape} with any size replaced by 1, "
                f"got {mask.shape}"
            )
        mask = np.broadcast_to(mask, shape)
        if not mask.any(axis=-1).all():
            raise ValueError(f"{self}: the mask leaves a query no key: a row of {mask.shape} is all False")
        return mask


class MultiheadAttention(Module):
    """y = W_o [head_1 ... head_h] + b_o,  head_i = attention(q W_q^T + b_q, k W_k^T + b_k, v W_v^T + b_v).

    Each head sees its own embed_dim / num_heads columns of the projected query, key and value
    (Vaswani et al. 2017, section 3.2.2).

    Shapes: query and y (L, N, embed_dim), key and value (S, N, embed_dim); N comes first if
    batch_first. mask: boolean, (L, S), or (N, num_heads, L, S) with any size replaced by 1; True lets
    a query attend to a key, whereas torch.nn.MultiheadAttention means the opposite.

    Parameters: in_proj_weight (3 embed_dim, embed_dim), which stacks W_q, W_k and W_v, in_proj_bias
    (3 embed_dim,), out_proj.weight, out_proj.bias. Initial values, as in torch: Glorot's uniform for
    in_proj_weight, those of Linear for out_proj.weight, biases 0.

    Backward: that of Linear, then of scaled dot-product attention, then of three Linear layers.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        if embed_dim % num_heads:
            raise ValueError(f"{self}: embed_dim must be divisible by the number of heads, {num_heads}")
        bound = (6 / (4 * embed_dim)) ** 0.5  # Glorot and Bengio 2010: fans embed_dim, 3 embed_dim
        shape = (3 * embed_dim, embed_dim)
        self.params["in_proj_weight"] = uniform(rng, bound, shape, dtype)
        if bias:
            self.params["in_proj_bias"] = np.zeros(3 * embed_dim, dtype)
        self._add(out_proj=Linear(embed_dim, embed_dim, bias, dtype=dtype, rng=rng))
        if bias:
            self.params["out_proj.bias"][:] = 0
        self.attention = ScaledDotProductAttention()

    def __repr__(self) -> str:
        return f"MultiheadAttention({self.embed_dim}, {self.num_heads})"

    def forward(  # type: ignore[override]
        self, query: Array, key: Array, value: Array, mask: Array | None = None
    ) -> tuple[Array, Array]:
        """Return y, and the attention weights (N, L, S) averaged over the heads."""
        axes = ("N", "L") if self.batch_first else ("L", "N")
        dtype = self.params["in_proj_weight"].dtype
        self._check("a query", query, (*axes, self.embed_dim), dtype)
        batch = [n if axis == "N" else "S" for n, axis in zip(query.shape, axes, strict=False)]
        self._check("a key", key, (*batch, self.embed_dim), dtype)
        self._check("a value", value, key.shape, dtype)
        inputs = [x if self.batch_first else x.swapaxes(0, 1) for x in (query, key, value)]
        matrices = np.split(self.params["in_proj_weight"], 3)
        biases = np.split(self.params.get("in_proj_bias", np.zeros(3, dtype)), 3)
        heads = [
            self._split_heads(x @ matrix.T + bias)
            for x, matrix, bias in zip(inputs, matrices, biases, strict=True)
        ]
        mixed = self._merge_heads(self.attention.forward(heads[0], heads[1], heads[2], mask))
        y = self.children["out_proj"].forward(mixed)
        y = y if self.batch_first else y.swapaxes(0, 1)
        return self._keep(y, inputs, matrices), self.attention.weights.mean(axis=1)

    def backward(self, dy: Array) -> tuple[Array, Array, Array]:
        """Return the gradients of query, key and value; if these are the same array, add them up."""
        inputs, matrices = self._recall(dy)
        dy = dy if self.batch_first else dy.swapaxes(0, 1)
        dmixed = self.children["out_proj"].backward(np.ascontiguousarray(dy))
        dheads = [self._merge_heads(dhead) for dhead in self.attention.backward(self._split_heads(dmixed))]
        rows = [dhead.reshape(-1, self.embed_dim) for dhead in dheads]
        self.grads["in_proj_weight"] = np.concatenate(
            [dhead.T @ x.reshape(-1, self.embed_dim) for dhead, x in zip(rows, inputs, strict=True)]
        )
        if "in_proj_bias" in self.params:
            self.grads["in_proj_bias"] = np.concatenate([dhead.sum(axis=0) for dhead in rows])
        self._collect()
        dquery, dkey, dvalue = (
            dhead @ matrix if self.batch_first else (dhead @ matrix).swapaxes(0, 1)
            for dhead, matrix in zip(dheads, matrices, strict=True)
        )
        return dquery, dkey, dvalue

    def _split_heads(self, x: Array) -> Array:
        """Return (N, L, embed_dim) as (N, heads, L, embed_dim / heads)."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2)

    def _merge_heads(self, x: Array) -> Array:
        """Return (N, heads, L, embed_dim / heads) as (N, L, embed_dim)."""
        return x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)
