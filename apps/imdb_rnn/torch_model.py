"""The networks in PyTorch."""

import math

import torch
from torch import nn

from apps.imdb_rnn.config import Bow, Lstm, Rnn
from shared.data.text import PAD
from shared.training.torch_layers import ByteDropout

NOTHING = -1e9  # below every number that a padded step could win against


class TorchLstm(nn.Module):
    """Embedding, LSTM, maximum over time, dense; ids (N, T) to logits (N, outputs).

    The maximum is taken over the words alone: what is padded, on the right, is never looked at.
    """

    def __init__(self, config: Lstm, tokens: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, config.embedding)
        self.lstm = nn.LSTM(config.embedding, config.hidden, batch_first=True)
        self.dropout = ByteDropout(config.dropout)
        self.fc = nn.Linear(config.hidden, outputs)
        one_bias(self.lstm)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.embedding(ids))
        largest = states.masked_fill((ids == PAD)[:, :, None], NOTHING).amax(dim=1)
        logits: torch.Tensor = self.fc(self.dropout(largest))
        return logits


class TorchRnn(nn.Module):
    """Embedding, plain RNN, its last word's state, dense; ids (N, T) to logits (N, outputs)."""

    def __init__(self, config: Rnn, tokens: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, config.embedding)
        self.rnn = nn.RNN(config.embedding, config.hidden, batch_first=True)
        self.dropout = ByteDropout(config.dropout)
        self.fc = nn.Linear(config.hidden, outputs)
        one_bias(self.rnn)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.rnn(self.embedding(ids))
        last = (ids != PAD).sum(dim=1) - 1
        state = states[torch.arange(len(ids)), last]
        logits: torch.Tensor = self.fc(self.dropout(state))
        return logits


class TorchBow(nn.Module):
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
        pairs = self.tokens + (ids[:, :-1] * 31_337 + ids[:, 1:]) % self.buckets
        both = torch.cat([ids, pairs], dim=1)
        there = torch.cat([ids != PAD, ids[:, 1:] != PAD], dim=1)
        weights = there / there.sum(dim=1, keepdim=True).to(self.fc.weight.dtype)
        mean = nn.functional.embedding_bag(
            both, self.embedding.weight, per_sample_weights=weights.to(self.embedding.weight.dtype),
            mode="sum",
        )  # fmt: skip
        logits: torch.Tensor = self.fc(self.dropout(mean))
        return logits


def one_bias(layer: nn.RNNBase) -> None:
    """Leave torch's second bias out: beside the first it only doubles the bias's steps."""
    size = layer.get_parameter("bias_hh_l0").shape
    layer.bias_hh_l0 = nn.Parameter(torch.zeros(size), requires_grad=False)


def build_model(config: Lstm | Rnn | Bow, tokens: int, outputs: int = 1) -> nn.Module:
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
