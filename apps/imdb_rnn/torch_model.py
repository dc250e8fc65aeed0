"""The networks in PyTorch."""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from apps.imdb_rnn.config import EMBEDDING_STD, Bow, Lstm, Rnn
from shared.data.sequences import PAD
from shared.training.torch_dropout import ByteDropout

NOTHING = -1e9  # below every number that a padded step could win against


class TorchReader(nn.Module, ABC):
    """What reads words that are embedded; ids (N, T) to logits (N, outputs).

    The two steps are apart so that `embedding_gradients` can ask for the gradient between them.
    """

    embedding: nn.Embedding

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.read(self.embed(ids), ids)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Return what is read of the words, (N, T, embedding)."""
        embedded: torch.Tensor = self.embedding(ids)
        return embedded

    @abstractmethod
    def read(self, embedded: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of words that are embedded already."""


class TorchLstm(TorchReader):
    """Embedding, LSTM, maximum over time, dense; ids (N, T) to logits (N, outputs).

    The maximum is taken over the words alone: what is padded, on the right, is never looked at.
    """

    def __init__(self, config: Lstm, tokens: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, config.embedding)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        self.lstm = nn.LSTM(config.embedding, config.hidden, batch_first=True)
        self.dropout = ByteDropout(config.dropout)
        self.fc = nn.Linear(config.hidden, outputs)
        one_bias(self.lstm)

    def read(self, embedded: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(embedded)
        largest = states.masked_fill((ids == PAD)[:, :, None], NOTHING).amax(dim=1)
        logits: torch.Tensor = self.fc(self.dropout(largest))
        return logits


class TorchRnn(TorchReader):
    """Embedding, plain RNN, its last word's state, dense; ids (N, T) to logits (N, outputs)."""

    def __init__(self, config: Rnn, tokens: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, config.embedding)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        self.rnn = nn.RNN(config.embedding, config.hidden, batch_first=True)
        self.dropout = ByteDropout(config.dropout)
        self.fc = nn.Linear(config.hidden, outputs)
        one_bias(self.rnn)

    def read(self, embedded: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.rnn(embedded)
        last = (ids != PAD).sum(dim=1) - 1
        state = states[torch.arange(ids.shape[0], device=ids.device), last]
        logits: torch.Tensor = self.fc(self.dropout(state))
        return logits


class TorchBow(TorchReader):
    """The mean embedding of all words and pairs of words, dense; ids (N, T) to logits (N, outputs).

    Pairs share `buckets` rows by a hash, as in fastText (Joulin et al. 2017, arXiv:1607.01759).
    """

    def __init__(self, config: Bow, tokens: int, outputs: int) -> None:
        super().__init__()
        self.tokens, self.buckets = tokens, config.buckets
        self.embedding = nn.Embedding(tokens + config.buckets, config.embedding)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(tokens))
        self.dropout = ByteDropout(config.dropout)
        self.fc = nn.Linear(config.embedding, outputs)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return what `read(embed(ids))` returns, without making a row for each word and pair."""
        mean = nn.functional.embedding_bag(
            self.rows(ids), self.embedding.weight, per_sample_weights=self.shares(ids), mode="sum"
        )
        logits: torch.Tensor = self.fc(self.dropout(mean))
        return logits

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the rows of the T words and, after them, of the T - 1 pairs, (N, 2 T - 1)."""
        pairs = self.tokens + (ids[:, :-1] * 31_337 + ids[:, 1:]) % self.buckets
        return torch.cat([ids, pairs], dim=1)

    def shares(self, ids: torch.Tensor) -> torch.Tensor:
        """Return how much each row counts in the mean: nothing where there is padding in it."""
        there = torch.cat([ids != PAD, ids[:, 1:] != PAD], dim=1)
        return there.to(self.embedding.weight.dtype) / there.sum(dim=1, keepdim=True)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Return what is read of words and pairs, (N, 2 T - 1, embedding)."""
        embedded: torch.Tensor = self.embedding(self.rows(ids))
        return embedded

    def read(self, embedded: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of words and pairs that are embedded already."""
        mean = (embedded * self.shares(ids)[:, :, None]).sum(dim=1)
        logits: torch.Tensor = self.fc(self.dropout(mean))
        return logits


def embedding_gradients(
    model: TorchReader, ids: NDArray[np.int64], output: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what is read of the words, and the gradient of each text's logit with respect to it.

    Args:
        model: the network; it is left in evaluation mode.
        ids: the words, (N, T).
        output: which logit.

    Returns:
        Two arrays (N, T, embedding); of a bag of words (N, 2 T - 1, embedding): words, then pairs.
    """
    model.eval()
    batch = torch.from_numpy(ids).to(model.embedding.weight.device)
    embedded = model.embed(batch).detach().requires_grad_()
    model.read(embedded, batch)[:, output].sum().backward()
    assert embedded.grad is not None
    return embedded.detach().cpu().numpy(), embedded.grad.cpu().numpy()


def one_bias(layer: nn.RNNBase) -> None:
    """Leave torch's second bias out: beside the first it only doubles the bias's steps."""
    size = layer.get_parameter("bias_hh_l0").shape
    layer.bias_hh_l0 = nn.Parameter(torch.zeros(size), requires_grad=False)


def build_model(config: Lstm | Rnn | Bow, tokens: int, outputs: int = 1) -> TorchReader:
    """Return the network that `config.name` names, for a vocabulary of so many tokens.

    One output, the logit of the second class, tells two classes apart; more take a logit each.
    """
    match config:
        case Lstm():
            return TorchLstm(config, tokens, outputs)
        case Rnn():
            return TorchRnn(config, tokens, outputs)
        case Bow():
            return TorchBow(config, tokens, outputs)
