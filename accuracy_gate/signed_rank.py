"""The test of results that share their seeds: exact signed ranks.

Two runs of one seed start with the same weights and see the same batches. Most of what makes seeds
differ is therefore the same in both, and their difference shows changes that the spread between seeds
would hide: a frozen first layer costs every MNIST seed about two tenths of a point, while seeds lie a
quarter of a point apart.

But a difference smaller than that between two seeds is no regression: the test asks whether results are
worse by more than a margin, MARGIN times the spread between seeds. Take the differences new - baseline +
margin, seed by seed, leave out zeros, and number the others by size, smallest first; equal sizes share
the mean of their numbers. The statistic W is the sum of the numbers of the positive ones. If nothing has
changed, the two runs of a seed are exchangeable: without the margin each of the 2^k ways to sign k
differences is equally likely, and with it W is no smaller, so

    p = (number of ways whose sum is <= W) / 2^k

is at least what a p must be. This is the one-sided signed-rank test of Wilcoxon (1945, Biometrics
Bulletin 1), conditional on the sizes (Lehmann, Nonparametrics, 1975, section 3.1). It holds for every
distribution, however alike or different the two runs of a seed are: on another machine, where they
differ like two seeds, it finds about what rank sums find.

With few seeds it can fail nothing, because k of them have only 2^k ways. So it decides at the last look,
rank sums at those before (`plan.py`).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from accuracy_gate.rank_sum import ABSOLUTE, RELATIVE, doubled_midranks

MARGIN = 0.2  # of the baseline's standard deviation


def signed_rank_p(before: Sequence[float], after: Sequence[float], margin: float) -> float:
    """Return the probability of results this much worse or more if nothing has changed.

    Higher is better. `before` and `after` have the same seeds in the same order; results may be worse
    by `margin`.
    """
    differences = [
        0.0 if math.isclose(old, new, rel_tol=RELATIVE, abs_tol=ABSOLUTE) else new - old
        for old, new in zip(before, after, strict=True)
    ]
    changes = np.array([change + margin for change in differences if change + margin])
    if not len(changes):
        return 1.0
    sizes = doubled_midranks(np.abs(changes))
    observed = int(sizes[changes > 0].sum())
    return float(signed_rank_cdf(tuple(np.sort(sizes).tolist()))[observed])


@lru_cache(maxsize=1024)
def signed_rank_cdf(doubled: tuple[int, ...]) -> NDArray[np.float64]:
    """Return P(sum <= s) for every s if each of these numbers is in the sum with probability 1/2."""
    ways = np.zeros(sum(doubled) + 1)
    ways[0] = 1
    for number in doubled:
        ways[number:] += ways[:-number].copy()
    return np.cumsum(ways) / 2.0 ** len(doubled)
