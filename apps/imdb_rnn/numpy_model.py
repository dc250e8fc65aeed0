"""The same networks in NumPy, with the backward pass by hand (shared/backprop)."""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.imdb_rnn.config import BiLstm, Bow, Lstm, Nbsvm, Rnn
from apps.imdb_rnn.naive_bayes import first_occurrences, words_and_pairs
from shared.backprop import LSTM, RNN, Array, Bidirectional, Dropout, Embedding, Linear, Module, Sequential
from shared.data.sequences import PAD


class NumpyRecurrent(Module):
    """`TorchRecurrent` in NumPy; ids (N, T) to logits (N, outputs).

    Backward of the maximum over time: its gradient goes to the step that has it; several steps with
    the same maximum share it, as in torch's amax. The gradient of the last state goes to its step.
    """

    def __init__(
        self, config: Lstm | BiLstm | Rnn, tokens: int, outputs: int, dtype: type, rng: np.random.Generator
    ) -> None:
        super().__init__()
        self.readout, self.is_bidirectional = config.readout, config.name == "bilstm"
        self.embedding = Embedding(tokens, config.embedding, dtype=dtype, rng=rng)
        self.embedding.params["weight"] *= config.embedding_std
        self.embedding_dropout = Dropout(config.embedding_dropout, rng=rng)
        layer: Any = {"lstm": LSTM, "bilstm": partial(Bidirectional, LSTM), "rnn": RNN}[config.name]
        self.recurrent = layer(config.embedding, config.hidden, batch_first=True, dtype=dtype, rng=rng)
        self.head = head(config.units, config.dropout, outputs, dtype, rng)
        # Fix torch's second bias at 0: in addition to the first it would only double the bias's steps.
        for name in [name for name in self.recurrent.params if name.startswith("bias_hh")]:
            self.recurrent.buffers[name] = self.recurrent.params.pop(name)
            self.recurrent.buffers[name][:] = 0
        own = {"embedding_dropout": self.embedding_dropout, config.name: self.recurrent}
        self._add(embedding=self.embedding, **own, **self.head.children)

    def forward(self, ids: Array) -> Array:
        self.embedded, mask = self.embedding.forward(ids), ids != PAD
        lengths = mask.sum(axis=1) if self.is_bidirectional else None
        self.kept = self.embedding_dropout.forward(np.ones_like(self.embedded[:, :1]))  # (N, 1, embedding)
        states, _ = self.recurrent.forward(self.embedded * self.kept, lengths=lengths)
        if self.readout == "max":
            candidates = np.where(mask[:, :, None], states, -np.inf)
            state = candidates.max(axis=1)
            self.is_read = candidates == state[:, None]  # (N, T, units)
        else:
            last = mask.sum(axis=1) - 1
            state = states[np.arange(len(ids)), last]
            self.is_read = (np.arange(ids.shape[1]) == last[:, None])[:, :, None]  # (N, T, 1)
        return self.head.forward(state)

    def backward(self, dlogits: Array) -> None:
        dstate = self.head.backward(dlogits)
        shared = dstate / self.is_read.sum(axis=1, dtype=dstate.dtype)
        self.dembedded = self.kept * self.recurrent.backward(self.is_read * shared[:, None])
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
        both = words_and_pairs(ids, self.tokens, self.buckets)
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


class NumpyNbsvm(Module):
    """`TorchNbsvm` in NumPy; ids (N, T) to logits (N, outputs).

    Backward of the sum: the weight of every distinct word and pair gets the logit's gradient times its
    ratio; the bias gets the sum over the batch.
    """

    def __init__(
        self, config: Nbsvm, tokens: int, outputs: int, dtype: type, rng: np.random.Generator
    ) -> None:
        super().__init__()
        self.tokens, self.buckets = tokens, config.buckets
        self.embedding, self.ratios = (
            Embedding(tokens + config.buckets, outputs, dtype=dtype, rng=rng) for _ in range(2)
        )
        self.bias = Embedding(1, outputs, dtype=dtype, rng=rng)
        for table in (self.embedding, self.bias):
            table.params["weight"] *= 0
        self.ratios.buffers["weight"] = self.ratios.params.pop("weight")
        self._add(embedding=self.embedding, ratios=self.ratios, bias=self.bias)

    def forward(self, ids: Array) -> Array:
        rows = words_and_pairs(ids, self.tokens, self.buckets)
        self.embedded = self.embedding.forward(rows)
        self.features = self.ratios.buffers["weight"][rows] * first_occurrences(rows, ids)[:, :, None]
        return (self.embedded * self.features).sum(axis=1) + self.bias.params["weight"]

    def backward(self, dlogits: Array) -> None:
        self.dembedded = dlogits[:, None] * self.features
        self.embedding.backward(self.dembedded)
        self.bias.grads["weight"] = dlogits.sum(axis=0, keepdims=True)
        self._collect()


def embedding_gradients(
    model: NumpyRecurrent | NumpyBow | NumpyNbsvm, ids: NDArray[np.int64], output: int
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


def build_model(
    config: Lstm | BiLstm | Rnn | Bow | Nbsvm,
    dtype: type,
    rng: np.random.Generator,
    tokens: int,
    outputs: int = 1,
) -> Module:
    """Return the network that `config.name` names; see torch_model.py."""
    network: Any = {"bow": NumpyBow, "nbsvm": NumpyNbsvm}.get(config.name, NumpyRecurrent)
    return network(config, tokens, outputs, dtype, rng)
