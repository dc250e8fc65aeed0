"""How the false-alarm rate of a whole suite is divided.

A false alarm is any case that fails although nothing has changed. Each case gets an equal share of the
rate, and within a case 45 % goes to accuracy, 45 % to loss, and 10 % to the check for results that are
too good. Shares add up (Bonferroni: the probability of "any of them" is at most the sum), whatever the
cases have in common. The rate refers to the suite of all cases, even if only one of them is run.

The test is sequential: it looks at the results after 3, 5, 8, 12 and 20 seeds, say. By the n-th seed of
n_max a share n / n_max may have been spent (a linear alpha-spending function: Lan and DeMets 1983,
Biometrika 70). The looks add up like the cases. p is always a multiple of 1 / C(m + n, n): the level of a
look is rounded down to one, and the remainder is spent later. With 20 baseline seeds, three new ones
usually cannot fail a case: one of 1,771 orders is not rare enough.

If the new results share the baseline's seeds, the last look compares them seed by seed
(`signed_rank.py`): p is then a multiple of 1 / 2^n, so this needs MIN_PAIRS seeds. The looks before it
compare all with all (`rank_sum.py`). Each look has one test, so the argument above still holds.

A case passes early if accuracy and loss both have p >= CLEAR, seed by seed p >= CLEAR_PAIRS, and nothing
is too good. That raises no false alarm; its cost in power is part of the stated power (`power.py`).
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

FALSE_ALARM_RATE = 0.01  # of the whole suite
SHARES = {"accuracy": 0.45, "loss": 0.45, "too good": 0.10}
CLEAR = 0.2
CLEAR_PAIRS = 0.5
MIN_PAIRS = 16  # 1 / 2^16 is below every level of a suite of a hundred cases
LOOKS = (3, 5, 8, 12, 20)
MIN_BASELINE_SEEDS = 20


@dataclass(frozen=True)
class Plan:
    """When to look at a case, and at which level it fails."""

    baseline: int  # number of baseline seeds
    cases: int  # number of cases in the suite
    looks: tuple[int, ...] = LOOKS  # numbers of new seeds after which to decide, in rising order
    false_alarm_rate: float = FALSE_ALARM_RATE  # of the whole suite
    paired: bool = False  # whether the new results share the baseline's seeds

    def by_seed(self, n: int) -> bool:
        """Whether the look after n seeds compares seed by seed."""
        return self.paired and n == self.looks[-1] and n >= MIN_PAIRS

    def levels(self, share: str) -> dict[int, float]:
        """Return for each look the p at or below which a metric (a key of SHARES) fails; 0: it cannot."""
        return _levels(self, share)

    @property
    def can_fail(self) -> bool:
        """Whether any result at all could fail the case."""
        return any(self.levels("accuracy").values())


@lru_cache(maxsize=1024)
def _levels(plan: Plan, share: str) -> dict[int, float]:
    # Fractions: rounding down must not depend on how 0.01 looks in binary.
    total = Fraction(str(plan.false_alarm_rate)) * Fraction(str(SHARES[share])) / plan.cases
    spent, levels = Fraction(0), {}
    for n in plan.looks:
        by_seed = plan.by_seed(n) and share != "too good"
        orders = 2**n if by_seed else math.comb(plan.baseline + n, n)
        level = Fraction(math.floor((total * n / plan.looks[-1] - spent) * orders), orders)
        spent += level
        levels[n] = float(level)
    return levels
