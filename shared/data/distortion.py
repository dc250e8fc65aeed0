"""Random affine and elastic distortions of gray images, as handwriting varies."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

AFFINE = 0.15  # largest change of an entry of the matrix, at strength 1
ELASTIC = 0.8  # pixels, the standard deviation of the elastic part, at strength 1
SMOOTHNESS = 4.0  # pixels, the standard deviation of the Gaussian that smooths the elastic part
GROUP = 100  # images that share a distortion, so that its positions are computed once for all of them


def distort(images: Any, random: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """Return the images, half of them distorted at random (`sampled_positions`), on the host.

    Between pixels, gray values are interpolated linearly; beyond the edge, they are those of the edge.
    Interpolation blurs an image: the other half stays as sharp as the images that will be recognized.

    Args:
        images: uint8 (N, H, W), at least 2 pixels high and wide: an array, or a tensor on any device.
        random: draws which images are distorted, groups of them, and a distortion for each group.
        strength: factor of both parts of a distortion; 0 leaves the images as they are.
    """
    if not isinstance(images, np.ndarray):
        images = images.cpu().numpy()
    count, height, width = images.shape
    flat, distorted = images.reshape(count, -1), images.reshape(count, -1).copy()
    half = random.permutation(count)[: count // 2]
    for rows in np.split(half, range(GROUP, len(half), GROUP)):
        positions = sampled_positions((height, width), random, AFFINE * strength, ELASTIC * strength)
        positions = positions.reshape(2, -1)
        top, left = corner = np.minimum(positions.astype(np.int64), [[height - 2], [width - 2]])
        down, right = (positions - corner).astype(np.float32)[..., None]
        at = top * width + left
        pixels = flat[rows].T.astype(np.float32)  # a row for each pixel: the images lie side by side
        upper = pixels[at] + right * (pixels[at + 1] - pixels[at])
        lower = pixels[at + width] + right * (pixels[at + width + 1] - pixels[at + width])
        distorted[rows] = np.rint(upper + down * (lower - upper)).T
    return distorted.reshape(images.shape)


def sampled_positions(
    shape: tuple[int, int], random: np.random.Generator, affine: float, elastic: float
) -> NDArray[np.float64]:
    """Return the row and column of the image that each pixel of the distorted one shows, (2, H, W).

    Args:
        shape: H and W.
        random: draws the distortion.
        affine: positions, counted from the center, are multiplied by a matrix whose entries differ from
            those of the identity by at most this, uniformly: a rotation, scaling and shear in one.
        elastic: standard deviation in pixels of the smoothed noise that is added to each coordinate
            (Simard, Steinkraus and Platt 2003).
    """
    largest = np.array(shape)[:, None, None] - 1
    matrix = np.eye(2) + random.uniform(-affine, affine, (2, 2))
    positions = largest / 2 + np.tensordot(matrix, np.indices(shape) - largest / 2, axes=1)
    rows, columns = (smoothing(side) for side in shape)
    positions += elastic * (rows @ random.standard_normal((2, *shape)) @ columns.T)
    return np.asarray(positions.clip(0, largest))


def smoothing(side: int) -> NDArray[np.float64]:
    """Return the matrix that smooths independent numbers and keeps their variance, (side, side)."""
    numbers = np.arange(side)
    weights = np.exp(-(((numbers[:, None] - numbers) / SMOOTHNESS) ** 2) / 2)
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True))
