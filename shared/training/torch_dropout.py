"""Dropout in PyTorch, faster than torch's own."""

import math
from typing import Any

import torch
from torch import nn

LEVELS = 256  # values of a byte
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by their size in bytes


class ByteDropout(nn.Module):
    """Dropout (Srivastava et al. 2014, section 4) that spends a byte of randomness on each value.

    In training, each value of x, of any shape, is zero with probability p and divided by 1 - p
    otherwise; in evaluation x is returned unchanged. p is rounded to a multiple of 1/256 for both,
    so that the expected value stays exact. torch.nn.Dropout draws 32 bits for each value, one after
    the other: a seventh of the CNN's training step (docs/performance.md).

    Args:
        p: probability of a zero, 0 <= p < 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.zeros = min(round(p * LEVELS), LEVELS - 1)  # of 256 bytes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with zeros in training, and x itself in evaluation."""
        if not self.training or self.zeros == 0:
            return x
        shape, rows = self.batch_shape(x), self.rows()
        count = math.prod(shape)
        words = torch.empty(-(-count // 8), dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None)
        drawn = words.view(torch.uint8)[:count].view(shape)[rows].to(INTEGERS[x.element_size()])
        # The sign of the difference fills all bits: ones where the byte is not one of the `zeros`.
        mask = (self.zeros - 1 - drawn) >> (8 * x.element_size() - 1)
        masked: torch.Tensor = BitMask.apply(x, mask)
        return masked * (LEVELS / (LEVELS - self.zeros))

    # A process that sees a shard of the batch replaces these two (torch_ddp.py).
    def batch_shape(self, x: torch.Tensor) -> torch.Size:
        """Return the shape of the whole batch, for which the mask is drawn."""
        return x.shape

    def rows(self) -> slice:
        """Return the rows of the batch that x has."""
        return slice(None)


class BitMask(torch.autograd.Function):
    """x where all bits of an integer mask as wide as x are ones, 0 where all are zeros.

    For finite x the same as a product with ones and zeros, which is several times slower in bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the masked x."""
        ctx.save_for_backward(mask)
        return (x.view(mask.dtype) & mask).view(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the masked dy."""
        (mask,) = ctx.saved_tensors
        return (dy.view(mask.dtype) & mask).view(dy.dtype), None
