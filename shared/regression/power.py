"""What could have been detected, and what spread theory expects.

Both are stated beside the verdict: a pass says little where only a huge drop would have failed.
"""

import math
from functools import lru_cache

import numpy as np

from shared.regression.plan import CLEAR, Plan
from shared.regression.ranks import null

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
    of k times the spread measured in that very baseline, all looks, with early passes. k is found
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

    def power(drop: float) -> float:
        dropped = new - drop * spread
        above = (dropped[:, :, None] > baseline[:, None, :]).sum(axis=2)
        failed = np.zeros(REPETITIONS, dtype=bool)
        open_ = np.ones(REPETITIONS, dtype=bool)
        for n in plan.looks:
            p = tables[n][2 * above[:, :n].sum(axis=1) + n * (n + 1)]
            failed |= open_ & (p <= levels[n] * (1 + 1e-9))
            open_ &= ~failed & (p < CLEAR)
        return float(failed.mean())

    low, high = 0.0, 16.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle) < POWER else (low, middle)
    return high
