"""Several processes that take one training's steps together, started by torchrun.

Each computes its share of every batch; what they have is added up: gradients, losses, hits, and the
statistics of batch normalization. Every process then takes the same step from the same weights.
"""

import contextlib
import signal
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from shared import distributed
from shared.errors import LostProcess

# A process that ends is noticed at once; this is for one that is no longer heard of. The first one
# may need minutes between two steps, for a checkpoint on a slow disk.
PATIENCE = timedelta(minutes=10)
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}  # torch's names


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Meet the other processes, and part from them at the end.

    Args:
        device: where the network will be.

    Raises:
        LostProcess: one of them does not come.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Python's own handlers have to wait as long as this waits for a process that may have ended.
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with _lost("cannot meet the other processes of this training"):
        dist.init_process_group(BACKENDS[device.type], timeout=PATIENCE)
    signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _lost(what: str = "another process of this training has ended") -> Iterator[None]:
    """Say what it means when a connection breaks."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcess(
            f"{what}; where there is a checkpoint, trainer.resume=latest goes on from it\n"
            f"({str(error).splitlines()[0][:90]})"
        ) from error


def from_first(value: Any) -> Any:
    """Return the first process's value in all of them."""
    values = [value]
    with _lost():
        dist.broadcast_object_list(values, device=torch.device("cpu"))
    return values[0]


def from_all(value: Any) -> list[Any]:
    """Return the values of all processes, by rank."""
    values = [None] * distributed.world_size()
    with _lost():
        dist.all_gather_object(values, value)
    return values


def largest(value: float) -> float:
    """Return the largest of all processes' values."""
    tensor = torch.tensor(value)
    with _lost():
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return tensor.item()


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """Add the others' tensors of this shape to this one, in place, and return it."""
    with _lost():
        dist.all_reduce(tensor)
    return tensor


class Sum(torch.autograd.Function):
    """y = sum over all processes of x. The loss is such a sum, too: dx = sum over them of dy."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        return add_up(x.clone())

    @staticmethod
    def backward(context: Any, dy: torch.Tensor) -> torch.Tensor:
        """Return dx."""
        return add_up(dy.clone())


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
        sums = add_up(torch.cat(parts)).split([part.numel() for part in parts])
        for gradient, total in zip(gradients, sums[1:], strict=True):
            gradient.copy_(total.view(gradient.shape))
        return sums[0][0], sums[0][1]
