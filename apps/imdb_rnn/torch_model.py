"""The networks in PyTorch."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from apps.imdb_rnn.config import BiLstm, Bow, Lstm, Nbsvm, Rnn
from shared.data.sequences import PAD
from shared.training.torch_dropout import ByteDropout

NOTHING = -1e9  # smaller than any state of a word: padding never has the maximum


class TorchReader(nn.Module, ABC):
    """Embedding, something that reads it, dropout, dense; ids (N, T) to logits (N, outputs).

    Embedding and reading are separate, so that `embedding_gradients` can take the gradient between.
    """

    def __init__(self, rows: int, size: int, std: float, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, size)
        nn.init.normal_(self.embedding.weight, std=std)
        self.dropout = ByteDropout(dropout)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.read(self.embed(ids), ids)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embedded words, (N, T, embedding)."""
        return self.embedding(ids)

    @abstractmethod
    def read(self, embedded: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of words that are already embedded."""


class TorchRecurrent(TorchReader):
    """Embedding, LSTM (in one or both directions) or RNN, dropout, dense; ids (N, T) to logits (N, outputs).

    `readout` says what the last layer gets: the maximum of each unit over time, without the padding,
    or the state after the last word.
    """

    def __init__(self, config: Lstm | BiLstm | Rnn, tokens: int, outputs: int) -> None:
        super().__init__(tokens, config.embedding, config.embedding_std, config.dropout)
        self.name, self.readout = config.name, config.readout
        self.embedding_dropout = ByteDropout(config.embedding_dropout)
        self.add_module(self.name, LAYERS[self.name](config.embedding, config.hidden, batch_first=True))
        self.fc = nn.Linear(config.units, outputs)
        one_bias(self.get_submodule(self.name))

    def read(self, embedded: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        layer = self.get_submodule(self.name)
        if self.training and self.embedding_dropout.zeros:
            # One mask for all words (Gal and Ghahramani 2016), whatever the length of the batch
            embedded = embedded * self.embedding_dropout(torch.ones_like(embedded[:, :1]))
        states, _ = layer(embedded, ids != PAD) if self.name == "bilstm" else layer(embedded)
        if self.readout == "max":
            state = states.masked_fill((ids == PAD)[:, :, None], NOTHING).amax(dim=1)
        else:
            last = (ids != PAD).sum(dim=1) - 1
            state = states[torch.arange(ids.shape[0], device=ids.device), last]
        return self.fc(self.dropout(state))


class RnnCell(nn.Module):
    """`torch.nn.RNN` written out: h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh) (Elman 1990).

    Inputs (N, T, input_size) to the states of all steps (N, T, hidden_size) and the last one, (N,
    hidden_size). Names, shapes and initial range of the weights are torch's.
    """

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = True) -> None:
        super().__init__()
        self.hidden_size, bound = hidden_size, hidden_size**-0.5
        self.weight_ih_l0 = nn.Parameter(torch.empty(hidden_size, input_size).uniform_(-bound, bound))
        self.weight_hh_l0 = nn.Parameter(torch.empty(hidden_size, hidden_size).uniform_(-bound, bound))
        self.bias_ih_l0 = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))
        self.bias_hh_l0 = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))

    def step(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Return the next state (N, hidden_size) after inputs x (N, input_size)."""
        inputs = x @ self.weight_ih_l0.T + self.bias_ih_l0
        return torch.tanh(inputs + state @ self.weight_hh_l0.T + self.bias_hh_l0)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = x.new_zeros(x.shape[0], self.hidden_size)
        states = []
        for t in range(x.shape[1]):
            state = self.step(x[:, t], state)
            states.append(state)
        return torch.stack(states, dim=1), state


