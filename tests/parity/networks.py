"""Two small sequence classifiers in three frameworks, to compare their training steps.

They map token ids (N, 6) to logits (N, 3), starting with an embedding of 11 tokens in 8 dimensions.
The second LSTM bias, which Keras lacks, is zero and not trained: it would double the step of the sum.
"""

from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

from shared.backprop import LSTM, Array, Embedding, Linear, Module, MultiheadAttention

# Keras always rounds the attention's scale, 1 / sqrt(SIZE / HEADS), to float32; 1/2 is exact.
TOKENS, LENGTH, SIZE, HIDDEN, HEADS, CLASSES = 11, 6, 8, 5, 2, 3


class TorchLstm(nn.Module):
    def __init__(self, _: Any = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, SIZE)
        self.lstm = nn.LSTM(SIZE, HIDDEN, batch_first=True)
        self.fc = nn.Linear(HIDDEN, CLASSES)
        self.lstm.bias_hh_l0 = nn.Parameter(torch.zeros(4 * HIDDEN), requires_grad=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        _, (last, _) = self.lstm(self.embedding(tokens))
        logits: torch.Tensor = self.fc(last[0])
        return logits


def keras_lstm(_: Any = None) -> keras.Model:
    tokens = keras.Input((LENGTH,), dtype="int64")
    x = layers.Embedding(TOKENS, SIZE, name="embedding")(tokens)
    x = layers.LSTM(HIDDEN, name="lstm")(x)
    return keras.Model(tokens, layers.Dense(CLASSES, name="fc")(x))


class NumpyLstm(Module):
    def __init__(self, _: Any, dtype: type, rng: np.random.Generator) -> None:
        super().__init__()
        self.embedding = Embedding(TOKENS, SIZE, dtype=dtype, rng=rng)
        self.lstm = LSTM(SIZE, HIDDEN, batch_first=True, dtype=dtype, rng=rng)
        self.fc = Linear(HIDDEN, CLASSES, dtype=dtype, rng=rng)
        self.lstm.buffers["bias_hh_l0"] = 0 * self.lstm.params.pop("bias_hh_l0")
        self._add(embedding=self.embedding, lstm=self.lstm, fc=self.fc)

    def forward(self, tokens: Array) -> Array:
        output, (last, _) = self.lstm.forward(self.embedding.forward(tokens))
        self.output = output
        return self.fc.forward(last[0])

    def backward(self, dlogits: Array) -> None:
        dlast = self.fc.backward(dlogits)[None]
        dstate = (dlast, np.zeros_like(dlast))
        self.embedding.backward(self.lstm.backward(np.zeros_like(self.output), dstate))
        self._collect()


class TorchAttention(nn.Module):
    def __init__(self, _: Any = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, SIZE)
        self.attention = nn.MultiheadAttention(SIZE, HEADS, batch_first=True)
        self.fc = nn.Linear(SIZE, CLASSES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        mixed, _ = self.attention(x, x, x)
        logits: torch.Tensor = self.fc(mixed.mean(dim=1))
        return logits


def keras_attention(_: Any = None) -> keras.Model:
    tokens = keras.Input((LENGTH,), dtype="int64")
    x = layers.Embedding(TOKENS, SIZE, name="embedding")(tokens)
    x = layers.MultiHeadAttention(HEADS, SIZE // HEADS, name="attention")(x, x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, layers.Dense(CLASSES, name="fc")(x))


class NumpyAttention(Module):
    def __init__(self, _: Any, dtype: type, rng: np.random.Generator) -> None:
        super().__init__()
        self.embedding = Embedding(TOKENS, SIZE, dtype=dtype, rng=rng)
        self.attention = MultiheadAttention(SIZE, HEADS, batch_first=True, dtype=dtype, rng=rng)
        self.fc = Linear(SIZE, CLASSES, dtype=dtype, rng=rng)
        self._add(embedding=self.embedding, attention=self.attention, fc=self.fc)

    def forward(self, tokens: Array) -> Array:
        x = self.embedding.forward(tokens)
        mixed, _ = self.attention.forward(x, x, x)
        return self.fc.forward(mixed.mean(axis=1))

    def backward(self, dlogits: Array) -> None:
        dmean = self.fc.backward(dlogits)
        dmixed = np.repeat(dmean[:, None] / LENGTH, LENGTH, axis=1)
        self.embedding.backward(np.sum(self.attention.backward(dmixed), axis=0))
        self._collect()
