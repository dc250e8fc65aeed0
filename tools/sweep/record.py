"""What a study leaves beside its store: study.csv, study.json, and the lines on the screen."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.files import write_result
from tools.sweep.ranges import Search
from tools.sweep.study import CUT_SHORT, Trial

RUNS = "trials"  # in the folder of the study: a run folder for each trial


def objective(search: Search) -> str:
    """Return the objective in words."""
    return search.objective.replace("train_", "training ").replace("_", " ")


def aim(search: Search) -> str:
    """Return what is sought, in words."""
    return f"{'highest' if search.maximizes else 'lowest'} {objective(search)}"


def shown(search: Search, value: float | None) -> str:
    """Return a value of the objective as people read it."""
    if value is None:
        return "-"
    return f"{value:.2%}" if search.maximizes else f"{value:.4g}"


def readable(trial: Trial) -> str:
    """Return the values of a trial, numbers with four digits."""
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in trial.params.items()
    )


def line(search: Search, trial: Trial) -> str:
    """Say how a trial ended."""
    match trial.status:
        case "done":
            outcome = f"{objective(search)} {shown(search, trial.value)}"
        case "pruned":
            reached = f"{objective(search)} {shown(search, trial.value)}"
            outcome = f"pruned after epoch {trial.epochs}, {reached}"
        case _:
            outcome = f"{trial.status}: {trial.note}"
    return f"  {outcome}; {trial.seconds or 0:.1f} s"


def write(folder: Path, search: Search, trials: Sequence[Trial], best: Trial | None) -> None:
    """Write study.csv and study.json.

    Raises:
        ConfigError: they cannot be written.
    """
    text = io.StringIO()
    plain = ("number", "status", "value", "epochs", "seconds")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*plain, *search.ranges, "run", "note"])
    for one in trials:
        values = [one.params.get(key) for key in search.ranges]
        writer.writerow([*(getattr(one, key) for key in plain), *values, run(one), one.note])
    write_result(folder / "study.csv", text.getvalue().encode())
    content: dict[str, Any] = search.model_dump() | {
        "direction": "maximize" if search.maximizes else "minimize",
        "best": None if best is None else best.number,
    }
    content["records"] = [
        {key: getattr(one, key) for key in plain} | {"params": one.params, "run": run(one), "note": one.note}
        for one in trials
    ]
    text_json = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_result(folder / "study.json", text_json.encode())


def run(trial: Trial) -> str:
    """Return the run folder of a trial, as it lies in the folder of the study."""
    return f"{RUNS}/{trial.number}"


def counted(trials: Sequence[Trial]) -> str:
    """Say how many trials ended in which way."""
    statuses = [one.status for one in trials]
    names = ("done", "pruned", "diverged", "failed", CUT_SHORT)
    return ", ".join(f"{statuses.count(name)} {name}" for name in names if name in statuses)
