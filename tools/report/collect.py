"""Find the runs of a report: all run folders below some folders, finished or not."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.errors import ConfigError, DataError
from shared.nested import flat
from shared.runs.folder import DATE_TIME
from shared.runs.reader import is_regular_file, load_metrics, read_history, read_values
from shared.runs.repeat import rerun_command

NOT_ENDED = "not ended"  # status of a run without metrics.json: it is still training, or was killed
FORMAT = "%Y-%m-%d_%H-%M-%S"


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        path: the folder.
        started: local time.
        status: done, diverged, interrupted or failed, as in metrics.json; or `NOT_ENDED`.
        config: config.yaml by dotted keys.
        metrics: metrics.json; empty if there is none.
        history: the columns of history.csv; None for a number that is not finite.
        pictures: its PNG files.
        command: repeats the run; empty if no command does.
        problem: why there is no such command, and which files are damaged; empty if all is well.
    """

    path: Path
    started: datetime
    status: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    history: dict[str, list[float | None]]
    pictures: list[Path]
    command: str
    problem: str


def collect_runs(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs below `folders`, the newest first, and a line for each problem."""
    runs: dict[Path, Run] = {}
    problems = []
    for folder in folders:
        found = {path.parent for name in ("config.yaml", "metrics.json") for path in folder.rglob(name)}
        if not found:
            problems.append(f"{folder}: {'no run in it' if folder.is_dir() else 'no such folder'}")
        for path in sorted(found):
            try:
                runs[path.resolve()] = read_run(path)
            except (ConfigError, OSError) as error:
                problems.append(str(error))
    problems += [f"{run.path}: {run.problem}" for run in runs.values() if run.problem]
    newest_first = sorted(runs.values(), key=lambda run: (run.started, run.path), reverse=True)
    return newest_first, list(dict.fromkeys(problems))


def read_run(path: Path) -> Run:
    """Return the run in a folder.

    Raises:
        ConfigError: its config.yaml cannot be read, or is not that of a run.
    """
    values = read_values(path)
    problems: list[str] = []

    def read_or_note(read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        try:
            return read(path)
        except DataError as error:
            problems.append(str(error).removeprefix(f"{path}{os.sep}"))
            return {}

    metrics, history = read_or_note(load_metrics), read_or_note(read_history)
    status = str(metrics.get("status", "damaged" if problems else NOT_ENDED))
    try:
        command = rerun_command(values)
    except ConfigError as error:
        command = ""
        problems.append(f"no command repeats it: {error}")
    # A link could lead to any file, and the page may be sent to others.
    pictures = sorted(file for file in path.glob("*.png") if is_regular_file(file))
    config, problem = flat(values), "; ".join(problems)
    return Run(path, start_time(path), status, config, metrics, history, pictures, command, problem)


def start_time(path: Path) -> datetime:
    """Return when a run started: from the name of its folder, else from the date of its files."""
    for part in reversed(path.parts):
        if found := DATE_TIME.match(part):
            try:
                return datetime.strptime(found[0], FORMAT)
            except ValueError:  # February 31
                continue
    return datetime.fromtimestamp(int((path / "config.yaml").stat().st_mtime))
