"""What would have found the faults that the gate missed: more seeds, or no margin."""

import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accuracy_gate import Plan
from accuracy_gate.plan import CLEAR, LOOKS
from accuracy_gate.signed_rank import MARGIN, signed_rank_p
from shared.runs.environment import ROOT
from shared.tables import markdown_table
from tools.results.rivals import scores

SHARE = Fraction(9, 20)  # of the false-alarm rate of a case, for each of accuracy and loss
SEEDS = (20, 30, 40, 60)
DRAWS = 300


def missed_table(faults: Sequence[Mapping[str, Any]], honest: Mapping[str, Any]) -> str:
    """Return the table: a row for each metric of a missed fault that is worse.

    The chances are those of the last look, seed by seed, after no early pass: the recorded differences
    between the runs of a seed are drawn with replacement (bootstrap: Efron 1979, Annals of Statistics 7).
    """
    rows = []
    for row in (row for row in faults if row["outcome"] == "missed"):
        for case in row["cases"]:
            file = ROOT / "baselines" / row["data"] / f"{case['case'].partition('.')[0]}.json"
            baseline = scores(json.loads(file.read_text())["runs"])
            rows += [(row["sentence"], *cells) for cells in _cells(case, baseline, len(honest["cases"]))]
    header = ("fault", "metric", "worse by", "± by seed", "p without margin", *(f"{n} seeds" for n in SEEDS))
    return markdown_table(header, rows)


def _cells(case: Mapping[str, Any], baseline: NDArray[np.float64], cases: int) -> Iterator[tuple[str, ...]]:
    found = scores(case["runs"])
    for column, metric in enumerate(("accuracy", "loss")):
        if case["compared"][metric]["p"] >= CLEAR:
            continue
        spread = baseline[:, column].std(ddof=1)
        changes = (found[:, column] - baseline[: len(found), column]) / spread
        p = signed_rank_p([0.0] * len(changes), changes.tolist(), 0.0)
        chances = (f"{_chance(changes, n, cases):.0%}" for n in SEEDS)
        yield metric, f"{-changes.mean():.2f}", f"{changes.std(ddof=1):.2f}", f"{p:.1e}", *chances


def _chance(changes: NDArray[np.float64], n: int, cases: int) -> float:
    """Return how often n seeds with such changes, in spreads of the baseline, fail the case."""
    level = Plan(n, cases, (*LOOKS[:-1], n), paired=True).levels(SHARE)[n]
    draws = np.random.default_rng(n).choice(changes, (DRAWS, n))
    return float(np.mean([signed_rank_p([0.0] * n, draw.tolist(), MARGIN) <= level for draw in draws]))
