"""Measurements of the benchmarks: a row holds one of ours beside what it is compared with."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from tools.bench.goals import GOALS


@dataclass(frozen=True)
class Options:
    """What a case is measured with.

    Attributes:
        peers: a folder with checkouts of the programs to compare with, or None.
        peer_python: the interpreter of programs whose packages this suite does not need.
        quick: as few repetitions as possible, to try a case.
    """

    peers: Path | None
    peer_python: str
    quick: bool


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: what was measured.
        ours: its median, in `unit`.
        unit: s, MiB or %.
        against: what it is compared with, if anything.
        theirs: the median of that.
        runs: number of measurements of ours.
        note: what else matters, above all the accuracy.
    """

    what: str
    ours: float
    unit: str
    against: str
    theirs: float | None
    runs: int
    note: str = ""

    @property
    def goal(self) -> str:
        """The goal in words; empty if there is none."""
        return GOALS[self.what].text(self.unit) if self.what in GOALS else ""

    @property
    def met(self) -> bool:
        """Whether the goal is met; true without a goal."""
        return self.what not in GOALS or GOALS[self.what].met(self.ours, self.theirs)

    @property
    def speedup(self) -> str:
        """How many times as long the other program takes; empty without a comparison of seconds."""
        return f"{self.theirs / self.ours:.3g} x" if self.theirs is not None and self.unit == "s" else ""

    def cells(self) -> dict[str, str]:
        """Return the cells of the row in the tables, by column."""
        return {
            "measured": self.what,
            "ours": f"{three_digits(self.ours)} {self.unit}",
            "compared with": self.against,
            "theirs": "" if self.theirs is None else f"{three_digits(self.theirs)} {self.unit}",
            "speedup": self.speedup,
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
    what: str, ours: Sequence[float], against: str, theirs: Sequence[float], note: str = "", unit: str = "s"
) -> Row:
    """Return the row of two lists of measurements."""
    own, other = statistics.median(ours), statistics.median(theirs)
    return Row(what, own, unit, against, other, len(ours), note)


def single_row(what: str, values: Sequence[float], unit: str, note: str = "") -> Row:
    """Return the row of values that are not compared with anything."""
    return Row(what, statistics.median(values), unit, "", None, len(values), note)


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
