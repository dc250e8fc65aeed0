"""Layers in PyTorch that are faster here than torch's own, with the same meaning."""

import torch
from torch import nn

LEVELS = 256  # values of a byte


class ByteDropout(nn.Module):
    """Dropout (Srivastava et al. 2014, section 4) that spends a byte of randomness on each value.

    Each value of x, any shape, is zero with probability p while training and divided by 1 - p
    otherwise; in evaluation mode x is returned as it is. p is rounded to a multiple of 1/256, for
    the zeros and for the scale alike, so that the expected value stays exact. torch.nn.Dropout
    draws 32 bits for each value, one after the other: a seventh of the CNN's training step
    (docs/performance.md).

    Args:
        p: probability of a zero, 0 <= p < 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.zeros = min(round(p * LEVELS), LEVELS - 1)  # of 256 bytes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with zeros in it, or as it is."""
        if not self.training or self.zeros == 0:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.zeros
        return x * kept * (LEVELS / (LEVELS - self.zeros))
