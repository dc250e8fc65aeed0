"""The baselines: baselines/SOURCE/CASE.json, written by `make bless` and by nothing else.

They stand in a folder of their own, not in docs/ (they are what a program decides by, not what
people read) and not in conf/ (they are measured, not chosen).
"""

import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accuracy_gate.plan import FEWEST
from accuracy_gate.ranks import p_lower
from accuracy_gate.records import SAME, Record, Run, differences, parse_records
from shared.errors import ConfigError
from shared.runs.environment import ROOT
from tools.regress.output import write_json

FOLDER = ROOT / "baselines"


def path_of(name: str, source: str, folder: Path = FOLDER) -> Path:
    """Return where the baseline of a case is: real and embedded data have separate ones."""
    return folder / source / f"{name}.json"


def title(name: str, source: str) -> str:
    """Return what the case is called in results."""
    return name if source == "real" else f"{name}.{source}"


def read(name: str, source: str, folder: Path = FOLDER) -> Record | None:
    """Return the baseline of a case, None where none has been recorded.

    Raises:
        ConfigError: it is damaged.
    """
    path = path_of(name, source, folder)
    if not path.is_file():
        return None
    record, *more = parse_records(path.read_bytes(), str(path))
    if more:
        raise ConfigError(f"{path} holds {1 + len(more)} cases; a baseline is one")
    record.check_baseline(FEWEST, str(path))
    return record


def record_of(
    case: str, config: Mapping[str, Any], answers: Sequence[dict[str, Any]], known: Record | None
) -> Record:
    """Return the record of what a worker answered.

    Args:
        case: what it is called.
        config: the part of the configuration that must be the same.
        answers: of the worker, one a seed.
        known: whose data is taken for granted where no run got far enough to tell.
    """
    facts: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    runs = []
    for answer in answers:
        metrics = answer.get("metrics", {})
        status, error = answer["status"], answer.get("error", "")
        here = {key: metrics[key] for key in SAME if key in metrics}
        if here and facts and here != facts:
            status, error = "failed", "other data than the seed before"
        facts = facts or here
        notes = notes or {key: metrics[key] for key in ("versions", "hardware") if key in metrics}
        accuracy, loss = metrics.get("test_accuracy"), metrics.get("test_loss")
        seconds = metrics.get("train_seconds")
        runs.append(Run(answer["seed"], accuracy, loss, seconds, status, error))
    if not facts and known:
        facts = {key: known.facts[key] for key in SAME if key in known.facts}
    return Record(case, tuple(runs), {**facts, "config": dict(config)}, notes)


def write(record: Record, path: Path, git: Mapping[str, Any]) -> None:
    """Write a new baseline, with date and commit.

    Raises:
        ConfigError: it has too few seeds, or a run that failed.
    """
    record.check_baseline(FEWEST)
    notes = {**record.notes, "git": dict(git), "recorded": f"{datetime.now(UTC):%Y-%m-%d}"}
    new = Record(record.case, record.runs, record.facts, notes)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, new.as_json())


def comparison(old: Record | None, new: Record) -> Iterator[str]:
    """Yield what `make bless` prints: old against new."""
    if old is None:
        yield f"{new.case}: the first baseline, {len(new.runs)} seeds"
    else:
        since = f"of {old.notes.get('recorded')}, commit {_commit(old)}"
        yield f"{new.case}: old ({since}, {len(old.runs)} seeds) -> new ({len(new.runs)} seeds)"
    for metric, sign in (("accuracy", 1), ("loss", -1)):
        values = [getattr(run, metric) for run in new.runs]
        if old is None:
            yield f"  {metric:<8}  {_spread(values)}"
            continue
        before = [getattr(run, metric) for run in old.runs]
        p = p_lower([sign * value for value in before], [sign * value for value in values])
        change = f"{_spread(before)} -> {_spread(values)}"
        yield f"  {metric:<8}  {change}  (as bad as this by chance: p = {p:.2g})"
    if old is not None:
        for key in ("versions", "hardware"):
            if old.notes.get(key) != new.notes.get(key):
                yield f"  {key}: {old.notes.get(key)} -> {new.notes.get(key)}"
        yield from (f"  {difference}" for difference in differences(old, new))


def committed(folder: Path = FOLDER) -> dict[str, Any]:
    """Return the commit, and whether anything but the baselines has changed since.

    Raises:
        ConfigError: git cannot tell.
    """
    words = ["git", "-C", str(ROOT)]
    paths = ["."]
    if folder.is_relative_to(ROOT):
        paths.append(f":!{folder.relative_to(ROOT)}")
    try:
        commit, changes = (
            subprocess.run([*words, *more], capture_output=True, text=True, check=True).stdout.strip()
            for more in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", *paths])
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(f"a baseline names its commit, and git cannot tell: {error}") from error
    return {"commit": commit, "dirty": bool(changes)}


def _commit(record: Record) -> str:
    git = record.notes.get("git")
    return str(git.get("commit") if isinstance(git, Mapping) else None)[:10]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.5g} ± {statistics.stdev(values):.2g}"
