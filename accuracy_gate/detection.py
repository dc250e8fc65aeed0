"""What the gate could have detected, and the spread that theory predicts.

Both are printed beside the verdict: a pass says little if only a huge drop would have failed.
"""

import math
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from accuracy_gate.plan import CLEAR, CLEAR_PAIRS, Plan, divide
from accuracy_gate.rank_sum import rank_sum_cdf, resolution
from accuracy_gate.results import Baseline
from accuracy_gate.signed_rank import MARGIN, signed_rank_cdf

POWER = 0.95
REPETITIONS = 4_000


def predicted_spread(accuracy: float, test_examples: int) -> float:
    """Return the irreducible standard deviation of test accuracy between seeds.

    sqrt((1 - accuracy) / (2 n)) for a calibrated classifier on a fixed test set of n examples: on an
    example that the networks of different seeds classify correctly with probability q, the variance is
    q (1 - q), and calibration ties its mean to the error (Jordan, "Calibrated Chaos", 2023, arXiv
    2304.01910). A much larger measured spread means that training is unstable.
    """
    return math.sqrt(max(0.0, 1 - accuracy) / (2 * test_examples))


def power(baseline: Baseline, metric: str, drop: float, plan: Plan | None = None) -> float:
    """Return the probability that the gate fails if a metric becomes worse by `drop`, in units of the metric.

    `metric` may also be a slice. The default plan takes up to 20 seeds that the baseline does not have, in a
    suite of one case.
    """
    plan = plan or Plan(len(baseline.runs))
    values = np.array(baseline.values(metric))
    spread = float(values.std(ddof=1))
    margin = baseline.metrics[baseline.columns[metric]].margin
    share, _ = divide(baseline.metrics, baseline.columns)[metric]
    if not spread:
        return float(drop >= (margin or 0.0) + resolution(values[0]) and plan.can_fail(share))
    return failure_rate(plan, share, drop / spread, None if margin is None else margin / spread)


def failure_rate(plan: Plan, share: Fraction, drop: float, margin: float | None = None) -> float:
    """Return the probability that a metric with this share fails, given a drop in spreads of the baseline.

    Simulates the whole procedure: normally distributed baselines and new results, a drop of `drop` times
    the spread measured in that very baseline, all looks with early passes. Runs of one seed are no more
    alike than those of two, the worst case of a paired plan. The random numbers are the same in every
    call. The normal distribution is assumed only here, for the power, never for the verdict.
    """
    baseline, new = _draws(plan.baseline, plan.looks[-1])
    spread = baseline.std(axis=1, ddof=1, keepdims=True)
    shifted = new - (drop - (margin or 0.0)) * spread
    above = (shifted[:, :, None] > baseline[:, None, :]).sum(axis=2)
    changes = np.zeros(0)
    if plan.paired:
        extra = MARGIN * spread if margin is None else 0.0  # `shifted` has the given margin
        changes = shifted - baseline[:, : plan.looks[-1]] + extra
    levels, equivalence = plan.levels(share), plan.equivalence_levels()
    failed, undecided = np.zeros(REPETITIONS, dtype=bool), np.ones(REPETITIONS, dtype=bool)
    for n in plan.looks:
        table = rank_sum_cdf(tuple(range(2, 2 * (plan.baseline + n) + 1, 2)), n)
        sums = 2 * above[:, :n].sum(axis=1) + n * (n + 1)
        p, opposite = table[sums], table[2 * n * (plan.baseline + n + 1) - sums]
        clear = p >= CLEAR
        if plan.paired:
            table = signed_rank_cdf(tuple(range(2, 2 * n + 1, 2)))
            ranks = np.abs(changes[:, :n]).argsort(axis=1).argsort(axis=1) + 1
            sums = np.where(changes[:, :n] > 0, 2 * ranks, 0).sum(axis=1)
            clear &= table[sums] >= CLEAR_PAIRS
            if plan.by_seed(n):
                p, opposite = table[sums], table[n * (n + 1) - sums]
        if margin:
            clear = opposite <= equivalence[n] * (1 + 1e-9)
        failed |= undecided & (p <= levels[n] * (1 + 1e-9))
        undecided &= ~failed & ~clear
    return float(failed.mean())


@lru_cache(maxsize=8)
def _draws(m: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng(0)
    return random.standard_normal((REPETITIONS, m)), random.standard_normal((REPETITIONS, n))


@lru_cache(maxsize=64)
def detectable_drop(plan: Plan, share: Fraction, margin: float | None = None) -> float:
    """Return the smallest drop that fails with a probability of 95 %, in spreads of the baseline.

    Bisection finds it. Infinite if the plan cannot fail.
    """
    if not plan.can_fail(share):
        return math.inf
    low, high = 0.0, 16.0 + (margin or 0.0)
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if failure_rate(plan, share, middle, margin) < POWER else (low, middle)
    return high


def seeds_for_equivalence(baseline: int, margin: float) -> int | None:
    """Return about how many new seeds show, with 95 % power, that unchanged results are within a margin.

    `margin` is in spreads of the baseline. Noether's sample size (1987, JASA 82), solved for the new seeds:
    asymptotic, for normal results. None if no number is enough: the baseline has too few seeds.
    """
    normal = NormalDist()
    excess = normal.cdf(margin / math.sqrt(2)) - 0.5  # of P(new > baseline shifted by the margin)
    needed = (2 * normal.inv_cdf(POWER) / excess) ** 2 / 12
    return math.ceil(needed * (baseline + 1) / (baseline - needed)) if baseline > needed else None
