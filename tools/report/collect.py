"""Find the runs of a report: all run folders below some folders, finished or not."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.errors import ConfigError, DataError
from shared.nested import flat
from shared.runs.folder import DATE_TIME
from shared.runs.reader import is_regular_file, load_metrics, read_rows, read_values
from tools.runs import SHORTENED, rerun_command

NOT_ENDED = "not ended"  # status of a run without metrics.json: it is still training, or was killed
FORMAT = "%Y-%m-%d_%H-%M-%S"
FACTS = ("dataset_source", "dataset_sha256", "weights_sha256", "versions", "hardware", "git")
LARGEST = 1.7e308  # JSON has integers that do not fit into a float

Run = dict[str, Any]  # what page.js reads of a run; pictures are paths


def collect_runs(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs below `folders`, the newest first, and a line for each problem."""
    runs: dict[Path, tuple[datetime, Path, Run]] = {}
    problems = []
    for folder in folders:
        found = {path.parent for name in ("config.yaml", "metrics.json") for path in folder.rglob(name)}
        if not found:
            problems.append(f"{folder}: {'no run in it' if folder.is_dir() else 'no such folder'}")
        for path in sorted(found):
            try:
                run = read_run(path)
                runs[path.resolve()] = start_time(path), path, run
            except (ConfigError, OSError) as error:
                problems.append(str(error))
    problems += [f"{path}: {run['problem']}" for _, path, run in runs.values() if run["problem"]]
    newest_first = sorted(runs.values(), key=lambda found: found[:2], reverse=True)
    return [run for _, _, run in newest_first], list(dict.fromkeys(problems))


def read_run(path: Path) -> Run:
    """Return the run in a folder, which may be damaged.

    Raises:
        ConfigError: its config.yaml cannot be read, or is not that of a run.
    """
    values = read_values(path)
    problems: list[str] = []

    def read_or_note(read: Callable[[Path], Any]) -> Any:
        try:
            return read(path)
        except DataError as error:
            problems.append(str(error).removeprefix(f"{path}{os.sep}"))
            return {}

    config, metrics, rows = flat(values), read_or_note(load_metrics), read_or_note(read_rows)
    history = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    status = str(metrics.get("status", "damaged" if problems else NOT_ENDED))
    try:
        command = rerun_command(values)
    except ConfigError as error:
        command = ""
        problems.append(f"no command repeats it: {error}")
    facts = flat({key: metrics[key] for key in FACTS if key in metrics})
    return {
        "path": str(path),
        "started": f"{start_time(path):%Y-%m-%d %H:%M}",
        "app": to_text(config.get("app", "")),
        "framework": to_text(config.get("framework", "")),
        "model": to_text(metrics.get("model", config.get("model.name", ""))),
        "dataset": to_text(metrics.get("dataset", config.get("data.name", ""))),
        "seed": to_number(config.get("seed")),
        "status": status,
        "debug": debug_text(config),
        "error": to_text(metrics.get("error", "")),
        "accuracy": to_number(metrics.get("test_accuracy")),
        "loss": to_number(metrics.get("test_loss")),
        "epochs": to_number(metrics.get("epochs")),
        "seconds": to_number(metrics.get("train_seconds")),
        "parameters": to_number(metrics.get("parameters")),
        "lossUnit": "squared error" if config.get("model.loss") == "squared_error" else "nats",
        "config": {key: to_text(value) for key, value in config.items() if key != "run_dir"},
        "facts": {f"metrics.{key}": to_text(value) for key, value in facts.items()},
        "history": history,
        # A link could lead to any file, and the page may be sent to others.
        "pictures": sorted(file for file in path.glob("*.png") if is_regular_file(file)),
        "command": command,
        "problem": "; ".join(problems),
    }


def debug_text(config: Mapping[str, Any]) -> str:
    """Return how a run was shortened, such as "smoke" or "max_steps=3"; empty for a complete one."""
    if config.get("debug"):
        return to_text(config["debug"])
    limits = {key.partition(".")[2]: config[key] for key in SHORTENED if config.get(key) is not None}
    return ", ".join(f"{name}={to_text(value)}" for name, value in limits.items())


def to_text(value: Any) -> str:
    """Return a string as it is, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str, skipkeys=True)


def to_number(value: Any) -> float | None:
    """Return a finite number as it is, and None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= LARGEST else None  # comparing NaN gives False


def start_time(path: Path) -> datetime:
    """Return when a run started: from the name of its folder, else from the date of its files."""
    for part in reversed(path.parts):
        if found := DATE_TIME.match(part):
            try:
                return datetime.strptime(found[0], FORMAT)
            except ValueError:  # February 31
                continue
    return datetime.fromtimestamp(int((path / "config.yaml").stat().st_mtime))
