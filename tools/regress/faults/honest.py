"""The false-alarm rate: the gate's decision on honest results, over and over again.

Every case has its baseline and honest results of fresh seeds. Resampled: baseline and fresh results are
pooled and divided at random into a baseline and new results; the gate decides on all cases, and any that
fails is a false alarm of the suite. Direct: the fresh results are compared with the recorded baseline in
the order in which they were made, one run of the gate after another.
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from accuracy_gate import Plan, Results, Verdict, decide, refusal
from shared.errors import ConfigError, DataError
from shared.output_file import write_json
from shared.runs.environment import ROOT
from tools.regress.baselines import parse_record, record_of
from tools.regress.cases import Variant
from tools.regress.faults.measure import require_baseline, run_without_log, surroundings
from tools.regress.suite import Worker

FIRST_SEED = 1000  # of the fresh results; no baseline has that many
DRAWS = 4_000
SEED = 20


class Pair(NamedTuple):
    """The honest results of a case, and the numbers of new seeds after which the gate decides."""

    baseline: Results
    fresh: Results
    looks: Sequence[int]


def gate(baseline: Results, new: Results, looks: Sequence[int], suite: int) -> Verdict:
    """Return the gate's verdict on complete results, in a suite of so many cases.

    The seeds become 0, 1, 2, ..., because the gate pairs results by seed. Pairs then have nothing in
    common, the worst case for a paired test.
    """
    plan = Plan(len(baseline.runs), suite, tuple(looks), paired=True)
    baseline, new = (
        replace(record, runs=tuple(replace(run, seed=n) for n, run in enumerate(record.runs)))
        for record in (baseline, new)
    )
    return decide(baseline, new, plan)


def resample(pairs: Sequence[Pair], draws: int = DRAWS) -> dict[str, Any]:
    """Return how often a suite of randomly divided results fails, and each case."""
    random = np.random.default_rng(SEED)
    alarms: list[list[bool]] = [[] for _ in pairs]
    for _ in range(draws):
        for pair, failed in zip(pairs, alarms, strict=True):
            runs = [*pair.baseline.runs, *pair.fresh.runs]
            order = [runs[place] for place in random.permutation(len(runs))]
            new, others = order[: pair.looks[-1]], order[pair.looks[-1] :]
            # A run that failed is never in the baseline: none would have been recorded with it.
            old = [run for run in others if not pair.baseline.problem(run)][: len(pair.baseline.runs)]
            baseline, fresh = (replace(pair.baseline, runs=tuple(part)) for part in (old, new))
            failed.append(gate(baseline, fresh, pair.looks, len(pairs)).failing)
    return _rates(pairs, alarms) | {"seed": SEED}


def compare_directly(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return how often fresh results fail against the recorded baseline.

    Each run of the gate takes the next results of each case, as many as it needs to decide. All runs of a
    case share a baseline.
    """
    alarms: list[list[bool]] = [[] for _ in pairs]
    for pair, failed in zip(pairs, alarms, strict=True):
        runs = pair.fresh.runs
        while len(runs) >= pair.looks[-1]:
            new = replace(pair.fresh, runs=runs[: pair.looks[-1]], facts=pair.baseline.facts)
            verdict = gate(pair.baseline, new, pair.looks, len(pairs))
            failed.append(verdict.failing)
            runs = runs[len(verdict.new.runs) if verdict.new else pair.looks[-1] :]
    return _rates(pairs, alarms)


def _rates(pairs: Sequence[Pair], alarms: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """Count the suites, and the runs of each case, that failed; a suite is one run of every case."""
    suites = list(zip(*alarms, strict=False))  # as many as every case has results for
    return {
        "suites": {"alarms": sum(map(any, suites)), "of": len(suites)},
        "cases": {
            pair.baseline.case: {"alarms": sum(failed), "of": len(failed)}
            for pair, failed in zip(pairs, alarms, strict=True)
        },
    }


@dataclass
class HonestRuns:
    """The file with the honest results and the rates, and its content."""

    file: Path
    data: str
    content: dict[str, Any]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, variants: Sequence[Variant]) -> None:
        """Read the baselines; drop fresh results that belong to other baselines.

        Raises:
            ConfigError: a case has no baseline, or one that cannot be compared with.
        """
        known = [(entry["baseline"], entry["fresh"]) for entry in self.content.get("cases", [])]
        entries = []
        for variant in variants:
            baseline = require_baseline(variant)
            if baseline.runs[-1].seed >= FIRST_SEED:
                raise ConfigError(f"{baseline.case}: its baseline has seeds of the fresh results")
            if refused := refusal(baseline, record_of(variant, [], baseline)):
                raise ConfigError(f"{baseline.case}: {refused.reason}")
            old = json.loads(variant.baseline_path.read_text())
            none = replace(baseline, runs=()).as_json()
            fresh = next((fresh for before, fresh in known if before == old), none)
            entries.append({"looks": variant.case.looks, "baseline": old, "fresh": fresh})
        measured_on = self.content.get("measured_on", [])  # from an interrupted measurement
        if (here := surroundings()) not in measured_on:
            measured_on = [*measured_on, here]
        self.content = {"data": self.data, "measured_on": measured_on, "cases": entries}

    def train(self, variant: Variant, seeds: int, out: Path) -> tuple[str, int]:
        """Train a case with the missing fresh seeds; return its title and how many it has.

        Raises:
            ConfigError: a run cannot be compared with the baseline.
            DataError: the data is missing.
        """
        baseline = require_baseline(variant)
        (entry,) = (e for e in self.content["cases"] if e["baseline"]["case"] == variant.title)
        runs = entry["fresh"]["runs"]
        with Worker(variant, out, ROOT) as worker:
            for seed in range(FIRST_SEED + len(runs), FIRST_SEED + seeds):
                record = record_of(variant, [worker.run(seed)], baseline)
                (run,) = record.runs
                if run.status == "no data":
                    raise DataError(f"{variant.title}: {run.error}")
                if refused := refusal(baseline, record):
                    raise ConfigError(f"{variant.title}: {refused.reason}")
                runs.append(run_without_log(run))  # one that failed is an alarm, too
                self.save()
        return variant.title, len(runs)

    def save(self) -> None:
        """Write the file."""
        with self.lock:
            write_json(self.file, self.content)

    def measure_rates(self, draws: int = DRAWS) -> dict[str, Any]:
        """Add the two rates to the file; return its content."""
        pairs = []
        for entry in self.content["cases"]:
            baseline, fresh = (parse_record(entry[part], str(self.file)) for part in ("baseline", "fresh"))
            pairs.append(Pair(baseline, fresh, entry["looks"]))
        self.content["resampled"] = resample(pairs, draws)
        self.content["direct"] = compare_directly(pairs)
        self.save()
        return self.content
