"""Several processes that take one training's steps together, started by torchrun.

Each computes its share of every batch; what they have is added up: gradients, losses, hits, and the
statistics of batch normalization. Every process then takes the same step from the same weights.
"""

from collections.abc import Sequence
from typing import Any

import torch

from shared import distributed
from shared.torch_distributed import all_reduce_sum


class Sum(torch.autograd.Function):
    """y = sum over all processes of x. The loss is such a sum, too: dx = sum over them of dy."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        return all_reduce_sum(x.clone())

    @staticmethod
    def backward(context: Any, dy: torch.Tensor) -> torch.Tensor:
        """Return dx."""
        return all_reduce_sum(dy.clone())


class Share:
    """What of a batch this process computes: all of it where there is one process.

    With several it is one example of so many as there are processes. Where a batch has fewer
    examples than that, a process without any computes the first one, which counts nothing: it has
    to take part in whatever is added up.

    Attributes:
        size: of the whole batch.
        rows: those of its examples that this process computes.
        weight: what their mean loss counts in that of the batch.
    """

    def __init__(self) -> None:
        self.size = 0
        self.rows = slice(None)
        self.weight = 1.0

    def take(self, size: int) -> slice:
        """Go over to the next batch, of so many examples; return the rows of this process."""
        rank, count = distributed.rank(), distributed.world_size()
        own = len(range(rank, size, count))
        self.size, self.weight = size, own / size
        self.rows = slice(rank, None, count) if own else slice(1)
        return self.rows

    def together(
        self, loss: torch.Tensor, hits: torch.Tensor, weights: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add up what all processes have of a batch: its loss, its hits, the gradients.

        Args:
            loss: this process's mean times `weight`.
            hits: this process's.
            weights: whose gradients become those of the whole batch.

        Returns:
            The mean loss and the hits of the whole batch.
        """
        if distributed.world_size() == 1:
            return loss.detach(), hits
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        scores = torch.stack([loss.detach(), hits.to(loss) * bool(self.weight)])
        # At once: many small sums would take far longer.
        parts = [scores, *(gradient.reshape(-1) for gradient in gradients)]
        sums = all_reduce_sum(torch.cat(parts)).split([part.numel() for part in parts])
        for gradient, total in zip(gradients, sums[1:], strict=True):
            gradient.copy_(total.view(gradient.shape))
        return sums[0][0], sums[0][1]
