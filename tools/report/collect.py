"""All runs below some folders, read back for a report: finished, failed, or cut short."""

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

NOT_ENDED = "not ended"  # of a run without metrics.json: it still trains, or it was killed
FORMAT = "%Y-%m-%d_%H-%M-%S"


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        path: the folder.
        begun: when, local time.
        status: done, diverged, interrupted or failed, as metrics.json says; or `NOT_ENDED`.
        config: config.yaml by dotted keys.
        metrics: metrics.json; empty where there is none.
        history: the columns of history.csv; None where a number is not finite.
        pictures: the PNGs in it.
        command: what repeats it; empty where nothing does.
        problem: why there is no such command, or which file is damaged; empty where all is well.
    """

    path: Path
    begun: datetime
    status: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    history: dict[str, list[float | None]]
    pictures: list[Path]
    command: str
    problem: str


def collect(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs below `folders`, the newest first, and a line for each that is damaged."""
    runs, faults = [], []
    for folder in folders:
        found = run_folders(folder)
        if not found:
            faults.append(f"{folder}: {'no run in it' if folder.is_dir() else 'no such folder'}")
        for path in found:
            try:
                runs.append(read_run(path))
            except (ConfigError, OSError) as error:
                faults.append(str(error))
    unique = {run.path.resolve(): run for run in runs}
    faults += [f"{run.path}: {run.problem}" for run in unique.values() if run.problem]
    newest_first = sorted(unique.values(), key=lambda run: (run.begun, run.path), reverse=True)
    return newest_first, list(dict.fromkeys(faults))


def run_folders(folder: Path) -> list[Path]:
    """Return what looks like a run folder, `folder` itself among them."""
    names = ("config.yaml", "metrics.json")
    return sorted({path.parent for name in names for path in folder.rglob(name)})


def read_run(path: Path) -> Run:
    """Return the run in a folder.

    Raises:
        ConfigError: its configuration cannot be read, or it is not one of a run.
    """
    values = read_values(path)
    problems: list[str] = []
    metrics = read_or_note(load_metrics, path, problems)
    history = read_or_note(read_history, path, problems)
    try:
        repeated = rerun_command(values)
    except ConfigError as error:
        repeated = ""
        problems.append(f"no command repeats it: {error}")
    return Run(
        path=path,
        begun=begun(path),
        status=str(metrics.get("status", "damaged" if problems else NOT_ENDED)),
        config=flat(values),
        metrics=metrics,
        history=history,
        # not a link, which may lead to anything: the page is made to be sent
        pictures=sorted(file for file in path.glob("*.png") if is_regular_file(file)),
        command=repeated,
        problem="; ".join(problems),
    )


def read_or_note(read: Callable[[Path], dict[str, Any]], path: Path, problems: list[str]) -> dict[str, Any]:
    """Return what is in a file of the run in `path`; nothing, and a note, if it is damaged."""
    try:
        return read(path)
    except DataError as error:
        problems.append(str(error).removeprefix(f"{path}{os.sep}"))
        return {}


def begun(path: Path) -> datetime:
    """Return when a run began: what its folder is called after, else when its files were made."""
    for part in reversed(path.parts):
        if found := DATE_TIME.match(part):
            try:
                return datetime.strptime(found[0], FORMAT)
            except ValueError:  # the 31st of February
                continue
    return datetime.fromtimestamp(int((path / "config.yaml").stat().st_mtime))


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return what to call each run: its path without the folders that all of them are in."""
    if not runs:
        return []
    common = os.path.commonpath([run.path.absolute().parent for run in runs])
    return [str(run.path.absolute().relative_to(common)) for run in runs]
