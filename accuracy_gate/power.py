"""What could have been detected, and what spread theory expects.

Both are stated beside the verdict: a pass says little where only a huge drop would have failed.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from accuracy_gate import pairs
from accuracy_gate.plan import CLEAR, CLEAR_PAIRS, Plan
from accuracy_gate.ranks import null

POWER = 0.95
REPETITIONS = 4_000


def predicted_spread(accuracy: float, test_examples: int) -> float:
    """Return the standard deviation of test accuracy between seeds that cannot be removed.

    sqrt((1 - accuracy) / (2 n)) for a calibrated classifier on a fixed test set of n examples: on
    an example that the networks of different seeds get right with probability q, the variance is q
    (1 - q), and calibration ties its mean to the error (Jordan, "Calibrated Chaos", 2023, arXiv
    2304.01910). A measured spread far above says that training is unstable.
    """
    return math.sqrt(max(0.0, 1 - accuracy) / (2 * test_examples))


@lru_cache(maxsize=64)
def detectable(plan: Plan) -> float:
    """Return the smallest drop that fails with a probability of 95 %, in spreads of the baseline.

    The whole procedure is simulated: baselines and new results from a normal distribution, a drop
    of k times the spread measured in that very baseline, all looks, with early passes; the runs of
    one seed no more alike than those of two, which is the worst case of a paired plan. k is found
    by bisection; the random numbers are the same in every step, and the same every time. The normal
    distribution stands only here, behind the power, never behind the verdict. Infinite where the
    plan cannot fail.
    """
    if not plan.can_fail:
        return math.inf
    random = np.random.default_rng(0)
    baseline = random.standard_normal((REPETITIONS, plan.baseline))
    new = random.standard_normal((REPETITIONS, plan.looks[-1]))
    spread = baseline.std(axis=1, ddof=1, keepdims=True)
    levels = plan.levels("accuracy")
    tables = {n: null(tuple(range(2, 2 * (plan.baseline + n) + 1, 2)), n) for n in plan.looks}
    sums = {n: pairs.null(tuple(range(2, 2 * n + 1, 2))) for n in plan.looks}

    def power(drop: float) -> float:
        dropped = new - drop * spread
        above = (dropped[:, :, None] > baseline[:, None, :]).sum(axis=2)
        changes = dropped - baseline[:, : plan.looks[-1]] + pairs.MARGIN * spread
        failed = np.zeros(REPETITIONS, dtype=bool)
        open_ = np.ones(REPETITIONS, dtype=bool)
        for n in plan.looks:
            p = tables[n][2 * above[:, :n].sum(axis=1) + n * (n + 1)]
            clear = p >= CLEAR
            if plan.paired:
                by_seed = sums[n][_better(changes[:, :n])]
                clear &= by_seed >= CLEAR_PAIRS
                p = by_seed if plan.by_seed(n) else p
            failed |= open_ & (p <= levels[n] * (1 + 1e-9))
            open_ &= ~failed & ~clear
        return float(failed.mean())

    low, high = 0.0, 16.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle) < POWER else (low, middle)
    return high


def _better(changes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each row the sum of the doubled ranks by size of what is above 0."""
    ranks = np.abs(changes).argsort(axis=1).argsort(axis=1) + 1
    return np.where(changes > 0, 2 * ranks, 0).sum(axis=1)
