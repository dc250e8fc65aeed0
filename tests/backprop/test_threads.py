"""A batch split over threads gives the same numbers as one thread."""

import threading
import time

import numpy as np
import pytest
import threadpoolctl

from shared.backprop import Conv2d
from shared.backprop.threads import IN_CACHE, WORTH_A_THREAD, blocks_of, in_threads, parts_of

ENOUGH = 9 * WORTH_A_THREAD


def test_parts_cover_every_example_once_and_small_batches_are_not_split() -> None:
    for threads in (1, 2, 3):
        with threadpoolctl.threadpool_limits(threads, "blas"):
            for count in (1, 2, 7, 64):
                parts = parts_of(count, ENOUGH)
                assert len(parts) == min(threads, count)
                taken = [place for part in parts for place in range(count)[part]]
                assert taken == list(range(count))
            assert parts_of(64, WORTH_A_THREAD) == [slice(0, 64)]
    assert parts_of(0, 0) == [slice(0, 0)]


@pytest.mark.parametrize(
    ("numbers", "together"), [(0, 7), (1, 7), (IN_CACHE // 3, 3), (IN_CACHE, 1), (2 * IN_CACHE, 1)]
)
def test_blocks_cover_a_part_once_and_fit_into_the_cache(numbers: int, together: int) -> None:
    blocks = list(blocks_of(slice(2, 9), numbers))
    assert [place for block in blocks for place in range(64)[block]] == list(range(2, 9))
    assert max(len(range(64)[block]) for block in blocks) == together


def test_parts_run_concurrently_with_one_blas_thread_each() -> None:
    before = threadpoolctl.threadpool_info()
    both = threading.Barrier(2, timeout=20)

    def work(part: str) -> tuple[str, set[int]]:
        both.wait()
        time.sleep(0.05)
        pools = threadpoolctl.threadpool_info()
        return part, {p["num_threads"] for p in pools if p["user_api"] == "blas"}

    assert in_threads(work, ["a", "b"]) == [("a", {1}), ("b", {1})]
    assert threadpoolctl.threadpool_info() == before


def test_errors_and_errstate_reach_the_caller_and_the_threads() -> None:
    def divide(zero: float) -> np.ndarray:
        return np.ones(3) / zero

    with pytest.raises(FloatingPointError), np.errstate(divide="raise"):
        in_threads(divide, [0.0, 0.0])
    with np.errstate(divide="ignore"):  # pytest turns warnings into errors
        assert np.isinf(in_threads(divide, [0.0, 0.0])).all()


@pytest.mark.parametrize("stride", [1, 2])  # of the columns
@pytest.mark.parametrize(("groups", "outputs"), [(1, 6), (2, 6), (8, 8)])
@pytest.mark.parametrize("count", [1, 5, 8])
def test_a_convolution_in_threads_matches_one_thread(
    count: int, groups: int, outputs: int, stride: int
) -> None:
    random = np.random.default_rng(0)
    layer = Conv2d(8, outputs, 3, padding=1, stride=(1, stride), groups=groups, dtype=np.float64, rng=random)
    x = random.standard_normal((count, 8, 120, 80 * stride))
    found = []
    for threads in (1, 2, 2):
        with threadpoolctl.threadpool_limits(threads, "blas"):
            copied = (3 if groups == 8 else 9) * x.size // stride
            assert len(parts_of(count, copied)) == min(count, threads)
            y = layer.forward(x)
            dy = np.random.default_rng(1).standard_normal(y.shape)
            found.append((y, layer.backward(dy), *map(np.copy, layer.grads.values())))
    for one, two, again in zip(*found, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-12 * np.abs(one).max())
        np.testing.assert_array_equal(again, two)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("groups", "outputs"), [(1, 6), (2, 6)])
def test_a_convolution_in_blocks_has_the_same_bits(
    groups: int, outputs: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five images: one block, blocks of two, and a block each."""
    random = np.random.default_rng(0)
    layer = Conv2d(4, outputs, 3, padding=1, stride=stride, groups=groups, dtype=np.float64, rng=random)
    x = random.standard_normal((5, 4, 9, 7))
    dy = random.standard_normal(layer.forward(x).shape)
    windows = 9 * 4 * dy[0, 0].size
    found = []
    for numbers in (5 * windows, 2 * windows, 1):
        monkeypatch.setattr("shared.backprop.threads.IN_CACHE", numbers)
        found.append((layer.forward(x), layer.backward(dy), *map(np.copy, layer.grads.values())))
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(other, one)
