"""Layers in PyTorch with the meaning of torch's own: faster, or over several processes."""

import math
from typing import Any, cast

import torch
from torch import nn

from shared.training.torch_distributed import Share, Sum

LEVELS = 256  # values of a byte
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by their bytes


class ByteDropout(nn.Module):
    """Dropout (Srivastava et al. 2014, section 4) that spends a byte of randomness on each value.

    Each value of x, any shape, is zero with probability p while training and divided by 1 - p
    otherwise; in evaluation mode x is returned as it is. p is rounded to a multiple of 1/256, for
    the zeros and for the scale alike, so that the expected value stays exact. torch.nn.Dropout
    draws 32 bits for each value, one after the other: a seventh of the CNN's training step
    (docs/performance.md).

    Args:
        p: probability of a zero, 0 <= p < 1.

    Attributes:
        share: where x is a share of a batch, which. What is drawn is for the whole batch: the zeros
            are those that a single process would draw.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.zeros = min(round(p * LEVELS), LEVELS - 1)  # of 256 bytes
        self.share: Share | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with zeros in it, or as it is."""
        if not self.training or self.zeros == 0:
            return x
        shape, rows = x.shape, slice(None)
        if self.share is not None:
            shape, rows = torch.Size([self.share.size, *x.shape[1:]]), self.share.rows
        count = math.prod(shape)
        words = torch.empty(-(-count // 8), dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None)
        drawn = words.view(torch.uint8)[:count].view(shape)[rows].to(INTEGERS[x.element_size()])
        # The sign of the difference, in all bits: ones where the byte is not one of the `zeros`.
        kept = (self.zeros - 1 - drawn) >> (8 * x.element_size() - 1)
        masked: torch.Tensor = Masked.apply(x, kept)
        return masked * (LEVELS / (LEVELS - self.zeros))


class Masked(torch.autograd.Function):
    """x where all bits of a mask of integers as wide as x are ones, 0 where none is.

    A product with zeros and ones is the same for finite x; torch takes several times as long for
    it in bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return x and zeros."""
        ctx.save_for_backward(mask)
        return (x.view(mask.dtype) & mask).view(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return dy and zeros."""
        (mask,) = ctx.saved_tensors
        return (dy.view(mask.dtype) & mask).view(dy.dtype), None


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization whose statistics are those of a whole batch, of which x is a share.

    torch.nn.SyncBatchNorm does the same, on GPUs alone.

    Attributes:
        share: which share.
    """

    share: Share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (N, C, ...) normalized for each channel, in its own dtype."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values = x.to(self.weight.dtype)
        others = [axis for axis in range(x.dim()) if axis != 1]
        channels = (-1, *(1 for _ in x.shape[2:]))
        count = self.share.size * math.prod(x.shape[2:])
        mean = Sum.apply(values.sum(others) * self.counted()) / count
        centerd = values - mean.view(channels)
        variance = Sum.apply((centerd**2).sum(others) * self.counted()) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight / (variance + self.eps).sqrt()
        return (centerd * scale.view(channels) + self.bias.view(channels)).to(x.dtype)

    def counted(self) -> float:
        """Return 0 for a share of no examples, in place of which one stands; else 1."""
        return float(self.share.weight > 0)


class SharedBatchNorm1d(SharedBatchNorm, nn.BatchNorm1d):
    """nn.BatchNorm1d, shared."""


class SharedBatchNorm2d(SharedBatchNorm, nn.BatchNorm2d):
    """nn.BatchNorm2d, shared."""


SHARED: dict[type[nn.Module], type[SharedBatchNorm]] = {
    nn.BatchNorm1d: SharedBatchNorm1d,
    nn.BatchNorm2d: SharedBatchNorm2d,
}


def over_processes(network: nn.Module, share: Share) -> None:
    """Make the layers that look at a whole batch do so where a process computes a share of it."""
    for layer in network.modules():
        if isinstance(layer, ByteDropout):
            layer.share = share
        elif type(layer) in SHARED:
            layer.__class__ = SHARED[type(layer)]  # weights and statistics stay the same tensors
            cast(SharedBatchNorm, layer).share = share
