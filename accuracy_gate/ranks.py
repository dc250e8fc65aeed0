"""The test: exact rank sums, without a normal distribution anywhere.

Put the m results of the baseline and the n new ones in one row, from worst to best, and number
them; equal ones share the mean of their numbers (midranks). The statistic is the sum W of the new
ones' numbers. If nothing has changed, each of the C(m + n, n) ways to choose which n of all results
are the new ones is equally likely, so

    p = (number of ways whose sum is <= W) / C(m + n, n)

is counted, not approximated. This is the one-sided test of Wilcoxon (1945, Biometrics Bulletin 1)
and Mann and Whitney (1947, Annals of Mathematical Statistics 18), conditional on the ties (Lehmann,
Nonparametrics, 1975, section 1.4).

It holds P(p <= level) <= level for every distribution of the results, skewed, discrete or with far
outliers, and with the baseline as uncertain as its m seeds make it. Its one assumption: without a
change, the order of all m + n results is a matter of chance. Independent seeds give that. New runs
with the baseline's own seeds may resemble their counterparts, which only makes the two samples more
alike, and false alarms rarer.

Results that differ by rounding alone (SAME, NOTHING) count as equal. Where every seed has the same
result, the last bit that another machine adds would otherwise be a proof. Which are equal is found
in all m + n together, without knowing which are the new ones, so the promise above stays.

Why not Welch's t: accuracies lean to the low side. The mean of three results has tails far from
Student's at the levels needed here, some 1e-4, and false alarms would be several times too many.
The price: the statistic is blind to how far below the baseline a result is, so one bad seed among
several good ones is no proof, and n must be large enough for 1 / C(m + n, n) to be below the level.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError

SAME = 1e-6  # of the larger of two results: some last bits of a sum in float32
NOTHING = 1e-15  # a difference of last bits beside numbers as large as 1; a loss can be exactly 0
LARGEST = 20_000  # new results times all results: counting beyond takes long


def p_lower(baseline: Sequence[float], new: Sequence[float]) -> float:
    """Return the probability of new results as low as these if nothing has changed.

    Args:
        baseline: higher is better.
        new: likewise.

    Raises:
        ConfigError: too many results to count.
    """
    doubled = doubled_midranks(np.array([*baseline, *new], dtype=np.float64))
    observed = int(doubled[len(baseline) :].sum())
    return float(null(tuple(np.sort(doubled).tolist()), len(new))[observed])


def doubled_midranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return each value's place in the order, times two: equal values share the mean place."""
    distinct, of_distinct = np.unique(values, return_inverse=True)
    inverse = np.array(groups(distinct.tolist()))[of_distinct]
    counts = np.bincount(inverse)
    return (2 * np.cumsum(counts) - counts + 1)[inverse]


def groups(rising: Sequence[float]) -> list[int]:
    """Return for each value the number of its group: values that differ by rounding alone.

    A group holds what is equal to its first value, so that none is wider than two results may
    differ, however many there are between them.

    Args:
        rising: values in rising order.
    """
    numbers: list[int] = []
    first = math.nan
    for value in rising:
        if math.isclose(first, value, rel_tol=SAME, abs_tol=NOTHING):
            numbers.append(numbers[-1])
        else:
            first = value
            numbers.append(numbers[-1] + 1 if numbers else 0)
    return numbers


def resolution(value: float) -> float:
    """Return by how much a result must differ from `value` not to be equal to it."""
    return max(SAME * abs(value), NOTHING)


@lru_cache(maxsize=1024)
def null(doubled: tuple[int, ...], n: int) -> NDArray[np.float64]:
    """Return P(sum <= s) for every s, when any n of these numbers are equally likely.

    `ways[k, s]` counts how k of the numbers seen so far add up to s; a further number r is either
    left out or adds ways[k - 1, s - r].

    Raises:
        ConfigError: too many results to count.
    """
    if n * len(doubled) > LARGEST:
        raise ConfigError(
            f"{n} new results against {len(doubled) - n} are too many to count exactly: give fewer"
        )
    most = sum(sorted(doubled)[-n:])
    ways = np.zeros((n + 1, most + 1))
    ways[0, 0] = 1
    for number in doubled:
        ways[1:, number:] += ways[:-1, : most + 1 - number]
    return np.cumsum(ways[n]) / math.comb(len(doubled), n)
