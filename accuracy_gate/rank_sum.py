"""The test of all results against all: exact rank sums, with no normal distribution anywhere.

Sort the m baseline results and the n new ones together, from worst to best, and number them; equal ones
share the mean of their numbers (midranks). The statistic W is the sum of the new results' numbers. If
nothing has changed, each of the C(m + n, n) ways to choose which n of all results are the new ones is
equally likely, so

    p = (number of ways whose sum is <= W) / C(m + n, n)

is counted, not approximated. This is the one-sided test of Wilcoxon (1945, Biometrics Bulletin 1) and
Mann and Whitney (1947, Annals of Mathematical Statistics 18), conditional on the ties (Lehmann,
Nonparametrics, 1975, section 1.4).

P(p <= level) <= level holds for every distribution of the results, skewed, discrete or with far
outliers, and whatever the uncertainty of the baseline's m seeds. The one assumption: without a change,
the order of all m + n results is random. Independent seeds guarantee that. New runs with the baseline's
own seeds may resemble their counterparts, which only makes the samples more alike and false alarms rarer.

Results that differ only by rounding (RELATIVE, ABSOLUTE) count as equal. If every seed has the same
result, the last bit that another machine adds would otherwise be a proof. Ties are found among all m + n
results, without knowing which are new, so the guarantee stays.

Why not Welch's t: accuracies are skewed to the low side. The mean of three results has tails far from
Student's at the levels needed here, about 1e-4, and false alarms would be several times too frequent.
The price: the statistic ignores how far below the baseline a result is, so one bad seed among several
good ones is no proof, and n must be large enough for 1 / C(m + n, n) to be below the level.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from accuracy_gate.results import InvalidResults

RELATIVE = 1e-6  # of the larger of two results: a few last bits of a float32 sum
ABSOLUTE = 1e-15  # the last bits of a number near 1; a loss can be exactly 0
MAX_SIZE = 20_000  # new results times all results: counting more takes too long


def rank_sum_p(baseline: Sequence[float], new: Sequence[float]) -> float:
    """Return the probability of new results this low or lower if nothing has changed; higher is better.

    Raises:
        InvalidResults: there are too many results to count.
    """
    doubled = doubled_midranks(np.array([*baseline, *new], dtype=np.float64))
    observed = int(doubled[len(baseline) :].sum())
    return float(rank_sum_cdf(tuple(np.sort(doubled).tolist()), len(new))[observed])


def doubled_midranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return twice the rank of each value; equal values share the mean rank."""
    distinct, inverse = np.unique(values, return_inverse=True)
    groups = np.array(tie_groups(distinct.tolist()))[inverse]
    counts = np.bincount(groups)
    return (2 * np.cumsum(counts) - counts + 1)[groups]


def tie_groups(rising: Sequence[float]) -> list[int]:
    """Return the group number of each of the rising values; values in a group differ only by rounding.

    All members equal the group's first value, so that a chain of small differences cannot grow long.
    """
    numbers: list[int] = []
    first = math.nan
    for value in rising:
        if math.isclose(first, value, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
            numbers.append(numbers[-1])
        else:
            first = value
            numbers.append(numbers[-1] + 1 if numbers else 0)
    return numbers


def resolution(value: float) -> float:
    """Return how far a result must be from `value` to count as different."""
    return max(RELATIVE * abs(value), ABSOLUTE)


@lru_cache(maxsize=1024)
def rank_sum_cdf(doubled: tuple[int, ...], n: int) -> NDArray[np.float64]:
    """Return P(sum <= s) for every s if any n of these numbers are equally likely.

    `ways[k, s]` counts how k of the numbers seen so far add up to s; each further number r is either left
    out or adds ways[k - 1, s - r].

    Raises:
        InvalidResults: there are too many results to count.
    """
    if n * len(doubled) > MAX_SIZE:
        baseline = len(doubled) - n
        raise InvalidResults(f"{n} new results against {baseline} are too many to count exactly: give fewer")
    rising = sorted(doubled)
    ways = np.zeros((n + 1, sum(rising[-n:]) + 1))
    ways[0, 0] = 1
    for seen, number in enumerate(rising, start=1):
        # Only rows that row n still depends on, and only sums that can occur so far: five times faster.
        least, most = max(1, n - len(rising) + seen), min(n, seen)
        largest = sum(rising[seen - most : seen])
        ways[least : most + 1, number : largest + 1] += ways[least - 1 : most, : largest + 1 - number]
    return np.cumsum(ways[n]) / math.comb(len(doubled), n)
