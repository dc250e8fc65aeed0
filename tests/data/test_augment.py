"""Shifted images."""

import numpy as np
import pytest

from shared.data.images import shift

BACKGROUND = -0.4


def with_a_dot(count: int) -> np.ndarray:
    images = np.full((count, 9, 9), BACKGROUND, dtype=np.float32)
    images[:, 4, 4] = np.arange(1, count + 1)
    return images


@pytest.mark.parametrize("pixels", [1, 2])
def test_every_way_is_taken_about_equally_often(pixels: int) -> None:
    count = 9000
    moved = shift(with_a_dot(count), np.random.default_rng(0), pixels)[:]
    assert moved.dtype == np.float32
    image, row, column = np.nonzero(moved > 0)
    assert (image == np.arange(count)).all(), "each image keeps its dot and its place"
    assert (moved[image, row, column] == np.arange(1, count + 1)).all()
    ways, frequency = np.unique(np.stack([row - 4, column - 4]), axis=1, return_counts=True)
    side = 2 * pixels + 1
    assert ways.shape[1] == side**2
    assert np.abs(ways).max() == pixels
    expected = count / side**2
    assert (np.abs(frequency - expected) < 5 * expected**0.5).all()
    assert (np.sort(moved.reshape(count, -1))[:, :-1] == np.float32(BACKGROUND)).all()


def test_the_given_images_are_not_changed() -> None:
    images = with_a_dot(10)
    assert shift(images, np.random.default_rng(0), 0) is images
    shift(images, np.random.default_rng(0), 2)[:]
    np.testing.assert_array_equal(images, with_a_dot(10))