class PaddedBiLSTM(nn.LSTM):
    """`torch.nn.LSTM(bidirectional=True)` for padded texts: its reverse direction begins at the last word.

    Inputs (N, T, input_size) and mask (N, T), False for padding at the end, to the states of both
    directions, (N, T, 2 hidden_size). A packed sequence gives the same, six times slower on a CPU.
    """

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = True) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first, bidirectional=True)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        steps, last = torch.arange(mask.shape[1], device=mask.device), mask.sum(dim=1, keepdim=True) - 1
        mirrored = torch.where(mask, last - steps, steps)[:, :, None]  # its own inverse

        def mirror(values: torch.Tensor) -> torch.Tensor:
            return values.gather(1, mirrored.expand(-1, -1, values.shape[2]))

        weights, reverse_weights = self.all_weights
        reverse = mirror(self.direction(mirror(x), reverse_weights))
        return torch.cat([self.direction(x, weights), reverse], dim=2), None

    def direction(self, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the states (N, T, hidden_size) of an LSTM with these weights, from the first step on."""
        start = x.new_zeros(1, x.shape[0], self.hidden_size)
        return torch.lstm(x, (start, start), list(weights), True, 1, 0.0, self.training, False, True)[0]


LAYERS: dict[str, Any] = {"bilstm": PaddedBiLSTM, "lstm": nn.LSTM, "rnn": nn.RNN, "rnn_cell": RnnCell}


class TorchBow(TorchReader):
    """The mean embedding of all words and pairs of words, dense; ids (N, T) to logits (N, outputs).

    Pairs share `buckets` rows by a hash, as in fastText (Joulin et al. 2017, arXiv:1607.01759).
    """

    def __init__(self, config: Bow, tokens: int, outputs: int) -> None:
        super().__init__(tokens + config.buckets, config.embedding, 1 / math.sqrt(tokens), config.dropout)
        self.tokens, self.buckets = tokens, config.buckets
        self.fc = nn.Linear(config.embedding, outputs)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return `read(embed(ids))`, computed without a copy of the embeddings."""
        mean = nn.functional.embedding_bag(
            self.rows(ids), self.embedding.weight, per_sample_weights=self.shares(ids), mode="sum"
        )
        return self.fc(self.dropout(mean))

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the rows of the words and of the pairs."""
        return words_and_pairs(ids, self.tokens, self.buckets)

    def shares(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the weight of each row in the mean, (N, 2 T - 1): 0 for padding."""
        mask = torch.cat([ids != PAD, ids[:, 1:] != PAD], dim=1)
        return mask.to(self.embedding.weight.dtype) / mask.sum(dim=1, keepdim=True)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return super().embed(self.rows(ids))

    def read(self, embedded: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        mean = (embedded * self.shares(ids)[:, :, None]).sum(dim=1)
        return self.fc(self.dropout(mean))


def words_and_pairs(ids: torch.Tensor, tokens: int, buckets: int) -> torch.Tensor:
    """Return the rows of the T words, then of the T - 1 pairs, (N, 2 T - 1)."""
    pairs = tokens + (ids[:, :-1] * 31_337 + ids[:, 1:]) % buckets
    return torch.cat([ids, pairs], dim=1)


class TorchNbsvm(TorchReader):
    """Logistic regression on the log-count ratios of words and pairs; ids (N, T) to logits (N, outputs).

    The features of NBSVM (Wang and Manning 2012, aclanthology.org/P12-2018) with the logistic loss (Mesnil et
    al. 2015, arXiv:1412.5335), but without their penalty and without interpolation with naive Bayes. The
    logit is the sum of w r over the distinct words and pairs of a text, where w is learned and r, the
    log-count ratio, comes from the training set (naive_bayes.py). Pairs share `buckets` rows by a hash.
    The bias is a table with one row, because Keras has no layer that is only a bias.
    """

    def __init__(self, config: Nbsvm, tokens: int, outputs: int) -> None:
        super().__init__(tokens + config.buckets, outputs, 0.0, 0.0)
        self.tokens, self.buckets = tokens, config.buckets
        self.ratios = nn.Embedding(tokens + config.buckets, outputs).requires_grad_(False)
        self.bias = nn.Embedding(1, outputs)
        nn.init.zeros_(self.bias.weight)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return super().embed(words_and_pairs(ids, self.tokens, self.buckets))

    def read(self, embedded: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        valid = torch.cat([ids != PAD, ids[:, 1:] != PAD], dim=1)
        rows = words_and_pairs(ids, self.tokens, self.buckets).where(valid, PAD)
        mask = self.first_occurrences(rows)[:, :, None]
        return (embedded * self.ratios(rows) * mask).sum(dim=1) + self.bias.weight

    def first_occurrences(self, rows: torch.Tensor) -> torch.Tensor:
        """Return where a row occurs in its text for the first time, and is not PAD, (N, 2 T - 1).

        Keys of row and position are all different: any sort is stable, also that of ONNX.
        """
        width = rows.shape[1]
        keys, order = (rows * width + torch.arange(width, device=rows.device)).sort(dim=1)
        rising = keys // width
        is_first = rising != nn.functional.pad(rising[:, :-1], (1, 0), value=PAD)
        return is_first.gather(1, order.argsort(dim=1))


def embedding_gradients(
    model: TorchReader, ids: NDArray[np.int64], output: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the embedded words of ids (N, T), and the gradient of a logit with respect to them.

    The network is left in evaluation mode. Both are (N, T, embedding); of networks that read pairs
    (N, 2 T - 1, embedding): words, then pairs.
    """
    model.eval()
    batch = torch.from_numpy(ids).to(model.embedding.weight.device)
    embedded = model.embed(batch).detach().requires_grad_()
    model.read(embedded, batch)[:, output].sum().backward()
    assert embedded.grad is not None
    return embedded.detach().cpu().numpy(), embedded.grad.cpu().numpy()


def one_bias(layer: nn.Module) -> None:
    """Fix torch's second bias at 0: in addition to the first it would only double the bias's steps."""
    for name, bias in list(layer.named_parameters()):
        if name.startswith("bias_hh"):
            setattr(layer, name, nn.Parameter(torch.zeros_like(bias), requires_grad=False))


def build_model(config: Lstm | BiLstm | Rnn | Bow | Nbsvm, tokens: int, outputs: int = 1) -> TorchReader:
    """Return the network that `config.name` names, for a vocabulary of `tokens` tokens."""
    network: Any = {"bow": TorchBow, "nbsvm": TorchNbsvm}.get(config.name, TorchRecurrent)
    return network(config, tokens, outputs)
