"""A forward and backward pass through convolution and max pooling, to measure (pooling_speed.py)."""

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from shared.config import Pooling
from shared.training.torch_pooling import conv_max_pool


def build_step(
    pooling: Pooling, precision: str, kernel: int, x: NDArray[Any], dy: NDArray[Any]
) -> Callable[[], Any]:
    """Return the pass on one thread; x (N, H, W, C), dy (N, P, Q, K), float32."""
    torch.set_num_threads(1)
    conv = nn.Conv2d(x.shape[3], dy.shape[3], kernel).to(memory_format=torch.channels_last)
    images, upstream = (torch.from_numpy(array).permute(0, 3, 1, 2) for array in (x, dy))
    images.requires_grad_()

    def step() -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            y = conv_max_pool(conv, images, pooling)
        return torch.autograd.grad(y, [images, *conv.parameters()], upstream.to(y.dtype))

    return step
