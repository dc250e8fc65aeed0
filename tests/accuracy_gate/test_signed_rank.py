"""Signed ranks: exact, and sharp if pairs have much in common."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from accuracy_gate import Plan, Results, decide
from accuracy_gate.detection import detectable_drop
from accuracy_gate.signed_rank import MARGIN, signed_rank_p
from tests.accuracy_gate.samples import make_record, skewed_losses
from tests.accuracy_gate.test_plan import EACH

PAIRED = Plan(20, 9, paired=True)


def test_p_is_the_share_of_signs_that_are_as_bad() -> None:
    random = np.random.default_rng(0)
    for n in (3, 6, 10):
        for decimals in (0, 9):  # with and without equal sizes
            changes = np.round(random.normal(-0.5, 2, n), decimals)
            changes = changes[changes != 0]
            sizes = scipy.stats.rankdata(np.abs(changes))
            observed = sizes[changes > 0].sum()
            signs = itertools.product((0, 1), repeat=len(changes))
            share = np.mean([np.dot(sign, sizes) <= observed + 1e-9 for sign in signs])
            assert signed_rank_p([0.0] * len(changes), changes.tolist(), 0.0) == pytest.approx(share)


def test_equal_results_are_no_sign_of_anything() -> None:
    same = [0.9] * 20
    assert signed_rank_p(same, same, 0.0) == 1.0
    assert signed_rank_p(same, [value * (1 - 1e-12) for value in same], 0.0) == 1.0


def test_differences_within_the_margin_are_no_regression() -> None:
    before = (0.95 + 0.001 * np.arange(20)).tolist()
    little, much = ([value - drop for value in before] for drop in (0.0009, 0.0011))
    assert signed_rank_p(before, little, 0.001) == 1.0
    assert signed_rank_p(before, much, 0.001) == pytest.approx(2.0**-20)


def dropped_pair(random: np.random.Generator, drop: float) -> tuple[Results, Results]:
    """Return a baseline and results that are worse by `drop` spreads, a tenth of it random."""
    accuracies = 0.97 + 0.002 * random.standard_normal(20)
    worse = accuracies - 0.002 * drop * (1 + 0.1 * random.standard_normal(20))
    losses = skewed_losses(accuracies, random)
    return make_record(accuracies, losses), make_record(worse, losses)


@pytest.mark.parametrize(
    ("plan", "drop", "least", "most"),
    [(PAIRED, 0.5, 30, 30), (Plan(20, 9), 0.5, 0, 4), (PAIRED, MARGIN / 2, 0, 0)],
)
def test_only_pairs_find_a_drop_below_the_spread_and_none_finds_one_within_the_margin(
    plan: Plan, drop: float, least: int, most: int
) -> None:
    random = np.random.default_rng(0)
    outcomes = [decide(*dropped_pair(random, drop), plan).outcome for _ in range(30)]
    assert least <= outcomes.count("regression") <= most
    assert set(outcomes) <= {"regression", "passed"}


def test_pairs_cost_no_power_if_seeds_have_nothing_in_common() -> None:
    assert detectable_drop(PAIRED, EACH) < detectable_drop(Plan(20, 9), EACH) + 0.25
    assert detectable_drop(Plan(20, 9, (3,), paired=True), EACH) == math.inf
