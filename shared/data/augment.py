"""Data augmentation: random changes of images that leave their class as it is."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


def shift(images: NDArray[Any], random: np.random.Generator, pixels: int) -> NDArray[Any]:
    """Return each image shifted by up to `pixels` in each direction, at random.

    Args:
        images: (N, H, W), of any dtype; the first image's first pixel fills the gaps. Or color images,
            (N, H, W, 3); their edges are repeated to fill the gaps.
        random: draws the offsets.
        pixels: the largest offset; 0 returns the images as they are.
    """
    if pixels == 0:
        return images
    down, right = random.integers(0, 2 * pixels + 1, (2, len(images)))
    around = [(0, 0), (pixels, pixels), (pixels, pixels), (0, 0)][: images.ndim]
    if images.ndim == 3:
        padded = np.pad(images, around, constant_values=images[0, 0, 0])
    else:
        padded = np.pad(images, around, mode="edge")
    windows = sliding_window_view(padded, images.shape[1:3], axis=(1, 2))
    shifted = windows[np.arange(len(images)), down, right]  # color channels before height and width
    return shifted if images.ndim == 3 else np.moveaxis(shifted, 1, -1)


def shift_and_mirror(
    images: NDArray[np.uint8], random: np.random.Generator, pixels: int, mirror: bool
) -> NDArray[np.uint8]:
    """Return each color image (N, H, W, 3) shifted by up to `pixels` and, half of them, mirrored, at random.

    Args:
        images: as `shift` takes them.
        random: draws the offsets and which images are mirrored.
        pixels: the largest offset; 0 shifts nothing.
        mirror: whether left and right may be exchanged.
    """
    shifted = shift(images, random, pixels)
    mirrored = random.random(len(images)) < 0.5
    return np.where(mirrored[:, None, None, None], shifted[:, :, ::-1], shifted) if mirror else shifted
