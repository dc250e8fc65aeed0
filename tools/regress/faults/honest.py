"""The rate of false alarms: the gate's decision on honest results, over and over again.

Every case has its baseline and results of fresh seeds beside it, both honest. Resampled: baseline
and fresh results are put together and divided anew, at random, into a baseline and new results; the
gate decides on all cases, and any that fails is a false alarm of the suite. Directly: the fresh
results are held against the recorded baseline in the order in which they were made, by one run of
the gate after the other.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from accuracy_gate import Plan, Record, Run, Verdict, decide, parse_records, refusal
from accuracy_gate.interval import interval
from shared.errors import ConfigError, DataError
from tools.regress import baselines, cases
from tools.regress.cases import Case
from tools.regress.faults.measure import Places, baseline_of, nobodys, source_of, surroundings
from tools.regress.output import write_json
from tools.regress.process import Worker

FIRST = 1000  # the seed of the first fresh result; no baseline has so many
DRAWS = 4_000
SEED = 20


@dataclass(frozen=True)
class Pair:
    """A case: its baseline, and honest results of other seeds.

    Attributes:
        baseline: at least 20 runs.
        fresh: as many as there are.
        looks: after how many new seeds the gate decides.
    """

    baseline: Record
    fresh: Record
    looks: tuple[int, ...]


Decision = Callable[[Record, Record, Sequence[int], int], Verdict]


def gate(baseline: Record, new: Record, looks: Sequence[int], suite: int) -> Verdict:
    """Return the gate's verdict, look after look, on results that are all there.

    Args:
        baseline: at least 20 runs.
        new: as many as the last look takes.
        looks: after how many seeds to decide.
        suite: how many cases there are.
    """
    plan = Plan(len(baseline.runs), suite, tuple(looks), paired=True)
    baseline, new = numbered(baseline), numbered(new)
    for n in looks:
        verdict = decide(baseline, Record(new.case, new.runs[:n], new.facts), plan)
        if verdict:
            return verdict
    raise AssertionError("the last look always decides")


def numbered(record: Record) -> Record:
    """Return the record with the seeds 0, 1, 2, ...: the gate takes the seeds of its baseline.

    Results with the same number have nothing else in common then, which is the worst case for a
    test seed by seed.
    """
    runs = tuple(replace(run, seed=number) for number, run in enumerate(record.runs))
    return Record(record.case, runs, record.facts)


def resampled(pairs: Sequence[Pair], draws: int = DRAWS, decision: Decision = gate) -> dict[str, Any]:
    """Return how often a suite of results divided at random fails, and each case.

    Args:
        pairs: the cases.
        draws: how many suites.
        decision: what decides on a case.
    """
    random = np.random.default_rng(SEED)
    alarms = np.zeros((draws, len(pairs)), dtype=bool)
    for draw in range(draws):
        for column, pair in enumerate(pairs):
            old, new = divided(pair, random)
            case, facts = pair.baseline.case, pair.baseline.facts
            verdict = decision(
                Record(case, tuple(old), facts), Record(case, tuple(new), facts), pair.looks, len(pairs)
            )
            alarms[draw, column] = verdict.bad
    return {
        "suites": rate(int(alarms.any(axis=1).sum()), draws),
        "cases": {
            pair.baseline.case: rate(int(count), draws)
            for pair, count in zip(pairs, alarms.sum(axis=0), strict=True)
        },
        "seed": SEED,
    }


def divided(pair: Pair, random: np.random.Generator) -> tuple[list[Run], list[Run]]:
    """Return honest runs as those of a baseline, as large as the recorded one, and new ones.

    A run that failed is never in the baseline: none would have been recorded with it.
    """
    runs = [*pair.baseline.runs, *pair.fresh.runs]
    order = [runs[place] for place in random.permutation(len(runs))]
    new, others = order[: pair.looks[-1]], order[pair.looks[-1] :]
    return [run for run in others if not run.fault][: len(pair.baseline.runs)], new


def directly(pairs: Sequence[Pair], decision: Decision = gate) -> dict[str, Any]:
    """Return how often fresh results fail against the recorded baseline, run of the gate after run.

    A run of the gate takes the next results of each case, as many as it needs to decide. The runs
    of one case share a baseline.
    """
    verdicts = [list(_verdicts(pair, len(pairs), decision)) for pair in pairs]
    suites = list(zip(*verdicts, strict=False))  # as long as every case has results
    return {
        "suites": rate(sum(any(suite) for suite in suites), len(suites)),
        "cases": {
            pair.baseline.case: rate(sum(failed), len(failed))
            for pair, failed in zip(pairs, verdicts, strict=True)
        },
    }


def _verdicts(pair: Pair, suite: int, decision: Decision) -> Sequence[bool]:
    """Return for each run of the gate whether it fails."""
    found, runs = [], pair.fresh.runs
    while len(runs) >= pair.looks[-1]:
        new = Record(pair.fresh.case, runs[: pair.looks[-1]], pair.baseline.facts)
        verdict = decision(pair.baseline, new, pair.looks, suite)
        found.append(verdict.bad)
        runs = runs[len(verdict.new.runs) if verdict.new else pair.looks[-1] :]
    return found


def rate(alarms: int, of: int) -> dict[str, Any]:
    """Return a rate with its exact 95 % interval (Clopper and Pearson 1934)."""
    low, high = interval(alarms, of) if of else (0.0, 1.0)
    return {"alarms": alarms, "of": of, "low": low, "high": high}


@dataclass
class Honest:
    """The file with the honest results and what they say.

    Attributes:
        file: docs/results/honest.json.
        data: real or embedded.
        content: what is in it.
    """

    file: Path
    data: str
    content: dict[str, Any]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, names: Sequence[str], places: Places) -> None:
        """Take the cases' baselines; drop fresh results that do not belong to them.

        Raises:
            ConfigError: a case has no baseline.
        """
        known = {entry["baseline"]["case"]: entry for entry in self.content.get("cases", [])}
        entries = []
        for name in names:
            baseline = baseline_of(name, self.data, places)
            if baseline.runs[-1].seed >= FIRST:
                raise ConfigError(f"{baseline.case}: its baseline has the fresh seeds")
            old = known.get(baseline.case, {})
            same = old.get("baseline") == baseline.as_json()
            looks = self._checked(name, baseline, places).looks
            fresh = old["fresh"] if same else {"case": baseline.case, "runs": []}
            entries.append({"looks": looks, "baseline": baseline.as_json(), "fresh": fresh})
        before = self.content.get("measured_on", [])  # where an interrupted measurement has been
        here = surroundings()
        measured_on = before if here in before else [*before, here]
        self.content = {"data": self.data, "measured_on": measured_on, "cases": entries}

    def _checked(self, name: str, baseline: Record, places: Places) -> Case:
        """Return the case, whose configuration is the baseline's; Hydra knows no threads."""
        case = cases.load(name, places.cases)
        config = case.comparable(source_of(name, self.data, places))
        refused = refusal(baseline, baselines.record_of(baseline.case, config, [], baseline))
        if refused:
            raise ConfigError(f"{baseline.case}: {refused.reason}")
        return case

    def train(self, name: str, seeds: int, places: Places) -> tuple[str, int]:
        """Train a case with the fresh seeds that are missing; return its name and how many it has.

        Raises:
            ConfigError: a run is not comparable with the baseline.
            DataError: the data is missing.
        """
        baseline = baseline_of(name, self.data, places)
        source, case = source_of(name, self.data, places), cases.load(name, places.cases)
        (entry,) = (e for e in self.content["cases"] if e["baseline"]["case"] == baseline.case)
        runs = entry["fresh"]["runs"]
        config = baseline.facts["config"]
        with Worker(places.cases, name, case, source, places.out) as worker:
            for seed in range(FIRST + len(runs), FIRST + seeds):
                answer = worker.run(seed)
                if answer["status"] == "no data":
                    raise DataError(f"{baseline.case}: {answer['error']}")
                record = baselines.record_of(baseline.case, config, [answer], baseline)
                if refused := refusal(baseline, record):
                    raise ConfigError(f"{baseline.case}: {refused.reason}")
                runs.append(nobodys(record.runs[0].as_json()))  # one that failed is an alarm, too
                self.keep()
        return baseline.case, len(runs)

    def keep(self) -> None:
        """Write the file."""
        with self.lock:
            write_json(self.file, self.content)

    def pairs(self) -> list[Pair]:
        """Return the cases as they are in the file."""
        pairs = []
        for entry in self.content["cases"]:
            (baseline,), (fresh,) = (
                parse_records(json.dumps(entry[part]), part) for part in ("baseline", "fresh")
            )
            pairs.append(Pair(baseline, fresh, tuple(entry["looks"])))
        return pairs

    def measure(self, draws: int = DRAWS) -> dict[str, Any]:
        """Add the two rates to the file; return its content."""
        pairs = self.pairs()
        self.content["resampled"] = resampled(pairs, draws)
        self.content["direct"] = directly(pairs)
        self.keep()
        return self.content


def told(content: Mapping[str, Any]) -> str:
    """Return what the screen says at the end."""
    lines = []
    for kind, what in (("resampled", "resampled suites"), ("direct", "runs of the suite")):
        found = content[kind]["suites"]
        lines.append(
            f"{found['alarms']} false alarms in {found['of']:,} {what} "
            f"(95 % interval: {found['low']:.2%} to {found['high']:.2%})"
        )
    return "\n".join(lines)
