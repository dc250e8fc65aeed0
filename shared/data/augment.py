"""Changes of images that leave their meaning: more to learn from than there is."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


def shifted(
    images: NDArray[np.float32], random: np.random.Generator, pixels: int
) -> NDArray[np.float32]:
    """Return each image moved by up to `pixels` in each direction, at random.

    Args:
        images: (N, height, width); their first pixel is taken for background, and fills the gaps.
        random: draws the ways.
        pixels: the longest way; 0 returns the images as they are.
    """
    if pixels == 0:
        return images
    down, right = random.integers(0, 2 * pixels + 1, (2, len(images)))
    margin = ((0, 0), (pixels, pixels), (pixels, pixels))
    padded = np.pad(images, margin, constant_values=images[0, 0, 0])
    windows = sliding_window_view(padded, images.shape[1:], axis=(1, 2))
    moved: NDArray[np.float32] = windows[np.arange(len(images)), down, right]
    return moved
