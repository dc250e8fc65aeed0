"""A convolution followed by max pooling, with a backward pass that skips zero gradients."""

from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from shared.config import Pooling
from shared.training import conv_pool

DTYPES = (torch.float32, torch.bfloat16)


def conv_max_pool(conv: nn.Conv2d, x: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Return max_pool2d(conv(x), 2), (N, K, H', W'), for x (N, C, H, W).

    Args:
        conv: without padding, stride 1.
        x: float32, float64 or bfloat16.
        pooling: "sparse" computes the gradients of training with conv_pool.c, on a CPU and in float32
            or bfloat16; everything else is computed by torch.
    """
    supported = x.device.type == "cpu" and x.dtype in DTYPES
    if pooling == "sparse" and conv.training and supported and not torch.compiler.is_compiling():
        return cast(torch.Tensor, ConvMaxPool.apply(x, conv.weight, conv.bias))
    return F.max_pool2d(conv(x), 2)


class ConvMaxPool(torch.autograd.Function):
    """max_pool2d(conv2d(x, weight, bias), 2); the output is contiguous, channels first."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return the maxima, in bfloat16 under autocast; they may be changed in place."""
        y = F.conv2d(x, weight, bias)
        maxima, where = conv_pool.max_pool(to_numpy(channels_last(y)), torch.get_num_threads())
        ctx.save_for_backward(x.to(y.dtype), weight.to(y.dtype), torch.from_numpy(where))
        ctx.has_bias = bias is not None
        return torch.from_numpy(maxima).view(y.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x, in the dtype of the maxima, and of weight and bias in float32.

        It returns all of them, needed or not: a frozen layer is not in training mode.
        """
        x, weight, where = ctx.saved_tensors
        dx, dw, db = conv_pool.gradients(
            to_numpy(channels_last(x)),
            to_numpy(channels_last(weight.float())),
            to_numpy(dy.detach().contiguous()),
            where.numpy(),
            torch.get_num_threads(),
        )
        images = torch.from_numpy(dx).view(x.dtype).permute(0, 3, 1, 2)
        weights = torch.from_numpy(dw).permute(0, 3, 1, 2)
        return images, weights, torch.from_numpy(db) if ctx.has_bias else None


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """Return (N, C, H, W) as contiguous (N, H, W, C)."""
    return images.detach().permute(0, 2, 3, 1).contiguous()


def to_numpy(values: torch.Tensor) -> NDArray[Any]:
    """Return an array that shares the memory of a tensor; of bfloat16 the bits."""
    return (values.view(torch.uint16) if values.dtype == torch.bfloat16 else values).numpy()
