"""The promised rates, by simulating the whole procedure: false alarms and power.

The fast tests use suites with a larger rate than 1 %, which shows a mistake with fewer draws; the slow
ones use 1 % and thousands of suites.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from accuracy_gate import FALSE_ALARM_RATE, Plan, Results, decide
from accuracy_gate.decision import compare
from accuracy_gate.detection import detectable_drop, predicted_spread
from accuracy_gate.plan import CLEAR
from accuracy_gate.rank_sum import rank_sum_cdf
from tests.accuracy_gate.samples import FAMILIES, draw_record, make_record
from tests.accuracy_gate.test_plan import EACH


def honest_pair(family: str, random: np.random.Generator, same: float | None) -> tuple[Results, Results]:
    """Return a baseline and honest results, with its seeds if a share `same` of the runs is unchanged."""
    baseline, fresh = draw_record(family, random, 20), draw_record(family, random, 20, first=1000)
    if same is None:
        return baseline, fresh
    runs = (
        old if random.random() < same else replace(new, seed=old.seed)
        for old, new in zip(baseline.runs, fresh.runs, strict=True)
    )
    return baseline, replace(baseline, runs=tuple(runs))


def false_alarms(suites: int, plan: Plan, same: float | None) -> tuple[float, float]:
    """Return the share of honest suites that fail, and the mean number of seeds that a case needs."""
    random, families = np.random.default_rng(plan.cases), list(FAMILIES)
    failed, seeds = 0, 0
    for _ in range(suites):
        pairs = [honest_pair(families[n % len(families)], random, same) for n in range(plan.cases)]
        verdicts = [decide(*pair, plan) for pair in pairs]
        failed += any(verdict.failing for verdict in verdicts)
        seeds += sum(len(verdict.new.runs) for verdict in verdicts if verdict.new)
    return failed / suites, seeds / suites / plan.cases


@pytest.mark.parametrize(("suites", "same"), [(60, None), (25, 0.0), (25, 0.6)])
def test_honest_suites_rarely_fail(suites: int, same: float | None) -> None:
    plan = Plan(20, 10, false_alarm_rate=0.2, paired=same is not None)
    rate, seeds = false_alarms(suites, plan, same)
    assert rate <= 0.2
    assert seeds < 7 or plan.paired, "most cases are clear early"


@pytest.mark.slow
@pytest.mark.parametrize("same", [None, 0.0, 0.6, 0.9])
def test_honest_suites_fail_at_most_once_in_a_hundred(same: float | None) -> None:
    plan = Plan(20, 15, paired=same is not None)  # as many cases as conf/regression has
    rate, seeds = false_alarms(2000 if same is None else 1000, plan, same)
    print(f"{same} of the runs unchanged: {rate:.2%} false alarms, {seeds:.1f} seeds a case")
    assert rate <= FALSE_ALARM_RATE


def regressions(plan: Plan, metric: str, times: int, seed: int) -> tuple[float, float]:
    """Return the 99.99 % interval of the rate at which one continuous metric fails honest results."""
    random, failed = np.random.default_rng(seed), 0
    for _ in range(times):
        values = 0.9 + 0.01 * random.standard_normal(20 + plan.looks[-1])
        columns = (values, np.full(len(values), 0.5))
        accuracy, loss = columns if metric == "accuracy" else columns[::-1]
        baseline = make_record(accuracy[:20], loss[:20])
        new = make_record(accuracy[20:], loss[20:], first=1000)
        failed += decide(baseline, new, plan).outcome == "regression"
    low, high = binomtest(failed, times).proportion_ci(0.9999)
    return float(low), float(high)


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_a_single_look_fails_exactly_as_often_as_promised(metric: str) -> None:
    low, high = regressions(Plan(20, 1, (8,), 0.5), metric, 600, 5)
    assert low <= 0.5 * 0.45 <= high, "nothing is left unspent, and nothing is spent twice"


def test_all_looks_together_fail_about_as_often_as_promised() -> None:
    low, high = regressions(Plan(20, 1, false_alarm_rate=0.5), "accuracy", 400, 6)
    assert low <= 0.5 * 0.45
    assert high >= 0.5 * 0.45 / 2, "early passes and adding up the looks lose less than half of it"


def rate_given_a_baseline(plan: Plan, random: np.random.Generator, times: int) -> float:
    """Return how often honest results fail one metric against one fixed baseline."""
    baseline = np.sort(random.standard_normal(plan.baseline))
    above = np.searchsorted(baseline, random.standard_normal((times, plan.looks[-1])))
    failed, undecided = np.zeros(times, dtype=bool), np.ones(times, dtype=bool)
    for n, level in plan.levels(EACH).items():
        table = rank_sum_cdf(tuple(range(2, 2 * (plan.baseline + n) + 1, 2)), n)
        p = table[2 * above[:, :n].sum(axis=1) + n * (n + 1)]
        failed |= undecided & (p <= level * (1 + 1e-9))
        undecided &= ~failed & (p < CLEAR)
    return float(failed.mean())


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [20, 30])
def test_how_far_one_set_of_baselines_may_be_from_the_average(seeds: int) -> None:
    """What docs/regression-gate.md does not promise: 15 cases with 2 normal metrics."""
    random = np.random.default_rng(0)
    rates = [rate_given_a_baseline(Plan(seeds, 15), random, 10_000) for _ in range(1000)]
    sets = 1 - np.exp(-random.choice(rates, (4000, 30)).sum(axis=1))
    high, highest = np.quantile(sets, [0.9, 0.99])
    print(f"{seeds} seeds: mean {sets.mean():.2%}, 9 of 10 below {high:.2%}, 99 % {highest:.2%}")
    assert sets.mean() <= 0.0105
    assert high <= 0.025


def detection_rate(family: str, metric: str, share: float, times: int, paired: bool = False) -> float:
    """Return how often a drop of `share` times the stated detectable drop is found.

    Paired: with the baseline's seeds, but runs that have nothing else in common.
    """
    random = np.random.default_rng(3)
    plan = Plan(20, 9, paired=paired)
    found, first = 0, 0 if paired else 1000
    for _ in range(times):
        baseline = draw_record(family, random, 20)
        honest = draw_record(family, random, plan.looks[-1], first)
        stated = compare(metric, baseline, honest, plan, EACH).detectable
        assert stated is not None
        drop, rise = (stated * share, 0.0) if metric == "accuracy" else (0.0, stated * share)
        new = make_record(
            [value - drop for value in honest.values("accuracy")],
            [value + rise for value in honest.values("loss")],
            baseline.metrics["accuracy"].examples,
            first,
        )
        found += decide(baseline, new, plan).outcome == "regression"
    return found / times


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
@pytest.mark.parametrize("family", ["normal", "binomial", "coarse", "skewed", "rounding"])
@pytest.mark.parametrize(
    ("times", "paired"),
    [(100, False), *(pytest.param(1000, paired, marks=pytest.mark.slow) for paired in (False, True))],
)
def test_the_stated_drop_is_found_with_the_stated_power(
    family: str, metric: str, times: int, paired: bool
) -> None:
    found = detection_rate(family, metric, 1.0, times, paired)
    assert found >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / times)


def test_it_is_the_smallest_such_drop() -> None:
    assert detection_rate("normal", "accuracy", 0.7, 100) < 0.9


def test_more_seeds_or_fewer_cases_detect_smaller_drops() -> None:
    assert (
        detectable_drop(Plan(40, 9), EACH)
        < detectable_drop(Plan(20, 9), EACH)
        < detectable_drop(Plan(20, 15), EACH)
    )
    assert detectable_drop(Plan(20, 9, (3,)), EACH) == math.inf


def test_the_detectable_drops_agree_with_another_simulation() -> None:
    """Numbers from an independent program with 4,000 repetitions."""
    assert detectable_drop(Plan(20, 9, (3, 5, 8, 12)), EACH) == pytest.approx(2.32, abs=0.03)
    assert detectable_drop(Plan(40, 9, (3, 5, 8, 12)), EACH) == pytest.approx(1.96, abs=0.03)
    assert detectable_drop(Plan(20, 9, (12,)), EACH) == pytest.approx(2.14, abs=0.03)


def test_the_predicted_spread_agrees_with_its_source() -> None:
    assert predicted_spread(0.991, 10_000) == pytest.approx(0.00067, abs=5e-6)
    assert predicted_spread(0.88, 25_000) == pytest.approx(0.00155, abs=5e-6)
    assert predicted_spread(1.0, 4) == 0


def test_the_predicted_spread_is_right_for_calibrated_classifiers() -> None:
    """Two classes; on each example the seeds vote 1 as often as the label is 1."""
    random = np.random.default_rng(0)
    n, seeds = 1000, 800
    votes = random.beta(0.3, 0.3, n)
    accuracies, spreads = [], []
    for _ in range(5):  # five test sets
        labels = random.random(n) < votes
        right = (random.random((seeds, n)) < votes) == labels
        accuracies.append(right.mean())
        spreads.append(right.mean(axis=1).std(ddof=1))
    expected = predicted_spread(float(np.mean(accuracies)), n)
    assert float(np.mean(spreads)) == pytest.approx(expected, rel=0.05)
