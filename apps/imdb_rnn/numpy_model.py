"""The same networks in NumPy, with the backward pass by hand (shared/backprop)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.imdb_rnn.config import EMBEDDING_STD, Bow, Lstm, Rnn
from shared.backprop import LSTM, RNN, Array, Dropout, Embedding, Linear, Module, Sequential
from shared.data.sequences import PAD


class NumpyRecurrent(Module):
    """Embedding, a recurrent layer and the head; ids (N, T) to logits (N, outputs)."""

    layer: type[LSTM | RNN]

    def __init__(
        self, config: Lstm | Rnn, tokens: int, outputs: int, dtype: type, rng: np.random.Generator
    ) -> None:
        super().__init__()
        self.embedding = Embedding(tokens, config.embedding, dtype=dtype, rng=rng)
        self.embedding.params["weight"] *= EMBEDDING_STD
        self.recurrent = self.layer(config.embedding, config.hidden, batch_first=True, dtype=dtype, rng=rng)
        self.head = head(config.hidden, config.dropout, outputs, dtype, rng)
        # Fix torch's second bias at 0: in addition to the first it would only double the bias's steps.
        self.recurrent.buffers["bias_hh_l0"] = 0 * self.recurrent.params.pop("bias_hh_l0")
        self._add(embedding=self.embedding, **{config.name: self.recurrent}, **self.head.children)


class NumpyLstm(NumpyRecurrent):
    """`TorchLstm` in NumPy.

    Backward of the maximum over time: its gradient goes to the step that has it; several steps with
    the same maximum share it, as in torch's amax.
    """

    layer = LSTM

    def forward(self, ids: Array) -> Array:
        self.embedded = self.embedding.forward(ids)
        states, _ = self.recurrent.forward(self.embedded)
        candidates = np.where((ids == PAD)[:, :, None], -np.inf, states)
        largest = candidates.max(axis=1)
        self.is_largest = candidates == largest[:, None]  # (N, T, hidden)
        return self.head.forward(largest)

    def backward(self, dlogits: Array) -> None:
        dlargest = self.head.backward(dlogits)
        shared = dlargest / self.is_largest.sum(axis=1, dtype=dlargest.dtype)
        self.dembedded = self.recurrent.backward(self.is_largest * shared[:, None])
        self.embedding.backward(self.dembedded)
        self._collect()


class NumpyRnn(NumpyRecurrent):
    """`TorchRnn` in NumPy."""

    layer = RNN

    def forward(self, ids: Array) -> Array:
        lengths = (ids != PAD).sum(axis=1)
        self.embedded = self.embedding.forward(ids)
        states, last = self.recurrent.forward(self.embedded, lengths=lengths)
        self.shape = states.shape
        return self.head.forward(last[0])

    def backward(self, dlogits: Array) -> None:
        dlast = self.head.backward(dlogits)
        self.dembedded = self.recurrent.backward(np.zeros(self.shape, dlast.dtype), dlast[None])
        self.embedding.backward(self.dembedded)
        self._collect()


class NumpyBow(Module):
    """`TorchBow` in NumPy; ids (N, T) to logits (N, outputs).

    Backward of the weighted mean: every embedding gets the mean's gradient times its weight.
    """

    def __init__(self, config: Bow, tokens: int, outputs: int, dtype: type, rng: np.random.Generator) -> None:
        super().__init__()
        self.tokens, self.buckets = tokens, config.buckets
        self.embedding = Embedding(tokens + config.buckets, config.embedding, dtype=dtype, rng=rng)
        self.embedding.params["weight"] *= 1 / math.sqrt(tokens)
        self.head = head(config.embedding, config.dropout, outputs, dtype, rng)
        self._add(embedding=self.embedding, **self.head.children)

    def forward(self, ids: Array) -> Array:
        pairs = self.tokens + (ids[:, :-1] * 31_337 + ids[:, 1:]) % self.buckets
        both = np.concatenate([ids, pairs], axis=1)
        mask = np.concatenate([ids != PAD, ids[:, 1:] != PAD], axis=1)
        self.embedded = self.embedding.forward(both)
        weights = mask / mask.sum(axis=1, keepdims=True)
        self.weights = weights.astype(self.embedded.dtype)[:, :, None]
        return self.head.forward((self.embedded * self.weights).sum(axis=1))

    def backward(self, dlogits: Array) -> None:
        dmean = self.head.backward(dlogits)
        self.dembedded = dmean[:, None] * self.weights
        self.embedding.backward(self.dembedded)
        self._collect()


def embedding_gradients(
    model: NumpyLstm | NumpyRnn | NumpyBow, ids: NDArray[np.int64], output: int
) -> tuple[Array, Array]:
    """Return the embedded words, and each logit's gradient; see torch_model.py."""
    model.eval()
    logits = model.forward(ids)
    chosen = np.zeros_like(logits)
    chosen[:, output] = 1
    model.backward(chosen)
    return model.embedded, model.dembedded


def head(size: int, dropout: float, outputs: int, dtype: type, rng: np.random.Generator) -> Sequential:
    """Return dropout and the last layer, for inputs (N, size)."""
    return Sequential(dropout=Dropout(dropout, rng=rng), fc=Linear(size, outputs, dtype=dtype, rng=rng))


NETWORKS: dict[str, Any] = {"lstm": NumpyLstm, "rnn": NumpyRnn, "bow": NumpyBow}


def build_model(
    config: Lstm | Rnn | Bow, dtype: type, rng: np.random.Generator, tokens: int, outputs: int = 1
) -> Module:
    """Return the network that `config.name` names; see torch_model.py."""
    return NETWORKS[config.name](config, tokens, outputs, dtype, rng)
