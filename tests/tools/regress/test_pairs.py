"""The signed ranks: exact, valid whatever pairs have in common, and sharp where they have much."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from accuracy_gate import Plan, Record
from accuracy_gate.pairs import MARGIN, p_worse
from accuracy_gate.power import detectable
from tests.tools.regress.samples import FAMILIES, drawn, losses, record, verdict

PAIRED = Plan(20, 9, paired=True)


def test_the_p_is_that_of_all_signs() -> None:
    random = np.random.default_rng(0)
    for n in (3, 6, 10):
        for decimals in (0, 9):  # with ties in the sizes, and without
            changes = np.round(random.normal(-0.5, 2, n), decimals)
            changes = changes[changes != 0]
            sizes = scipy.stats.rankdata(np.abs(changes))
            observed = sizes[changes > 0].sum()
            signs = itertools.product((0, 1), repeat=len(changes))
            share = np.mean([np.dot(sign, sizes) <= observed + 1e-9 for sign in signs])
            assert p_worse([0.0] * len(changes), changes.tolist(), 0.0) == pytest.approx(share)


def test_the_p_is_scipys() -> None:
    random = np.random.default_rng(1)
    before = random.standard_normal(20)
    after = before + random.normal(-0.3, 0.5, 20)
    expected = scipy.stats.wilcoxon(after, before, alternative="less", method="exact").pvalue
    assert p_worse(before.tolist(), after.tolist(), 0.0) == pytest.approx(expected, rel=1e-9)


def test_equal_results_are_no_sign_of_anything() -> None:
    same = [0.9] * 20
    assert p_worse(same, same, 0.0) == 1.0
    assert p_worse(same, [value * (1 - 1e-12) for value in same], 0.0) == 1.0


def test_what_is_within_the_margin_is_no_regression() -> None:
    before = (0.95 + 0.001 * np.arange(20)).tolist()
    little, much = ([value - drop for value in before] for drop in (0.0009, 0.0011))
    assert p_worse(before, little, 0.001) == 1.0
    assert p_worse(before, much, 0.001) == pytest.approx(2.0**-20)


def alike(family: str, random: np.random.Generator, kept: float) -> tuple[Record, Record]:
    """Return a baseline and honest results of its seeds: a share `kept` of them is the same run."""
    baseline = drawn(family, random, 20)
    fresh = drawn(family, random, 20)
    runs = [
        old if random.random() < kept else replace(new, seed=old.seed)
        for old, new in zip(baseline.runs, fresh.runs, strict=True)
    ]
    return baseline, Record("case", tuple(runs), baseline.facts)


@pytest.mark.parametrize("kept", [0.0, 0.6])
def test_honest_suites_seldom_fail_however_alike_the_runs_of_a_seed_are(kept: float) -> None:
    random, suites, failed = np.random.default_rng(0), 25, 0
    plan = Plan(20, 10, false_alarms=0.2, paired=True)
    for _ in range(suites):
        pairs = [alike(list(FAMILIES)[number % len(FAMILIES)], random, kept) for number in range(plan.cases)]
        failed += any(verdict(*pair, plan).bad for pair in pairs)
    assert failed / suites <= 0.2


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0.0, 0.6, 0.9])
def test_honest_suites_of_pairs_fail_once_in_a_hundred_at_most(kept: float) -> None:
    random, suites, failed = np.random.default_rng(2), 2000, 0
    for _ in range(suites):
        pairs = [alike(list(FAMILIES)[number % len(FAMILIES)], random, kept) for number in range(9)]
        failed += any(verdict(*pair, PAIRED).bad for pair in pairs)
    print(f"{suites} honest suites, {kept:.0%} of the runs the same: {failed / suites:.2%} fail")
    assert failed / suites <= 0.01


def dropped(random: np.random.Generator, drop: float) -> tuple[Record, Record]:
    """Return a baseline and results that are worse by `drop` spreads, a tenth of it by chance."""
    accuracies = 0.97 + 0.002 * random.standard_normal(20)
    worse = accuracies - 0.002 * drop * (1 + 0.1 * random.standard_normal(20))
    loss = losses(accuracies, random)
    return record(accuracies, loss), record(worse, loss)


def test_a_drop_below_the_spread_between_seeds_is_found_seed_by_seed() -> None:
    random = np.random.default_rng(0)
    found = [verdict(*dropped(random, 0.5), PAIRED).outcome for _ in range(30)]
    assert found == ["regression"] * 30
    without = [verdict(*dropped(random, 0.5), Plan(20, 9)).outcome for _ in range(30)]
    assert without.count("regression") < 5


def test_a_drop_within_the_margin_passes() -> None:
    random = np.random.default_rng(0)
    assert {verdict(*dropped(random, MARGIN / 2), PAIRED).outcome for _ in range(30)} == {"passed"}


def test_pairs_cost_no_power_where_seeds_have_nothing_in_common() -> None:
    paired, plain = detectable(PAIRED), detectable(Plan(20, 9))
    assert paired < plain + 0.25
    assert detectable(Plan(20, 9, (3,), paired=True)) == math.inf


def test_the_level_of_the_last_look_is_one_that_pairs_can_reach() -> None:
    for share in ("accuracy", "loss"):
        levels = PAIRED.levels(share)
        assert levels[20] * 2**20 == pytest.approx(round(levels[20] * 2**20))
        assert levels[20] > 2**-20
        assert sum(levels.values()) <= 0.01 / 9 * 0.45
