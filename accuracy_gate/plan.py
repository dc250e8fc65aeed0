"""How the false-alarm rate of a whole suite is divided.

A false alarm is any case that fails although nothing has changed. Each case gets an equal share of the
rate. Within a case 90 % is divided equally among the metrics, and the share of a metric equally among its
slices; 10 % goes to the check for results that are too good, if a metric has a best possible score. Shares
add up (Bonferroni: the probability of "any of them" is at most the sum), whatever the cases have in common.
The rate refers to the suite of all cases, even if only one of them is run.

The test is sequential: it looks at the results after 3, 5, 8, 12 and 20 seeds, say. By the n-th seed of
n_max a share n / n_max may have been spent (a linear alpha-spending function: Lan and DeMets 1983,
Biometrika 70). The looks add up like the cases. p is always a multiple of 1 / C(m + n, n): the level of a
look is rounded down to one, and the remainder is spent later. With 20 baseline seeds, three new ones
usually cannot fail a case: one of 1,771 orders is not rare enough.

If the new results share the baseline's seeds, the last look compares them seed by seed
(`signed_rank.py`): p is then a multiple of 1 / 2^n, so this needs MIN_PAIRS seeds. The looks before it
compare all with all (`rank_sum.py`). Each look has one test, so the argument above still holds.

A case passes early if all metrics have p >= CLEAR, seed by seed p >= CLEAR_PAIRS, and nothing is too good.
That raises no false alarm; its cost in power is part of the stated power (`detection.py`).
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from accuracy_gate.results import Metric

FALSE_ALARM_RATE = 0.01  # of the whole suite
METRICS, TOO_GOOD = Fraction(9, 10), Fraction(1, 10)  # shares; without a bounded metric all goes to metrics
CLEAR = 0.2
CLEAR_PAIRS = 0.5
MIN_PAIRS = 16  # 1 / 2^16 is below every level of a suite of a hundred cases
LOOKS = (3, 5, 8, 12, 20)


@dataclass(frozen=True)
class Plan:
    """When to look at a case, and at which level it fails."""

    baseline: int  # number of baseline seeds
    cases: int = 1  # number of cases in the suite
    looks: tuple[int, ...] = LOOKS  # numbers of new seeds after which to decide, in rising order
    false_alarm_rate: float = FALSE_ALARM_RATE  # of the whole suite
    paired: bool = False  # whether the new results share the baseline's seeds

    def by_seed(self, n: int) -> bool:
        """Whether the look after n seeds compares seed by seed."""
        return self.paired and n == self.looks[-1] and n >= MIN_PAIRS

    def levels(self, share: Fraction) -> dict[int, float]:
        """Return for each look the p at or below which a metric with this share fails; 0: it cannot."""
        # Fractions: rounding down must not depend on how 0.01 looks in binary.
        total = Fraction(str(self.false_alarm_rate)) * share / self.cases
        return _levels(self, total, True)

    def too_good_levels(self, share: Fraction) -> dict[int, float]:
        """Return the same for the check for results that are too good, which always ranks all with all."""
        return _levels(self, Fraction(str(self.false_alarm_rate)) * share / self.cases, False)

    def equivalence_levels(self) -> dict[int, float]:
        """Return for each look the p at or below which a metric is shown to be within its margin."""
        return _levels(self, Fraction(1, 20), True)

    def can_fail(self, share: Fraction) -> bool:
        """Whether any result at all could fail a metric with this share."""
        return any(self.levels(share).values())


def divide(metrics: Mapping[str, Metric], columns: Mapping[str, str]) -> dict[str, tuple[Fraction, Fraction]]:
    """Return the shares of each column: for results that are worse, and for those that are too good."""
    slices = Counter(columns.values())
    bounded = [key for key, name in columns.items() if metrics[name].is_share]
    rest = METRICS if bounded else METRICS + TOO_GOOD
    return {
        key: (rest / len(metrics) / slices[name], TOO_GOOD / len(bounded) if key in bounded else Fraction(0))
        for key, name in columns.items()
    }


@lru_cache(maxsize=1024)
def _levels(plan: Plan, total: Fraction, may_pair: bool) -> dict[int, float]:
    spent, levels = Fraction(0), {}
    for n in plan.looks:
        orders = 2**n if may_pair and plan.by_seed(n) else math.comb(plan.baseline + n, n)
        level = Fraction(math.floor((total * n / plan.looks[-1] - spent) * orders), orders)
        spent += level
        levels[n] = float(level)
    return levels
