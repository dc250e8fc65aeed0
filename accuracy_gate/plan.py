"""How the false-alarm rate of a whole suite is shared out.

A false alarm of the suite is any case that fails although nothing has changed. Each case gets an
equal share, whatever the cases have in common (Bonferroni: the probability of "any of them" is at
most the sum). In a case 45 % of it goes to accuracy, 45 % to loss, and 10 % to the check for
results that are too good. The rate refers to the suite of all cases, also where only one of them is
run.

Sequential: the results are looked at after 3, 5, 8, 12 and 20 seeds, say. By the n-th seed of n_max
a share n / n_max may have been spent (a linear alpha-spending function: Lan and DeMets 1983,
Biometrika 70). The looks are added up like the cases (Bonferroni again), so the rate holds however
they depend on each other. p can only be a multiple of 1 / C(m + n, n): the level of a look is
rounded down to one, and what that leaves is spent later. With 20 seeds in the baseline three new
ones usually cannot fail a case: one of 1,771 orders is not rare enough.

Where the new results have the baseline's seeds, the last look compares them seed by seed
(`pairs.py`): p is a multiple of 1 / 2^n then, so this takes PAIRS seeds or more. The looks before
it compare all with all (`ranks.py`). A look has one test, so this changes nothing of the above.

A case passes early where accuracy and loss both have p >= CLEAR, seed by seed p >= CLEAR_PAIRS, and
nothing is too good. Stopping to pass raises no false alarm; what it costs in power is in the power
that is stated (`power.py`).
"""

import math
from dataclasses import dataclass
from fractions import Fraction

FALSE_ALARMS = 0.01  # of the whole suite together
SHARES = {"accuracy": 0.45, "loss": 0.45, "too good": 0.10}
CLEAR = 0.2
CLEAR_PAIRS = 0.5
PAIRS = 16  # seeds: 1 / 2^16 is below every level that a suite of a hundred cases has
LOOKS = (3, 5, 8, 12, 20)
FEWEST = 20  # seeds of a baseline


@dataclass(frozen=True)
class Plan:
    """When a case is looked at, and at which level.

    Attributes:
        baseline: how many seeds it has.
        cases: how many cases the suite has.
        looks: after how many new seeds, in rising order.
        false_alarms: rate of the whole suite.
        paired: whether the new results have seeds of the baseline.
    """

    baseline: int
    cases: int
    looks: tuple[int, ...] = LOOKS
    false_alarms: float = FALSE_ALARMS
    paired: bool = False

    def by_seed(self, n: int) -> bool:
        """Whether the look after n seeds decides seed by seed."""
        return self.paired and n == self.looks[-1] and n >= PAIRS

    def levels(self, share: str) -> dict[int, float]:
        """Return for each look the p at or below which the case fails; 0 where it cannot.

        Args:
            share: a key of SHARES.
        """
        # In fractions: what is rounded down must not depend on how 0.01 looks in binary.
        total = Fraction(str(self.false_alarms)) * Fraction(str(SHARES[share])) / self.cases
        spent, levels = Fraction(0), {}
        for n in self.looks:
            by_seed = self.by_seed(n) and share != "too good"
            orders = 2**n if by_seed else math.comb(self.baseline + n, n)
            level = Fraction(math.floor((total * n / self.looks[-1] - spent) * orders), orders)
            spent += level
            levels[n] = float(level)
        return levels

    @property
    def can_fail(self) -> bool:
        """Whether any result at all could fail the case."""
        return any(self.levels("accuracy").values())
