"""The false-alarm rate is divided, and never exceeded."""

import math
from fractions import Fraction

import pytest

from accuracy_gate.plan import Plan, divide
from tests.accuracy_gate.samples import metrics_of

EACH, TOO_GOOD = Fraction(9, 20), Fraction(1, 10)


@pytest.mark.parametrize("cases", [1, 9, 15])
@pytest.mark.parametrize("baseline", [20, 40])
@pytest.mark.parametrize("looks", [(3, 5, 8, 12, 20), (5,), (3, 5)])
def test_all_levels_together_stay_within_the_rate(cases: int, baseline: int, looks: tuple[int, ...]) -> None:
    plan = Plan(baseline, cases, looks)
    spent = 2 * sum(plan.levels(EACH).values()) + sum(plan.too_good_levels(TOO_GOOD).values())
    assert 0 < cases * spent <= 0.01 + 1e-15
    for share, levels in ((EACH, plan.levels(EACH)), (TOO_GOOD, plan.too_good_levels(TOO_GOOD))):
        total = 0.0
        for n, level in levels.items():
            total += level
            assert total <= 0.01 / cases * share * n / looks[-1] + 1e-15
            orders = level * math.comb(baseline + n, n)
            assert orders == pytest.approx(round(orders), abs=1e-6), "a level that p can reach"


def test_little_of_the_rate_is_left_unspent() -> None:
    plan = Plan(20, 9)
    assert sum(plan.levels(EACH).values()) > 0.95 * 0.01 / 9 * EACH
    metrics = metrics_of()
    assert divide(metrics, {name: name for name in metrics}) == {
        "accuracy": (EACH, TOO_GOOD),
        "loss": (EACH, 0),
    }


def test_slices_share_what_their_metric_has() -> None:
    columns = {"accuracy": "accuracy", "loss.a": "loss", "loss.b": "loss", "loss.c": "loss"}
    shares = divide(metrics_of(), columns)
    assert [worse for worse, _ in shares.values()] == [EACH, EACH / 3, EACH / 3, EACH / 3]
    assert sum(sum(pair) for pair in shares.values()) == 1


def test_pairs_can_reach_the_level_of_the_last_look() -> None:
    levels = Plan(20, 9, paired=True).levels(EACH)
    assert levels[20] * 2**20 == pytest.approx(round(levels[20] * 2**20))
    assert levels[20] > 2**-20
    assert sum(levels.values()) <= 0.01 / 9 * 0.45


def test_too_few_seeds_cannot_fail() -> None:
    assert not Plan(20, 9, (3,)).can_fail(EACH)
    assert Plan(20, 9, (5,)).can_fail(EACH)
