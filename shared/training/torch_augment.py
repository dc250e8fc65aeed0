"""Changes of images in PyTorch, on the device where they are."""

from typing import Any

import numpy as np
import torch

from shared.data import augment


def shift(images: Any, random: np.random.Generator, pixels: int) -> Any:
    """Return each image moved by up to `pixels` in each direction, at random.

    The same numbers are drawn and the same images made as in shared/data/augment.py, which moves
    them where they are NumPy's: on a CPU, where that is faster.

    Args:
        images: (N, height, width), of any dtype; their first pixel is taken for background, and
            fills the gaps.
        random: draws the ways.
        pixels: the longest way; 0 returns the images as they are.
    """
    moved = shift_tensor if isinstance(images, torch.Tensor) else augment.shift
    return moved(images, random, pixels)


def shift_tensor(images: torch.Tensor, random: np.random.Generator, pixels: int) -> torch.Tensor:
    """Do what `shift` does, on the images' device, without waiting for it."""
    if pixels == 0:
        return images
    count, height, width = images.shape
    ways = torch.from_numpy(random.integers(0, 2 * pixels + 1, (2, count))).to(images.device)
    background = images[:1, :1, :1].expand(count, height + 2 * pixels, width + 2 * pixels)
    padded = background.clone()
    padded[:, pixels:-pixels, pixels:-pixels] = images
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # a view (N, ways, ways, H, W)
    return windows[torch.arange(count, device=images.device), ways[0], ways[1]]
