"""A row of the benchmarks' table: one measurement of ours beside what it is held against."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

PRINTED = "printed"  # in the place of a goal
Details = list[dict[str, str]]  # a table of its own, where a row is not enough


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured.
        ours: its median, in `unit`.
        unit: s, MiB or %.
        against: what it is held against; the goal itself where nothing runs beside it.
        theirs: the median of that, None where nothing runs beside it.
        goal: in words.
        met: whether the goal is reached.
        runs: how many measurements the median is of.
        note: what else is to be known, accuracy above all.
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

    @property
    def ratio(self) -> float | None:
        """Return how often ours goes into theirs: above 1 is better than theirs."""
        return None if self.theirs is None else self.theirs / self.ours

    def cells(self) -> dict[str, str]:
        """Return what the table shows."""
        ratio = "" if self.ratio is None else f"{self.ratio:.3g} x"
        theirs = "" if self.theirs is None else f"{shown(self.theirs)} {self.unit}"
        return {
            "what": self.what,
            "ours": f"{shown(self.ours)} {self.unit}",
            "against": self.against,
            "theirs": theirs,
            "times as good": ratio,
            "goal": self.goal,
            "met": "yes" if self.met else "no",
            "runs": str(self.runs),
            "note": self.note,
        }


Measured = tuple[list[Row], Details]  # what every case returns


def shown(value: float) -> str:
    """Return a number with three digits that count, never in powers of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(
    what: str,
    ours: Sequence[float],
    against: str,
    theirs: Sequence[float],
    goal: float | None,
    note: str = "",
) -> Row:
    """Return the row of two lists of seconds; the goal is how often ours shall go into theirs.

    Without a goal it is printed, and met.
    """
    own, other = statistics.median(ours), statistics.median(theirs)
    met = goal is None or other / own >= goal
    if goal is None:
        said = PRINTED
    else:
        said = f"{goal:g} times faster" if goal >= 1 else f"at most {1 / goal:.2g} times slower"
    return Row(what, own, "s", against, other, said, met, len(ours), note)


def within(what: str, values: Sequence[float], unit: str, goal: float | None, note: str = "") -> Row:
    """Return the row of values of which the median shall not be above the goal, if there is one."""
    own = statistics.median(values)
    said = PRINTED if goal is None else f"at most {goal:,g} {unit}"
    return Row(what, own, unit, "", None, said, goal is None or own <= goal, len(values), note)


def in_turns(
    contenders: dict[str, Callable[[], Any]], turns: int, uncounted: int, counted: int
) -> dict[str, list[float]]:
    """Return the seconds of each call, the contenders taking turns.

    A busy moment of the machine meets all of them. Of a turn's calls the first are not counted: the
    threads of NumPy's library go on waiting for a moment after a call, at the cost of whoever
    comes next.
    """
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, action in contenders.items():
            turn = [seconds(action) for _ in range(uncounted + counted)]
            found[name] += turn[uncounted:]
    return found


def seconds(action: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    start = perf_counter()
    action()
    return perf_counter() - start


def table(rows: Iterable[dict[str, str]]) -> str:
    """Return the rows as text in columns."""
    lines = list(rows)
    columns = list(lines[0])
    widths = {c: max(len(c), *(len(line[c]) for line in lines)) for c in columns}
    every = [{c: c for c in columns}, *lines]
    return "\n".join("  ".join(line[c].ljust(widths[c]) for c in columns).rstrip() for line in every)
