"""Data augmentation: random changes of images that leave their class as it is."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


def shift(images: NDArray[Any], random: np.random.Generator, pixels: int) -> NDArray[Any]:
    """Return each image shifted by up to `pixels` in each direction, at random.

    Args:
        images: (N, H, W), of any dtype. The gaps are filled with the first image's first pixel.
        random: draws the offsets.
        pixels: the largest offset; 0 returns the images as they are.
    """
    if pixels == 0:
        return images
    down, right = random.integers(0, 2 * pixels + 1, (2, len(images)))
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels)), constant_values=images[0, 0, 0])
    windows = sliding_window_view(padded, images.shape[1:], axis=(1, 2))
    shifted: NDArray[Any] = windows[np.arange(len(images)), down, right]
    return shifted


def shift_and_mirror(
    images: NDArray[np.uint8], random: np.random.Generator, pixels: int, mirror: bool
) -> NDArray[np.uint8]:
    """Return each color image shifted by up to `pixels` and, half of them, mirrored, at random.

    Args:
        images: (N, H, W, 3). Their edges are repeated to fill the gaps.
        random: draws the offsets and which images are mirrored.
        pixels: the largest offset; 0 shifts nothing.
        mirror: whether left and right may be exchanged.
    """
    down, right = random.integers(0, 2 * pixels + 1, (2, len(images)))
    mirrored = random.random(len(images)) < 0.5
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    shifted = np.empty_like(images)
    for number, (top, left) in enumerate(zip(down, right, strict=True)):
        shifted[number] = padded[number, top : top + height, left : left + width]
    if mirror:
        shifted[mirrored] = shifted[mirrored, :, ::-1]
    return shifted
