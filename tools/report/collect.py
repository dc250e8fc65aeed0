"""All runs below some folders, read back for a report: finished, failed, or cut short."""

import csv
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from shared.errors import ConfigError
from shared.nested import flat
from shared.runs.folder import DATE_TIME
from shared.runs.repeat import rerun_command

NOT_ENDED = "not ended"  # of a run without metrics.json: it still trains, or it was killed
FORMAT = "%Y-%m-%d_%H-%M-%S"


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads config.yaml as OmegaConf does, in a tenth of its time: there may be a thousand.

    Aliases, which no run writes, are refused: a few lines of them can stand for gigabytes.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias")
        return super().compose_node(parent, index)


# YAML 1.1 takes 1e-08 for a text; what writes config.yaml does not.
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


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
    values = read_yaml(path / "config.yaml")
    problems: list[str] = []
    metrics = read_json(path / "metrics.json", problems)
    history = read_columns(path / "history.csv", problems)
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
        pictures=sorted(file for file in path.glob("*.png") if plain(file)),
        command=repeated,
        problem="; ".join(problems),
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the configuration in config.yaml.

    Raises:
        ConfigError: it is missing, damaged or something else's.
    """
    try:
        if not path.is_file():
            raise ConfigError(f"{path.parent} is not a run folder: it has no config.yaml")
        values = yaml.load(path.read_bytes(), Loader)
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict) or not {"app", "framework", "seed"} <= values.keys():
        raise ConfigError(f"{path}: not the configuration of a run")
    return values


def read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    """Return what is in metrics.json; nothing where there is none, or where it is damaged."""
    try:
        if path.exists() and not plain(path):
            raise OSError("not a plain file")
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and "status" in content:
            return content
        problems.append(f"{path.name} is not what a run has written")
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path.name} cannot be read: {error}")
    return {}


def read_columns(path: Path, problems: list[str]) -> dict[str, list[float | None]]:
    """Return the columns of a CSV file of numbers; nothing where there is none or it is damaged."""
    try:
        if path.exists() and not plain(path):
            raise OSError("not a plain file")
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        columns: dict[str, list[float | None]] = {}
        for row in rows:
            for name, text in row.items():
                number = float(text)
                columns.setdefault(name, []).append(number if math.isfinite(number) else None)
        if rows and {"epoch", "train_loss"} <= columns.keys():
            return columns
        problems.append(f"{path.name} is not what a run has written")
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, csv.Error):
        problems.append(f"{path.name} cannot be read")
    return {}


def plain(path: Path) -> bool:
    """Whether something is a file: no link, and nothing that one may wait for for ever."""
    return path.is_file() and not path.is_symlink()


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
