"""The networks in PyTorch."""

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from apps.attention.config import MeanPooling, Model, MultiHead, SingleHead
from shared.data.sequences import PAD
from shared.training.torch_dropout import ByteDropout

Pair = tuple[torch.Tensor, torch.Tensor]


class TorchNetwork(nn.Module, ABC):
    """Embedding, something that looks at all tokens, dropout, dense; ids (N, T) to logits (N, C).

    If `paired`, ids are key, value, key, value, ..., question, and an item is the sum of the embeddings
    of a key and its value. Otherwise each token is an item, and all texts have the same question: an
    additional row of the embedding. The items are mixed for the question, which is added to the
    result, as around every attention of a transformer (Vaswani et al. 2017, arXiv:1706.03762,
    section 3.1).
    """

    def __init__(self, config: Model, tokens: int, outputs: int, paired: bool) -> None:
        super().__init__()
        self.tokens, self.paired = tokens, paired
        self.embedding = nn.Embedding(tokens + (not paired), config.embedding)
        nn.init.normal_(self.embedding.weight, std=config.std)
        self.dropout = ByteDropout(config.dropout)
        self.fc = nn.Linear(config.embedding, outputs)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        question, items, mask = self.read(ids)
        mixed, _ = self.mix(question, items, mask)
        return self.fc(self.dropout((question + mixed)[:, 0]))

    def read(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the question (N, 1, E), the items (N, S, E), and the mask (N, 1, S), False for padding."""
        if not self.paired:
            ids = torch.cat([ids, torch.full_like(ids[:, :1], self.tokens)], dim=1)
        x = self.embedding(ids)
        if self.paired:
            return x[:, -1:], x[:, :-1:2] + x[:, 1::2], (ids[:, :-1:2] != PAD)[:, None]
        return x[:, -1:], x[:, :-1], (ids[:, :-1] != PAD)[:, None]

    @abstractmethod
    def mix(self, question: torch.Tensor, items: torch.Tensor, mask: torch.Tensor) -> Pair:
        """Return the mixture (N, 1, E) and the weights (N, heads, 1, S)."""


class TorchSingleHead(TorchNetwork):
    """One head: the question's projection is compared with those of all items."""

    def __init__(self, config: SingleHead, tokens: int, outputs: int, paired: bool) -> None:
        super().__init__(config, tokens, outputs, paired)
        self.query = nn.Linear(config.embedding, config.embedding)
        self.key = nn.Linear(config.embedding, config.embedding)
        self.value = nn.Linear(config.embedding, config.embedding)

    def mix(self, question: torch.Tensor, items: torch.Tensor, mask: torch.Tensor) -> Pair:
        projected = self.query(question), self.key(items), self.value(items)
        mixed, weights = attention(*projected, mask)
        return mixed, weights[:, None]


class TorchMultiHead(TorchNetwork):
    """Several heads, each on its part of the projections, and one more projection of them all."""

    def __init__(self, config: MultiHead, tokens: int, outputs: int, paired: bool) -> None:
        super().__init__(config, tokens, outputs, paired)
        self.attention = nn.MultiheadAttention(config.embedding, config.heads, batch_first=True)

    def mix(self, question: torch.Tensor, items: torch.Tensor, mask: torch.Tensor) -> Pair:
        absent = ~mask[:, 0]  # in this layer's masks True means: not to be attended
        mixed, weights = self.attention(
            question, items, items, key_padding_mask=absent, average_attn_weights=False
        )
        return mixed, weights


class TorchMeanPooling(TorchNetwork):
    """The values' mean: the single head with the same weight for every item, asked or not."""

    def __init__(self, config: MeanPooling, tokens: int, outputs: int, paired: bool) -> None:
        super().__init__(config, tokens, outputs, paired)
        self.value = nn.Linear(config.embedding, config.embedding)

    def mix(self, question: torch.Tensor, items: torch.Tensor, mask: torch.Tensor) -> Pair:
        weights = mask.to(items.dtype) / mask.sum(dim=-1, keepdim=True)
        return weights @ self.value(items), weights[:, None]


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> Pair:
    """Return the mixture of the values and the weights, softmax(q k^T / sqrt(E)).

    Scaled dot-product attention (Vaswani et al. 2017, equation 1). Where the mask is False, a query
    may not attend; it must leave each query a key. Shapes: query (..., L, E), key (..., S, E),
    value (..., S, Ev), mask and weights (..., L, S), mixture (..., L, Ev).
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights @ value, weights


def attention_weights(model: TorchNetwork, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weight of each item, (N, heads, S), for ids (N, T); 0 for padding."""
    model.eval()
    with torch.inference_mode():
        _, weights = model.mix(*model.read(torch.from_numpy(ids).to(model.fc.weight.device)))
    return weights[:, :, 0].cpu().double().numpy()


NETWORKS: dict[str, type[TorchNetwork]] = {
    "single_head": TorchSingleHead,
    "multi_head": TorchMultiHead,
    "mean_pooling": TorchMeanPooling,
}


def build_model(config: Model, tokens: int, outputs: int, paired: bool) -> nn.Module:
    """Return the network that `config.name` names, for `tokens` ids, padding included.

    One logit tells two classes apart. `paired`: whether ids are pairs and a question, or all items.
    """
    return NETWORKS[config.name](config, tokens, outputs, paired)
