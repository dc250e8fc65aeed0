"""The test of results that share their seeds: exact signed ranks.

Two runs of one seed begin with the same weights and see the same batches, so most of what makes
seeds differ is in both, and their difference shows a change that would drown in the spread: a first
layer that stays frozen costs every MNIST seed some two tenths of a point, and the seeds lie a
quarter of a point apart.

A difference that no seed would show is no regression, though: what is asked is whether the results
are worse by more than a margin, MARGIN of the spread between seeds. Take the differences new -
baseline + margin, seed by seed, leave out those that are zero, and number the others by their size,
the smallest first; equal sizes share the mean of their numbers. The statistic W is the sum of the
numbers of those above zero. If nothing has changed, the two runs of a seed could stand for each
other; without the margin each of the 2^k ways to give k differences a sign is then equally likely,
and with it W is no smaller, so

    p = (number of ways whose sum is <= W) / 2^k

is at least what a p must be. This is the one-sided signed-rank test of Wilcoxon (1945, Biometrics
Bulletin 1), conditional on the sizes (Lehmann, Nonparametrics, 1975, section 3.1). It holds for
every distribution, and however much or little the two runs of a seed resemble each other: where
another machine has made them as different as two seeds, it finds about what rank sums find.

It cannot fail anything with few seeds: k of them have only 2^k ways. So it decides at the last
look, rank sums at those before (`plan.py`).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from accuracy_gate.ranks import NOTHING, SAME, doubled_midranks

MARGIN = 0.2  # of the standard deviation of the baseline


def p_worse(before: Sequence[float], after: Sequence[float], margin: float) -> float:
    """Return the probability of results as much worse as these if nothing has changed.

    Args:
        before: higher is better; in the order of the seeds.
        after: likewise, of the same seeds.
        margin: what they may be worse by, 0 or more.
    """
    differences = [
        0.0 if math.isclose(old, new, rel_tol=SAME, abs_tol=NOTHING) else new - old
        for old, new in zip(before, after, strict=True)
    ]
    changes = np.array([change + margin for change in differences if change + margin])
    if not len(changes):
        return 1.0
    sizes = doubled_midranks(np.abs(changes))
    observed = int(sizes[changes > 0].sum())
    return float(null(tuple(np.sort(sizes).tolist()))[observed])


@lru_cache(maxsize=1024)
def null(doubled: tuple[int, ...]) -> NDArray[np.float64]:
    """Return P(sum <= s) for every s, when each of these numbers is in the sum by chance."""
    ways = np.zeros(sum(doubled) + 1)
    ways[0] = 1
    for number in doubled:
        ways[number:] += ways[:-number].copy()
    return np.cumsum(ways) / 2.0 ** len(doubled)
