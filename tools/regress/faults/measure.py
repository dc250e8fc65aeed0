"""What the gate says of a fault: trainings in a copy with the fault, and the gate's own verdict."""

import hashlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accuracy_gate import Record, Run, parse_records
from accuracy_gate.decision import BAD, p_by_seed
from accuracy_gate.plan import CLEAR
from shared.errors import ConfigError, DataError
from shared.runs.environment import environment
from tools.regress import baselines, cases
from tools.regress.faults.planted import Fault, copy_code
from tools.regress.process import Worker

SEEDS = 12  # of what the gate lets pass, before it is said that nothing can be seen
LOG = re.compile(r"; see \S+")
ANSWERS = (0, 2, 5)  # exit statuses of a gate that has come to a verdict


@dataclass(frozen=True)
class Places:
    """Where everything is.

    Attributes:
        out: for copies, runs and logs.
        cases: the folder of the cases.
        baselines: the folder of the baselines.
    """

    out: Path
    cases: Path
    baselines: Path


def source_of(name: str, data: str, places: Places) -> str:
    """Return which data of a case is meant by `data`: a case with one source has that one."""
    case = cases.load(name, places.cases)
    return data if case.embedded is not None else "real"


def baseline_of(name: str, data: str, places: Places) -> Record:
    """Return the baseline of a case.

    Raises:
        ConfigError: there is none: without one the gate refuses everything, faulty or not.
    """
    source = source_of(name, data, places)
    record = baselines.read(name, source, places.baselines)
    if record is None:
        raise ConfigError(f"{baselines.title(name, source)} has no baseline: make bless case={name}")
    return record


def belongs_to(fault: Fault, data: str, places: Places) -> dict[str, Any]:
    """Return what a row must have been measured with to count: sentence, data, baselines.

    Raises:
        ConfigError: a case has no baseline.
    """
    before = [baseline_of(name, data, places).as_json() for name in sorted(fault.cases)]
    return {
        "sentence": fault.sentence,
        "data": data,
        "baselines_sha256": hashlib.sha256(json.dumps(before).encode()).hexdigest(),
    }


def measure(fault: Fault, data: str, places: Places, seeds: int = SEEDS) -> dict[str, Any]:
    """Return the row of a fault: what the gate says, and what its decision rests on.

    Raises:
        ConfigError: a text to be replaced does not occur exactly once, or a case has no baseline.
        DataError: the data is missing.
    """
    before = {name: baseline_of(name, data, places) for name in fault.cases}
    copy = places.out / fault.name / "code"
    copy.mkdir(parents=True)
    start = time.perf_counter()
    try:
        copy_code(copy, fault)
        report = gate(copy, fault, data, places)
        results = []
        for name, entry in zip(sorted(fault.cases), report, strict=True):
            result = judged(entry, before[name])
            if entry["verdict"] in ("passed", "identical"):
                result |= further(copy, name, data, places, entry, before[name], seeds)
            results.append(result)
    finally:
        shutil.rmtree(copy)
    return {
        "fault": fault.name,
        **belongs_to(fault, data, places),
        "outcome": outcome(results),
        "cases": results,
        "seconds": round(time.perf_counter() - start, 1),
        **surroundings(),
    }


def gate(copy: Path, fault: Fault, data: str, places: Places) -> list[dict[str, Any]]:
    """Run the gate in the copy; return what regress.json says of each case, by their names.

    Raises:
        ConfigError: it has come to no verdict.
        DataError: the data is missing.
    """
    out = copy.parent / "regress"
    words = [
        f"case={','.join(fault.cases)}",
        f"data={data}",
        "jobs=1",
        f"out={out}",
        f"--cases-folder={places.cases}",
        f"--baselines-folder={places.baselines}",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "tools.regress", *words], cwd=copy, capture_output=True, text=True
    )
    if result.returncode == DataError.status:
        raise DataError(f"{fault.name}: {result.stdout.strip()}")
    if result.returncode not in ANSWERS or not (out / "regress.json").exists():
        said = (result.stderr or result.stdout).strip()
        raise ConfigError(f"{fault.name}: the gate came to no verdict: {said}")
    entries: list[dict[str, Any]] = json.loads((out / "regress.json").read_text())["cases"]
    return sorted(entries, key=lambda entry: str(entry["case"]))


