"""The same networks in NumPy, with the backward pass by hand (shared/backprop)."""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.attention.config import MeanPooling, Model, MultiHead, SingleHead
from shared import backprop as nn
from shared.backprop import Array
from shared.data.sequences import PAD


class NumpyNetwork(nn.Module):
    """`TorchNetwork` in NumPy; ids (N, T) to logits (N, outputs).

    Backward: question and mixture are added, so both get the gradient of the sum; an item is the
    sum of two embeddings, so both get the gradient of the item.
    """

    def __init__(
        self, config: Model, tokens: int, outputs: int, paired: bool, dtype: type, rng: np.random.Generator
    ) -> None:
        super().__init__()
        size = config.embedding
        self.tokens, self.paired = tokens, paired
        self.embedding = nn.Embedding(tokens + (not paired), size, dtype=dtype, rng=rng)
        self.embedding.params["weight"] *= config.std
        self.head = nn.Sequential(
            dropout=nn.Dropout(config.dropout, rng=rng), fc=nn.Linear(size, outputs, dtype=dtype, rng=rng)
        )
        self._add(embedding=self.embedding, **self.head.children)

    def forward(self, ids: Array) -> Array:
        question, items, mask = self.read(ids)
        mixed, _ = self.mix(question, items, mask)
        return self.head.forward((question + mixed)[:, 0])

    def backward(self, dlogits: Array) -> None:
        dsum = self.head.backward(dlogits)[:, None]
        dquestion, ditems = self.mix_backward(dsum)
        self.read_backward(dsum + dquestion, ditems)
        self._collect()

    def read(self, ids: Array) -> tuple[Array, Array, Array]:
        """Return the question (N, 1, E), the items (N, S, E), and the mask (N, 1, S), False for padding."""
        if not self.paired:
            ids = np.concatenate([ids, np.full_like(ids[:, :1], self.tokens)], axis=1)
        x = self.embedding.forward(ids)
        if self.paired:
            return x[:, -1:], x[:, :-1:2] + x[:, 1::2], (ids[:, :-1:2] != PAD)[:, None]
        return x[:, -1:], x[:, :-1], (ids[:, :-1] != PAD)[:, None]

    def read_backward(self, dquestion: Array, ditems: Array) -> None:
        """Pass the gradients of question and items back to the embedding."""
        if self.paired:
            ditems = np.repeat(ditems, 2, axis=1)
        self.embedding.backward(np.concatenate([ditems, dquestion], axis=1))

    @abstractmethod
    def mix(self, question: Array, items: Array, mask: Array) -> tuple[Array, Array]:
        """Return the mixture (N, 1, E) and the weights (N, heads, 1, S)."""

    @abstractmethod
    def mix_backward(self, dmixed: Array) -> tuple[Array, Array]:
        """Return the gradients of question and items, given that of the mixture."""


class NumpySingleHead(NumpyNetwork):
    """`TorchSingleHead` in NumPy.

    Backward: that of scaled dot-product attention (shared/backprop/attention.py), then of the three
    linear layers; the items enter two of them, whose gradients are added.
    """

    def __init__(self, config: SingleHead, *sizes: Any) -> None:
        super().__init__(config, *sizes)
        dtype, rng = sizes[-2:]
        self.query, self.key, self.value = (
            nn.Linear(config.embedding, config.embedding, dtype=dtype, rng=rng) for _ in range(3)
        )
        self.attention = nn.ScaledDotProductAttention()
        self._add(query=self.query, key=self.key, value=self.value)

    def mix(self, question: Array, items: Array, mask: Array) -> tuple[Array, Array]:
        projected = (self.query.forward(question), self.key.forward(items), self.value.forward(items))
        mixed = self.attention.forward(*projected, mask)
        return mixed, self.attention.weights[:, None]

    def mix_backward(self, dmixed: Array) -> tuple[Array, Array]:
        dquery, dkey, dvalue = self.attention.backward(dmixed)
        return self.query.backward(dquery), self.key.backward(dkey) + self.value.backward(dvalue)


class NumpyMultiHead(NumpyNetwork):
    """`TorchMultiHead` in NumPy. Backward: the layer's; the items are its keys and its values."""

    def __init__(self, config: MultiHead, *sizes: Any) -> None:
        super().__init__(config, *sizes)
        dtype, rng = sizes[-2:]
        self.attention = nn.MultiheadAttention(
            config.embedding, config.heads, batch_first=True, dtype=dtype, rng=rng
        )
        self._add(attention=self.attention)

    def mix(self, question: Array, items: Array, mask: Array) -> tuple[Array, Array]:
        mixed, _ = self.attention.forward(question, items, items, mask[:, None])
        return mixed, self.attention.attention.weights

    def mix_backward(self, dmixed: Array) -> tuple[Array, Array]:
        dquestion, dkey, dvalue = self.attention.backward(dmixed)
        return dquestion, dkey + dvalue


class NumpyMeanPooling(NumpyNetwork):
    """`TorchMeanPooling` in NumPy. Backward: each value gets its share; the question gets nothing."""

    def __init__(self, config: MeanPooling, *sizes: Any) -> None:
        super().__init__(config, *sizes)
        dtype, rng = sizes[-2:]
        self.value = nn.Linear(config.embedding, config.embedding, dtype=dtype, rng=rng)
        self._add(value=self.value)

    def mix(self, question: Array, items: Array, mask: Array) -> tuple[Array, Array]:
        self.weights = (mask / mask.sum(axis=-1, keepdims=True)).astype(items.dtype)
        return self.weights @ self.value.forward(items), self.weights[:, None]

    def mix_backward(self, dmixed: Array) -> tuple[Array, Array]:
        ditems = self.value.backward(self.weights.swapaxes(-1, -2) @ dmixed)
        return np.zeros_like(dmixed), ditems


def attention_weights(model: NumpyNetwork, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weight of each item, (N, heads, S), for ids (N, T); 0 for padding."""
    _, weights = model.mix(*model.eval().read(ids))  # type: ignore[attr-defined]
    return weights[:, :, 0].astype(np.float64)


NETWORKS: dict[str, Any] = {
    "single_head": NumpySingleHead,
    "multi_head": NumpyMultiHead,
    "mean_pooling": NumpyMeanPooling,
}


def build_model(
    config: Model, dtype: type, rng: np.random.Generator, tokens: int, outputs: int, paired: bool
) -> nn.Module:
    """Return the network that `config.name` names; see torch_model.py."""
    return NETWORKS[config.name](config, tokens, outputs, paired, dtype, rng)
