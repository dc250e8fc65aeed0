"""The false-alarm rate is divided, and never exceeded."""

import math

import pytest

from accuracy_gate.plan import SHARES, Plan


@pytest.mark.parametrize("cases", [1, 9, 15])
@pytest.mark.parametrize("baseline", [20, 40])
@pytest.mark.parametrize("looks", [(3, 5, 8, 12, 20), (5,), (3, 5)])
def test_all_levels_together_stay_within_the_rate(cases: int, baseline: int, looks: tuple[int, ...]) -> None:
    plan = Plan(baseline, cases, looks)
    spent = sum(sum(plan.levels(share).values()) for share in SHARES)
    assert 0 < cases * spent <= 0.01 + 1e-15
    for share in SHARES:
        total = 0.0
        for n, level in plan.levels(share).items():
            total += level
            assert total <= 0.01 / cases * SHARES[share] * n / looks[-1] + 1e-15
            orders = level * math.comb(baseline + n, n)
            assert orders == pytest.approx(round(orders), abs=1e-6), "a level that p can reach"


def test_little_of_the_rate_is_left_unspent() -> None:
    plan = Plan(20, 9)
    assert sum(plan.levels("accuracy").values()) > 0.95 * 0.01 / 9 * SHARES["accuracy"]
    assert math.fsum(SHARES.values()) == pytest.approx(1)


def test_pairs_can_reach_the_level_of_the_last_look() -> None:
    for share in ("accuracy", "loss"):
        levels = Plan(20, 9, paired=True).levels(share)
        assert levels[20] * 2**20 == pytest.approx(round(levels[20] * 2**20))
        assert levels[20] > 2**-20
        assert sum(levels.values()) <= 0.01 / 9 * 0.45


def test_too_few_seeds_cannot_fail() -> None:
    assert not Plan(20, 9, (3,)).can_fail
    assert Plan(20, 9, (5,)).can_fail
