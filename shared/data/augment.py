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
    return windows[np.arange(len(images)), down, right]
