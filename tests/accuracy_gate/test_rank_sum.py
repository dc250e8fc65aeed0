"""Rank sums agree with counting all orders one by one, and p is as rare as it says."""

import itertools

import numpy as np
import pytest
import scipy.stats

from accuracy_gate import InvalidResults
from accuracy_gate.rank_sum import (
    doubled_midranks,
    lower_tail,
    rank_sum_cdf,
    rank_sum_p,
    resolution,
    tie_groups,
)
from tests.accuracy_gate.samples import FAMILIES


def brute_force_p(baseline: list[float], new: list[float]) -> float:
    """Try every choice of which results are the new ones."""
    ranks = scipy.stats.rankdata([*baseline, *new])
    observed = ranks[len(baseline) :].sum()
    return float(np.mean([sum(some) <= observed for some in itertools.combinations(ranks, len(new))]))


@pytest.mark.parametrize("values", [2, 4, 1000])
def test_p_is_the_share_of_orders_that_are_as_bad(values: int) -> None:
    random = np.random.default_rng(values)
    for _ in range(15):
        drawn = random.integers(0, values, 10).astype(float).tolist()
        n = int(random.integers(1, 5))
        assert rank_sum_p(drawn[n:], drawn[:n]) == pytest.approx(brute_force_p(drawn[n:], drawn[:n]))


def test_counting_by_halves_agrees_with_counting_one_by_one() -> None:
    """`lower_tail` is exact: with all kinds of ties and every sum, possible or not."""
    random = np.random.default_rng(0)
    for _ in range(60):
        m, n = random.integers(1, 45, 2).tolist()
        values = random.integers(0, random.integers(1, 90), m + n).astype(float)
        rising = tuple(np.sort(doubled_midranks(values)).tolist())
        table = rank_sum_cdf(rising, n)
        for observed in {0, sum(rising[:n]), *random.integers(0, len(table), 5).tolist(), len(table) - 1}:
            assert lower_tail(rising, n, observed) == pytest.approx(table[observed], rel=1e-13, abs=0)


def test_extreme_orders() -> None:
    baseline = [float(value) for value in range(20)]
    assert rank_sum_p(baseline, [-1.0, -2.0, -3.0]) == pytest.approx(1 / 1771)
    assert rank_sum_p(baseline, [21.0, 22.0, 23.0]) == 1
    assert rank_sum_p([1.0] * 20, [1.0] * 5) == 1, "equal results are no sign of anything"
    assert rank_sum_cdf(tuple(range(2, 52, 2)), 5)[-1] == pytest.approx(1)


def test_results_that_differ_only_by_rounding_share_a_rank() -> None:
    assert doubled_midranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [5, 2, 5, 8]
    third = 1 / 3
    assert doubled_midranks(np.array([third, third * (1 - 1e-12), 1.0])).tolist() == [3, 3, 6]
    assert doubled_midranks(np.array([-1e-16, 0.0, 1e-16])).tolist() == [4, 4, 4]
    assert doubled_midranks(np.array([-1e-9, 0.0])).tolist() == [2, 4], "losses may be small"
    assert rank_sum_p([0.3] * 20, [0.3 * (1 - 1e-12)] * 20) == 1


@pytest.mark.parametrize("scale", [1.0, -1.0, 1e-6, 5000.0])
def test_a_chain_of_small_differences_does_not_make_large_ones_equal(scale: float) -> None:
    rising = np.sort(scale * (1 + np.arange(100) * 0.3e-6))
    numbers = tie_groups(rising.tolist())
    for number in set(numbers):
        members = [value for value, own in zip(rising, numbers, strict=True) if own == number]
        assert members[-1] - members[0] <= resolution(scale) * 1.0001
        assert len(members) in (1, 2, 3, 4)
    assert len(set(numbers)) >= 25


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [3, 8])
def test_small_p_are_as_rare_as_they_say_for_every_distribution(family: str, n: int) -> None:
    random, times = np.random.default_rng(n), 500
    draw, _ = FAMILIES[family]
    p = np.array([rank_sum_p(draw(random, 20).tolist(), draw(random, n).tolist()) for _ in range(times)])
    for level in (0.2, 0.05, 0.01):
        noise = 4 * np.sqrt(level * (1 - level) / times)
        assert (p <= level).mean() <= level + noise


@pytest.mark.parametrize("baseline", [[0.0] * 1000, list(map(float, range(1000)))])
def test_too_many_results_are_refused(baseline: list[float]) -> None:
    with pytest.raises(InvalidResults, match="too many to count"):
        rank_sum_p(baseline, [0.5] * 100)
