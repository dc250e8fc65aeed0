"""Distorted images."""

import numpy as np
import pytest

from shared.data import digits
from shared.data.distortion import AFFINE, ELASTIC, GROUP, distort, sampled_positions

SHAPE = 20, 28


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def planes(count: int) -> np.ndarray:
    """Return images whose gray value is three times the row plus five times the column."""
    rows, columns = np.indices(SHAPE)
    return np.repeat((3 * rows + 5 * columns)[None], count, axis=0).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 2 * GROUP - 1, 2 * GROUP, 4 * GROUP + 1])
def test_without_strength_the_images_stay_as_they_are(count: int) -> None:
    images = rng().integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    np.testing.assert_array_equal(distort(images, rng(), 0), images)


def test_the_seed_decides_and_half_of_the_images_stay_as_they_are() -> None:
    images = digits.load().train_images[: 2 * GROUP + 50]
    before = images.copy()
    first, again, other = (distort(images, rng(seed), 1) for seed in (0, 0, 1))
    assert first.dtype == np.uint8
    assert first.shape == images.shape
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(images, before)
    changed, changed_otherwise = ((one != images).any(axis=(1, 2)) for one in (first, other))
    assert changed.sum() == changed_otherwise.sum() == len(images) // 2
    both = changed & changed_otherwise
    assert len(images) / 8 < both.sum() < len(images) * 3 / 8, "another half"
    assert (first != other).any(axis=(1, 2))[both].all()


def test_the_affine_part_is_linear_bounded_and_uniform() -> None:
    rows, columns = np.indices(SHAPE) - (np.array(SHAPE) - 1)[:, None, None] / 2
    random = rng()
    drawn = np.stack([sampled_positions(SHAPE, random, 0.2, 0) for _ in range(1000)])
    moved = drawn - np.indices(SHAPE)
    assert (np.abs(moved) <= 0.2 * (np.abs(rows) + np.abs(columns)) + 1e-9).all()
    beside = np.diff(drawn[:, :, 8:12, 12:16], axis=3)  # what a column to the right adds
    np.testing.assert_allclose(beside, np.broadcast_to(beside[..., :1, :1], beside.shape))
    entries = beside[..., 0, 0] - [0, 1]
    np.testing.assert_allclose(np.abs(entries).max(axis=0), 0.2, atol=0.002)
    np.testing.assert_allclose(entries.std(axis=0), 0.2 / 3**0.5, rtol=0.1)
    np.testing.assert_allclose(entries.mean(axis=0), 0, atol=0.02)


def test_the_elastic_part_is_as_wide_as_it_says_and_smooth() -> None:
    random = rng()
    moved = np.stack([sampled_positions(SHAPE, random, 0, 0.5) for _ in range(2000)]) - np.indices(SHAPE)
    inner = moved[..., 5:-5, 5:-5]  # positions do not leave the image
    np.testing.assert_allclose(inner.std(axis=0), 0.5, rtol=0.1)
    np.testing.assert_allclose(inner.mean(axis=0), 0, atol=0.06)
    assert np.diff(inner, axis=3).std() < 0.5 / 4, "neighbors move together"
    assert np.abs(np.corrcoef(inner[:, 0, 5, 5], inner[:, 1, 5, 5])[0, 1]) < 0.1


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_gray_values_are_interpolated_where_the_positions_say(strength: float) -> None:
    """On a plane, linear interpolation is exact; all images of one group share a distortion."""
    images = planes(2 * GROUP)
    distorted = distort(images, rng(4), strength)
    random = rng(4)
    half = random.permutation(2 * GROUP)[:GROUP]
    rows, columns = sampled_positions(SHAPE, random, AFFINE * strength, ELASTIC * strength)
    for positions, side in ((rows, SHAPE[0]), (columns, SHAPE[1])):
        assert positions.min() >= 0
        assert positions.max() <= side - 1
    exact = 3 * rows + 5 * columns
    assert np.abs(distorted[half] - exact).max() <= 0.5 + 1e-3
    assert np.abs(exact - images[0]).max() > 1


def test_groups_are_drawn_at_random_and_distorted_differently() -> None:
    distorted = distort(planes(8 * GROUP), rng(), 1).reshape(8 * GROUP, -1)
    kinds, members = np.unique(distorted, axis=0, return_inverse=True)
    members = members.ravel()
    assert sorted(np.bincount(members)) == [*[GROUP] * 4, 4 * GROUP], (
        "four groups, and those left as they are"
    )
    assert len(kinds) == len(set(members[:GROUP])), "neighbors are in different groups"
