"""What the gate could have detected, and the spread that theory predicts.

Both are printed beside the verdict: a pass says little if only a huge drop would have failed.
"""

import math
from functools import lru_cache

import numpy as np

from accuracy_gate.plan import CLEAR, CLEAR_PAIRS, Plan
from accuracy_gate.rank_sum import rank_sum_cdf
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


@lru_cache(maxsize=64)
def detectable_drop(plan: Plan) -> float:
    """Return the smallest drop that fails with a probability of 95 %, in spreads of the baseline.

    Simulates the whole procedure: normally distributed baselines and new results, a drop of k times the
    spread measured in that very baseline, all looks with early passes. Runs of one seed are no more alike
    than those of two, the worst case of a paired plan. Bisection finds k; the random numbers are the same
    in every step and every call. The normal distribution is assumed only here, for the power, never for
    the verdict. Infinite if the plan cannot fail.
    """
    if not plan.can_fail:
        return math.inf
    random = np.random.default_rng(0)
    baseline = random.standard_normal((REPETITIONS, plan.baseline))
    new = random.standard_normal((REPETITIONS, plan.looks[-1]))
    spread = baseline.std(axis=1, ddof=1, keepdims=True)
    levels = plan.levels("accuracy")
    rank_sums = {n: rank_sum_cdf(tuple(range(2, 2 * (plan.baseline + n) + 1, 2)), n) for n in plan.looks}
    signed_ranks = {n: signed_rank_cdf(tuple(range(2, 2 * n + 1, 2))) for n in plan.looks}

    def power(drop: float) -> float:
        dropped = new - drop * spread
        above = (dropped[:, :, None] > baseline[:, None, :]).sum(axis=2)
        changes = dropped - baseline[:, : plan.looks[-1]] + MARGIN * spread
        failed = np.zeros(REPETITIONS, dtype=bool)
        undecided = np.ones(REPETITIONS, dtype=bool)
        for n in plan.looks:
            p = rank_sums[n][2 * above[:, :n].sum(axis=1) + n * (n + 1)]
            clear = p >= CLEAR
            if plan.paired:
                ranks = np.abs(changes[:, :n]).argsort(axis=1).argsort(axis=1) + 1
                by_seed = signed_ranks[n][np.where(changes[:, :n] > 0, 2 * ranks, 0).sum(axis=1)]
                clear &= by_seed >= CLEAR_PAIRS
                p = by_seed if plan.by_seed(n) else p
            failed |= undecided & (p <= levels[n] * (1 + 1e-9))
            undecided &= ~failed & ~clear
        return float(failed.mean())

    low, high = 0.0, 16.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle) < POWER else (low, middle)
    return high
