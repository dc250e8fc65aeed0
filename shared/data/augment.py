"""Changes of images that leave their meaning: more to learn from than there is."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


def shifted(images: NDArray[Any], random: np.random.Generator, pixels: int) -> NDArray[Any]:
    """Return each image moved by up to `pixels` in each direction, at random.

    Args:
        images: (N, height, width), of any dtype; their first pixel is taken for background, and
            fills the gaps.
        random: draws the ways.
        pixels: the longest way; 0 returns the images as they are.
    """
    if pixels == 0:
        return images
    down, right = random.integers(0, 2 * pixels + 1, (2, len(images)))
    margin = ((0, 0), (pixels, pixels), (pixels, pixels))
    padded = np.pad(images, margin, constant_values=images[0, 0, 0])
    windows = sliding_window_view(padded, images.shape[1:], axis=(1, 2))
    moved: NDArray[Any] = windows[np.arange(len(images)), down, right]
    return moved


def mirrored_and_moved(
    images: NDArray[np.uint8], random: np.random.Generator, pixels: int, mirror: bool
) -> NDArray[np.uint8]:
    """Return each picture moved by up to `pixels` each way and, half of them, mirrored, at random.

    Args:
        images: (N, height, width, 3); the pixels at their edges are repeated to fill the gaps.
        random: draws the ways and the halves.
        pixels: the longest way; 0 moves nothing.
        mirror: whether left and right may change places.
    """
    down, right = random.integers(0, 2 * pixels + 1, (2, len(images)))
    flipped = random.random(len(images)) < 0.5
    height, width = images.shape[1:3]
    margin = ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0))
    padded = np.pad(images, margin, mode="edge")
    moved: NDArray[np.uint8] = np.empty_like(images)
    for number, (top, left) in enumerate(zip(down, right, strict=True)):
        moved[number] = padded[number, top : top + height, left : left + width]
    if mirror:
        moved[flipped] = moved[flipped, :, ::-1]
    return moved
