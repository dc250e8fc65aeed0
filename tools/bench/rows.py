"""Measurements of the benchmarks: a row holds one of ours beside what it is compared with."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: what was measured.
        ours: its median, in `unit`.
        unit: s, MiB or %.
        against: what it is compared with, if anything.
        theirs: the median of that.
        goal: in words; empty if there is none.
        met: whether the goal is met; true without a goal.
        runs: number of measurements of ours.
        note: what else matters, above all the accuracy.
    """

    what: str
    ours: float
    unit: str
    against: str
    theirs: float | None
    goal: str
    met: bool
    runs: int
    note: str = ""

    def cells(self) -> dict[str, str]:
        """Return the cells of the row in the tables, by column."""
        theirs, speedup = "", ""
        if self.theirs is not None:
            theirs = f"{three_digits(self.theirs)} {self.unit}"
            speedup = f"{self.theirs / self.ours:.3g} x"
        return {
            "measured": self.what,
            "ours": f"{three_digits(self.ours)} {self.unit}",
            "compared with": self.against,
            "theirs": theirs,
            "speedup": speedup,
            "goal": self.goal,
            "met": ("yes" if self.met else "no") if self.goal else "",
            "runs": str(self.runs),
            "note": self.note,
        }


# The result of every case: rows, and a table of its own where they are not enough.
Measured = tuple[list[Row], list[dict[str, str]]]


def three_digits(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def comparison_row(
    what: str,
    ours: Sequence[float],
    against: str,
    theirs: Sequence[float],
    goal: float | None,
    note: str = "",
) -> Row:
    """Return the row of two lists of seconds; `goal` is the speedup, theirs over ours, to reach."""
    own, other = statistics.median(ours), statistics.median(theirs)
    text = ""
    if goal is not None:
        text = f"{goal:g} times faster" if goal >= 1 else f"at most {1 / goal:.2g} times slower"
    met = goal is None or other / own >= goal
    return Row(what, own, "s", against, other, text, met, len(ours), note)


def limit_row(what: str, values: Sequence[float], unit: str, goal: float | None, note: str = "") -> Row:
    """Return the row of values whose median should be at most `goal`, if there is one."""
    own = statistics.median(values)
    text = "" if goal is None else f"at most {goal:,g} {unit}"
    return Row(what, own, unit, "", None, text, goal is None or own <= goal, len(values), note)


def time_in_turns(
    contenders: Mapping[str, Callable[[], Any]], turns: int, warmup: int, timed: int
) -> dict[str, list[float]]:
    """Return the seconds of each timed call, with the contenders taking turns.

    A busy moment of the machine thus affects all of them. The first `warmup` calls of each turn are
    not timed: the threads of NumPy's BLAS spin for a moment after a call, which slows down the next
    contender.
    """
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, action in contenders.items():
            found[name] += [seconds(action) for _ in range(warmup + timed)][warmup:]
    return found


def seconds(action: Callable[[], Any]) -> float:
    """Return the duration of one call."""
    start = perf_counter()
    action()
    return perf_counter() - start
