"""A ledger of checks, one JSON object a line, and a test for slow decline over many checks that passed.

A line holds, for each metric, [seed, the baseline's score, the new score] of every seed of the check.

The test is a conformal test martingale (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World,
2nd edition 2022, chapter 8). The scores of one seed, from the baseline on, form a series. If nothing changes
they are exchangeable: the smoothed rank of each among those before it, divided by their number, is uniform
on 0 to 1 and independent of the earlier ones, and seeds are independent of each other. So a bettor who
starts with capital 1 and multiplies it by k p^(k - 1) at each score can reach 1 / a only with probability a
(Ville 1939), however often one looks. The bettor spreads the capital over several k and moves a hundredth
of it at each step (the "simple jumper": Vovk et al. 2021, arXiv 2102.10439), and so recovers if a
decline begins late. Ties are broken at random, which is exact; scores are rounded to six digits first.

A metric has declined when its capital has reached the number of metrics divided by RATE. So the rate of
false alarms of all metrics together is at most RATE for the whole life of a set of baselines. Checks that
did not pass are left out: they were not merged. This assumes that they are few.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from accuracy_gate.decision import Verdict
from accuracy_gate.results import VERSION, InvalidResults, load_json

RATE = 0.01
POWERS = np.array([0.5, 0.75, 0.9, 1.0])
JUMP = 0.01


@dataclass
class Series:
    """A metric of a case since its baseline."""

    means: list[float] = field(default_factory=list)  # difference to the baseline's scores, by check
    capital: list[float] = field(default_factory=list)  # by check
    commits: list[str] = field(default_factory=list)


def append(path: Path, verdict: Verdict) -> None:
    """Append a verdict that rests on scores; another is not worth keeping."""
    if not verdict.comparisons or not verdict.baseline or not verdict.new:
        return
    known = {run.seed: run.scores for run in verdict.baseline.runs}
    content = json.dumps(verdict.baseline.as_json(), sort_keys=True)
    line = {
        "accuracy_gate": VERSION,
        "date": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
        "commit": os.environ.get("GITHUB_SHA") or _head(),
        "case": verdict.case,
        "verdict": verdict.outcome,
        "baseline": hashlib.sha256(content.encode()).hexdigest()[:16],
        "metrics": {
            each.metric: {
                "goal": each.kind.goal,
                "scores": [
                    [run.seed, known.get(run.seed, {}).get(each.metric), run.scores[each.metric]]
                    for run in verdict.new.runs
                ],
            }
            for each in verdict.comparisons
        },
    }
    with open(path, "ab") as file:  # one write: a line is whole or absent
        file.write(json.dumps(line).encode() + b"\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a ledger that passed.

    Raises:
        InvalidResults: a line is not one of a ledger.
    """
    lines = []
    for number, text in enumerate(path.read_bytes().splitlines(), start=1):
        origin = f"{path}, line {number}"
        line = load_json(text, origin)
        try:
            valid = line["accuracy_gate"] == VERSION and isinstance(line["case"] + line["baseline"], str)
            for metric in line["metrics"].values():
                valid &= metric["goal"] in ("max", "min")
                np.array(metric["scores"], dtype=np.float64).reshape(-1, 3)
        except (AttributeError, KeyError, TypeError, ValueError):
            valid = False
        if not valid:
            raise InvalidResults(f"{origin}: not a line that accuracy-gate check --ledger has written")
        if line.get("verdict") in ("passed", "identical"):
            lines.append(line)
    if not lines:
        raise InvalidResults(f"{path} holds no check that passed")
    return lines


def follow(lines: Sequence[dict[str, Any]]) -> dict[str, Series]:
    """Return the series of every metric of every case since its last new baseline."""
    latest = {line["case"]: line["baseline"] for line in lines}
    series: dict[str, Series] = {}
    bettors: dict[str, Bettor] = {}
    for line in lines:
        if line["baseline"] != latest[line["case"]]:
            continue
        for metric, entry in line["metrics"].items():
            name = f"{line['case']} {metric}"
            sign = 1 if entry["goal"] == "max" else -1
            one = series.setdefault(name, Series())
            bettor = bettors.setdefault(name, Bettor(f"{name} {line['baseline']}"))
            for seed, old, new in entry["scores"]:
                bettor.see(seed, *(sign * score for score in (old, new) if score is not None))
            changes = [new - old for _, old, new in entry["scores"] if old is not None]
            one.means.append(float(np.mean(changes)) if changes else 0.0)
            one.capital.append(bettor.highest)
            one.commits.append(str(line.get("commit")))
    return series


class Bettor:
    """Bets that later scores of a seed are lower."""

    def __init__(self, name: str) -> None:
        digest = hashlib.sha256(name.encode()).digest()
        self.random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        self.capital = np.full(len(POWERS), 1 / len(POWERS))
        self.highest = 1.0
        self.known: dict[int, list[float]] = {}

    def see(self, seed: int, *scores: float) -> None:
        """Take the new score of a seed, the last one given; the baseline's counts only as the first."""
        history = self.known.setdefault(seed, [])
        for score in scores[-1:] if history else scores:
            history.append(float(f"{score:.6g}"))
            past = np.array(history)
            lower, equal = (past < past[-1]).sum(), (past == past[-1]).sum()
            p = (lower + (1 - self.random.random()) * equal) / len(past)
            total = self.capital.sum()
            self.capital = (1 - JUMP) * self.capital + JUMP * total / len(POWERS)
            if len(past) > 1:  # the first of a series says nothing
                self.capital *= POWERS * p ** (POWERS - 1)
            self.highest = max(self.highest, float(self.capital.sum()))


def _head() -> str:
    """Return the commit of the working folder, or an empty text."""
    try:
        return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
