"""Measures a fault: trains with a copy of the code that has the fault, and takes the gate's own verdict."""

import json
import re
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accuracy_gate import Results, Run
from accuracy_gate.decision import FAILING, paired_p
from accuracy_gate.plan import CLEAR
from accuracy_gate.report import as_json
from shared.errors import ConfigError, DataError
from shared.files import sha256_of
from shared.runs.environment import environment
from tools.regress.baselines import read_baseline, record_of
from tools.regress.cases import Variant
from tools.regress.faults.planted import Fault, copy_code
from tools.regress.suite import Suite, Worker

SEEDS = 12  # compared before a fault that the gate lets pass counts as not worse
LOG = re.compile(r"; see \S+")

Row = dict[str, Any]  # the measurement of one fault


def require_baseline(variant: Variant) -> Results:
    """Return the baseline of a variant.

    Raises:
        ConfigError: there is none; without one the gate refuses everything, faulty or not.
    """
    baseline = read_baseline(variant)
    if baseline is None:
        raise ConfigError(f"{variant.title} has no baseline: make bless case={variant.name}")
    return baseline


def conditions(fault: Fault, data: str, variants: Sequence[Variant]) -> Row:
    """Return what a recorded row must agree with to stay valid: sentence, data and baselines.

    Raises:
        ConfigError: a case has no baseline.
    """
    for variant in variants:
        require_baseline(variant)
    baselines = json.dumps([json.loads(variant.baseline_path.read_text()) for variant in variants])
    return {"sentence": fault.sentence, "data": data, "baselines_sha256": sha256_of(baselines.encode())}


def measure(fault: Fault, data: str, variants: Sequence[Variant], out: Path, seeds: int = SEEDS) -> Row:
    """Return the row of a fault: the gate's verdict on its variants, and what it rests on.

    Raises:
        ConfigError: the fault does not fit the code, or a case has no baseline.
        DataError: the data is missing.
    """
    copy = out / fault.name / "code"
    copy.mkdir(parents=True)
    start = time.perf_counter()
    try:
        copy_code(copy, fault)
        suite = Suite({variant.name: [variant] for variant in variants}, copy.parent / "regress", root=copy)
        cases = [measure_case(suite, variant, seeds) for variant in variants]
    finally:
        shutil.rmtree(copy)
    return {
        "fault": fault.name,
        **conditions(fault, data, variants),
        "outcome": outcome(cases),
        "cases": cases,
        "seconds": round(time.perf_counter() - start, 1),
        **surroundings(),
    }


def measure_case(suite: Suite, variant: Variant, seeds: int) -> Row:
    """Return the gate's verdict on a case. If it passes, train more of the baseline's seeds.

    Then `compared` has what `mean_changes` returns for all seeds, or the problem of a run.

    Raises:
        ConfigError: the case has no baseline.
        DataError: the data is missing.
    """
    verdict, baseline = suite.verdict(variant.name), require_baseline(variant)
    if verdict.outcome == "no data":
        raise DataError(f"{verdict.case}: {verdict.reason}")
    runs = list(verdict.new.runs if verdict.new else ())
    row = {
        "case": verdict.case,
        "verdict": verdict.outcome,
        "reason": LOG.sub("", verdict.reason),
        "seeds": len(runs),
        "test_examples": baseline.facts.get("test_examples"),
        "baseline_seeds": len(baseline.runs),
        "metrics": as_json([verdict])["cases"][0]["metrics"],
    }
    if verdict.outcome in ("passed", "identical"):
        with Worker(variant, suite.out.parent / "further", suite.root) as worker:
            for old in baseline.runs[len(runs) : seeds]:
                runs.extend(record_of(variant, [worker.run(old.seed)], None).runs)
        found = replace(baseline, runs=tuple(runs))
        problems = [LOG.sub("", problem) for problem in found.problems]
        row["compared"] = {"fault": problems[0]} if problems else mean_changes(baseline, found)
    row["runs"] = [run_without_log(run) for run in runs]
    return row


def run_without_log(run: Run) -> dict[str, Any]:
    """Return a run as JSON without the path of its log, which exists on one machine only."""
    return replace(run, error=LOG.sub("", run.error)).as_json()


def mean_changes(before: Results, after: Results) -> dict[str, Any]:
    """Return how results differ from a baseline.

    Returns:
        The number of seeds; for accuracy and loss the mean difference to the baseline's runs with these
        seeds, and p, how likely results this bad are by chance, seed by seed (`signed_rank.py`).
    """
    changes: dict[str, Any] = {"seeds": len(after.runs)}
    known = {run.seed: run.scores for run in before.runs}
    for metric in ("accuracy", "loss"):
        differences = [run.scores[metric] - known[run.seed][metric] for run in after.runs]
        p = paired_p(metric, before, after)
        changes[metric] = {"difference": statistics.mean(differences), "p": p}
    return changes


def outcome(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return what became of a fault.

    caught: a case failed. refused: a case was refused, and nothing compared. unseen: in no case are
    accuracy or loss worse over all seeds, by the gate's own criterion of what looks ordinary.
    missed: everything else.
    """
    verdicts = {case["verdict"] for case in cases}
    if verdicts & set(FAILING):
        return "caught"
    if "refused" in verdicts:
        return "refused"
    changes = [case["compared"] for case in cases]
    ordinary = all(
        "fault" not in each and min(each["accuracy"]["p"], each["loss"]["p"]) >= CLEAR for each in changes
    )
    return "unseen" if ordinary else "missed"


def surroundings() -> dict[str, Any]:
    """Return the versions of all frameworks, the hardware, and the commit that was copied."""
    here = environment("torch", threads=1)
    here["versions"] |= environment("keras", threads=1)["versions"]
    return here | {"git": {"commit": here["git"]["commit"], "dirty": False}}  # a copy of HEAD
