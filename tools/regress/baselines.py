"""The baselines: baselines/SOURCE/CASE.json, written by `make bless` and by nothing else.

They have a folder of their own: a program decides by them, so they do not belong in docs/, and they are
measured, not chosen, so they do not belong in conf/.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accuracy_gate import InvalidResults, Metric, Results, Run
from accuracy_gate.rank_sum import rank_sum_p
from accuracy_gate.results import differences, load_json
from shared.errors import ConfigError
from shared.output_file import write_json
from shared.runs.environment import ROOT, git
from tools.regress.cases import MIN_BASELINE_SEEDS, Variant

DATA_KEYS = ("dataset", "dataset_sha256", "embedded", "test_examples")
SCORES = {"accuracy": "test_accuracy", "loss": "test_loss"}  # metric: its key in metrics.json


def metrics_of(facts: Mapping[str, Any]) -> dict[str, Metric]:
    """Return the metrics of a case whose facts say how many test examples there are."""
    return {
        "accuracy": Metric("max", None, (0, 1), facts.get("test_examples")),
        "loss": Metric("min", None, (0, None)),
    }


def parse_record(content: Any, origin: str) -> Results:
    """Return results from JSON: of the accuracy gate's format, or of the one that this suite had before.

    Raises:
        InvalidResults: it has neither.
    """
    if isinstance(content, dict) and "accuracy_gate" not in content and isinstance(content.get("runs"), list):
        rest = dict(content)
        case, runs = rest.pop("case", None), rest.pop("runs")
        facts = {key: rest.pop(key) for key in (*DATA_KEYS, "config") if key in rest}
        metrics = {name: metric.as_json() for name, metric in metrics_of(facts).items()}
        content = {"accuracy_gate": 1, "case": case, "metrics": metrics, "facts": facts, "notes": rest}
        content["runs"] = [
            {key: run[key] for key in ("seed", "status", "error") if key in run}
            | {"scores": {name: run.get(key) for name, key in SCORES.items()}}
            | {"seconds": run.get("train_seconds")}
            for run in runs
        ]
    return Results.from_json(content, origin)


def read_baseline(variant: Variant) -> Results | None:
    """Return the baseline of a variant, or None if none is recorded.

    Raises:
        ConfigError: it is damaged.
    """
    path = variant.baseline_path
    if not path.is_file():
        return None
    try:
        record = parse_record(load_json(path.read_bytes(), str(path)), str(path))
        if len(record.runs) < MIN_BASELINE_SEEDS:
            raise InvalidResults(f"{path}: {len(record.runs)} seeds, {MIN_BASELINE_SEEDS} are needed")
        for problem in record.problems:
            raise InvalidResults(f"{path}: the baseline is damaged: {problem}")
    except InvalidResults as error:
        raise ConfigError(str(error)) from error
    return record


def write_baseline(variant: Variant, record: Results, state: Mapping[str, Any]) -> None:
    """Write a new baseline, with the date and what `git_state` returns."""
    notes = {**record.notes, "git": dict(state), "recorded": f"{datetime.now(UTC):%Y-%m-%d}"}
    write_json(variant.baseline_path, replace(record, notes=notes).as_json())


def record_of(variant: Variant, answers: Sequence[Mapping[str, Any]], baseline: Results | None) -> Results:
    """Return the record of a worker's answers, one for each seed.

    If no run got far enough to report its data set, it is assumed to be the baseline's.
    """
    facts: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    runs = []
    for answer in answers:
        metrics = answer.get("metrics", {})
        status, error = answer["status"], answer.get("error", "")
        data = {key: metrics[key] for key in DATA_KEYS if key in metrics}
        if data and facts and data != facts:
            status, error = "failed", "the data differ from those of the seed before"
        facts = facts or data
        notes = notes or {key: metrics[key] for key in ("versions", "hardware") if key in metrics}
        scores = {name: metrics.get(key) for name, key in SCORES.items()}
        runs.append(Run(answer["seed"], scores, metrics.get("train_seconds"), status, error))
    if not facts and baseline:
        facts = {key: baseline.facts[key] for key in DATA_KEYS if key in baseline.facts}
    facts["config"] = dict(variant.config)
    return Results(variant.title, metrics_of(facts), tuple(runs), facts, notes)


def describe_change(old: Results | None, new: Results) -> Iterator[str]:
    """Yield the lines that `make bless` prints: old against new."""
    if old is None:
        yield f"{new.case}: the first baseline, {len(new.runs)} seeds"
        yield from (f"  {name:<8}  {_mean_and_spread(new, name)}" for name in new.metrics)
        return
    commit = old.notes.get("git", {}).get("commit", "unknown")[:10]
    origin = f"of {old.notes.get('recorded', 'an unknown date')}, commit {commit}"
    yield f"{new.case}: old ({origin}, {len(old.runs)} seeds) -> new ({len(new.runs)} seeds)"
    for name, metric in new.metrics.items():
        p = rank_sum_p(*([metric.sign * value for value in record.values(name)] for record in (old, new)))
        change = f"{_mean_and_spread(old, name)} -> {_mean_and_spread(new, name)}"
        yield f"  {name:<8}  {change}  (as bad as this by chance: p = {p:.2g})"
    for key in ("versions", "hardware"):
        if old.notes.get(key) != new.notes.get(key):
            yield f"  {key}: {old.notes.get(key)} -> {new.notes.get(key)}"
    yield from (f"  {difference}" for difference in differences(old, new))


def git_state(ignored: Path) -> dict[str, Any]:
    """Return the commit, and whether anything outside the folder `ignored` is uncommitted.

    Raises:
        ConfigError: git fails.
    """
    others = [f":!{ignored.relative_to(ROOT)}"] if ignored.is_relative_to(ROOT) else []
    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ".", *others)
    if commit is None or changes is None:
        raise ConfigError("a baseline names its commit, but git fails here: try git status")
    return {"commit": commit, "dirty": bool(changes)}


def _mean_and_spread(record: Results, metric: str) -> str:
    values = record.values(metric)
    return f"{statistics.mean(values):.5g} ± {statistics.stdev(values):.2g}"