def judged(entry: Mapping[str, Any], baseline: Record) -> dict[str, Any]:
    """Return what is kept of a case in regress.json."""
    return {
        "case": entry["case"],
        "verdict": entry["verdict"],
        "reason": LOG.sub("", entry["reason"]),
        "seeds": len(entry["results"]["runs"]),
        "test_examples": baseline.test_examples,
        "baseline_seeds": len(baseline.runs),
        "metrics": entry["metrics"],
        "runs": [nobodys(run) for run in entry["results"]["runs"]],
    }


def nobodys(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's record without the place of its log, which is on one machine alone."""
    return {**run, "error": LOG.sub("", run["error"])} if "error" in run else dict(run)


def further(
    copy: Path, name: str, data: str, places: Places, entry: Mapping[str, Any], baseline: Record, seeds: int
) -> dict[str, Any]:
    """Train what the gate has let pass with more of the baseline's seeds, and compare the means.

    Returns:
        `compared`: for accuracy and loss the number of seeds, the mean difference to the baseline
        and p, how likely results as bad are without a change; or the fault of a run.
    """
    (record,) = parse_records(json.dumps(entry["results"]), name)
    runs = list(record.runs)
    source = source_of(name, data, places)
    wanted = [run.seed for run in baseline.runs[:seeds]]
    case = cases.load(name, places.cases)
    with Worker(places.cases, name, case, source, copy.parent / "further", copy) as worker:
        for seed in wanted[len(runs) :]:
            answer = worker.run(seed)
            runs.extend(baselines.record_of(name, {}, [answer], None).runs)
    faults = [run.fault for run in runs if run.fault]
    compared = {"fault": LOG.sub("", faults[0])} if faults else comparison(baseline.runs, runs)
    return {"compared": compared, "runs": [nobodys(run.as_json()) for run in runs]}


def comparison(before: Sequence[Run], after: Sequence[Run]) -> dict[str, Any]:
    """Return how results differ from a baseline.

    Returns:
        The number of seeds; of accuracy and loss the mean difference to the baseline's runs with
        these seeds, and p, how likely results as bad are by chance, seed by seed (pairs.py).
    """
    found: dict[str, Any] = {"seeds": len(after)}
    known = {run.seed: run for run in before}
    old, new = Record("before", tuple(before)), Record("after", tuple(after))
    for metric in ("accuracy", "loss"):
        changes = [getattr(run, metric) - getattr(known[run.seed], metric) for run in after]
        found[metric] = {"difference": statistics.mean(changes), "p": p_by_seed(metric, old, new)}
    return found


def outcome(results: Sequence[Mapping[str, Any]]) -> str:
    """Return what became of a fault.

    caught: a case has failed. refused: a case was refused, and nothing compared. unseen: of no case
    are accuracy or loss worse over all seeds, by the gate's own idea of what looks ordinary.
    missed: all the others.
    """
    verdicts = {result["verdict"] for result in results}
    if verdicts & set(BAD):
        return "caught"
    if "refused" in verdicts:
        return "refused"
    compared = [result["compared"] for result in results]
    ordinary = all(
        "fault" not in each and min(each["accuracy"]["p"], each["loss"]["p"]) >= CLEAR for each in compared
    )
    return "unseen" if ordinary else "missed"


def surroundings() -> dict[str, Any]:
    """Return versions of all frameworks, hardware, and the commit that was copied."""
    here = environment("torch", threads=1)
    here["versions"] |= environment("keras", threads=1)["versions"]
    return here | {"git": {"commit": here["git"]["commit"], "dirty": False}}  # a copy of HEAD
