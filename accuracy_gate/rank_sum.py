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
from itertools import accumulate

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
    rising = tuple(np.sort(doubled).tolist())
    if len(set(rising)) == len(rising):  # one table serves all results without ties
        return float(rank_sum_cdf(rising, len(new))[observed])
    return lower_tail(rising, len(new), observed)


def doubled_midranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return twice the rank of each value; equal values share the mean rank."""
    distinct, groups = np.unique(values, return_inverse=True)
    sizes = np.abs(distinct)
    near = np.maximum(RELATIVE * np.maximum(sizes[1:], sizes[:-1]), ABSOLUTE)
    if (np.diff(distinct) <= near).any():  # this rarely needs to be looked at one by one
        groups = np.array(tie_groups(distinct.tolist()))[groups]
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
def lower_tail(rising: tuple[int, ...], n: int, observed: int) -> float:
    """Return P(sum <= observed) if any n of these rising numbers are equally likely.

    Faster than `rank_sum_cdf`: it counts the choices of k numbers from the lower half and of n - k from the
    upper half separately, and then the pairs whose sum is at most `observed`.

    Raises:
        InvalidResults: there are too many results to count.
    """
    _check_size(len(rising), n)
    middle = len(rising) // 2
    lower, upper = _subset_sums(rising[:middle]), _subset_sums(rising[middle:])
    total = 0.0
    for k in range(max(0, n - len(upper) + 1), min(n, len(lower) - 1) + 1):
        (least, ways), (least_above, ways_above) = lower[k], upper[n - k]
        room = observed - least - least_above
        if room >= 0:
            above = ways_above[: room + 1].cumsum()
            free = max(0, room + 1 - len(ways_above))  # lower sums that go with every upper sum
            total += float(ways[:free].sum() * above[-1])
            total += float(ways[free : room + 1] @ above[::-1][: max(0, len(ways) - free)])
    return total / math.comb(len(rising), n)


def _subset_sums(rising: Sequence[int]) -> list[tuple[int, NDArray[np.float64]]]:
    """Return for k = 0, 1, ... the least sum of k of these numbers, and the ways to it and each sum above."""
    half = len(rising) // 2
    least, most = [0, *accumulate(rising)], [0, *accumulate(reversed(rising))]
    # The ways to reach the sum s with k numbers are at k * width + s. With this width the k do not overlap,
    # and one addition to a contiguous array takes each number into account.
    width = max(most[k] - least[k + 1] + 1 for k in range(half + 1))
    ways = np.zeros(half * width + most[half] + 1)
    ways[0] = 1
    other = ways.copy()  # adding an array to a part of itself would make NumPy copy it first
    for seen, number in enumerate(rising, start=1):
        chosen = min(half, seen)
        end = chosen * width + least[seen] - least[seen - chosen] + 1
        shift = width + number
        other[:shift] = ways[:shift]
        np.add(ways[shift:end], ways[: end - shift], out=other[shift:end])
        ways, other = other, ways
    rows = [ways[k * width + least[k] : k * width + most[k] + 1] for k in range(half + 1)]
    rows += [rows[len(rising) - k][::-1] for k in range(half + 1, len(rising) + 1)]  # choose those left out
    return list(zip(least, rows, strict=True))


@lru_cache(maxsize=1024)
def rank_sum_cdf(doubled: tuple[int, ...], n: int) -> NDArray[np.float64]:
    """Return P(sum <= s) for every s if any n of these numbers are equally likely.

    `ways[k, s]` counts how k of the numbers seen so far add up to s; each further number r is either left
    out or adds ways[k - 1, s - r].

    Raises:
        InvalidResults: there are too many results to count.
    """
    _check_size(len(doubled), n)
    rising = sorted(doubled)
    ways = np.zeros((n + 1, sum(rising[-n:]) + 1))
    ways[0, 0] = 1
    for seen, number in enumerate(rising, start=1):
        # Only rows that row n still depends on, and only sums that can occur so far: five times faster.
        least, most = max(1, n - len(rising) + seen), min(n, seen)
        largest = sum(rising[seen - most : seen])
        ways[least : most + 1, number : largest + 1] += ways[least - 1 : most, : largest + 1 - number]
    return np.cumsum(ways[n]) / math.comb(len(doubled), n)


def _check_size(size: int, n: int) -> None:
    if n * size > MAX_SIZE:
        raise InvalidResults(f"{n} new results against {size - n} are too many to count exactly: give fewer")
