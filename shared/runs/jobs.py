"""The summary of a sweep with Hydra's -m: a table of its jobs, written however the sweep ends."""

import csv
import io
import json
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.conf import HydraConf

from shared.errors import INTERRUPTED_STATUS, ConfigError, DataError, SuiteError, TrainingDiverged
from shared.files import write_atomically
from shared.output_file import write_result
from shared.runs.repeat import hydra_text
from shared.tables import text_table

FILE = "sweep.csv"  # in the folder of the sweep
STATUSES = {
    0: "done",
    SuiteError.status: "failed",
    ConfigError.status: "refused",
    DataError.status: "no data",
    TrainingDiverged.status: "diverged",
    INTERRUPTED_STATUS: "interrupted",
}


class Job(NamedTuple):
    """One finished job of a sweep, a row of sweep.csv; `test_accuracy` is from 0 to 1."""

    job: int
    status: str
    exit_status: int
    test_accuracy: float | None
    overrides: str


def write_job(sweep_id: str, hydra_config: HydraConf, exit_status: int) -> None:
    """Leave the result of the job that has just ended in the folder of the sweep, for `write_summary`.

    Raises:
        ConfigError: the folder cannot be written.
    """
    accuracy = None
    metrics = Path(hydra_config.runtime.output_dir) / "metrics.json"
    if exit_status == 0 and metrics.exists():  # a resumed run is in another folder
        accuracy = json.loads(metrics.read_text())["test_accuracy"]
    status = STATUSES.get(exit_status, "failed")
    job = Job(hydra_config.job.num, status, exit_status, accuracy, " ".join(hydra_config.overrides.task))
    write_result(Path(hydra_config.sweep.dir) / f".job_{sweep_id}_{job.job}.json", json.dumps(job).encode())


def write_summary(sweep_id: str, folder: Path) -> list[int]:
    """Print the table of all jobs, write it to the folder of the sweep, and return the exit statuses."""
    files = list(folder.glob(f".job_{sweep_id}_*.json"))
    jobs = sorted(Job(*json.loads(file.read_text())) for file in files)
    if not jobs:
        return []
    path, number = folder / FILE, 1
    while path.exists():  # of an earlier sweep into the same folder
        number += 1
        path = folder / f"sweep_{number}.csv"
    print(f"\n{table(jobs)}\ntable: {path}", flush=True)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([Job._fields, *jobs])
    try:
        write_atomically(path, text.getvalue().encode())
        for file in files:
            file.unlink()
    except OSError as error:  # the runs are complete, and the table is on the screen
        print(f"warning: cannot write {path}: {error.strerror}", file=sys.stderr)
    if any(job.exit_status == INTERRUPTED_STATUS for job in jobs):
        again = shlex.quote(f"hydra.sweep.dir={hydra_text(str(folder))}")
        advice = f"sweep interrupted; to run the remaining jobs, repeat the command with {again}"
        print(f"{advice} (jobs that have begun are refused)", file=sys.stderr)
    return [job.exit_status for job in jobs]


def launcher_error(error: Exception, overrides: Sequence[str]) -> Exception:
    """Return the error to report if a launcher of Hydra fails; one that is no plugin's is a defect."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    launcher = [word for word in overrides if word.startswith("hydra/launcher=")]
    if not launcher or not any("hydra_plugins" in file for file in files):
        return error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return SuiteError(f"{launcher[-1]} failed: {lines[0]}\njobs that have not ended are not in the table")


def table(jobs: Sequence[Job]) -> str:
    """Return a header and a line for each job, without the overrides that all of them share."""
    overrides = [job.overrides.split(" ") for job in jobs]
    common = set.intersection(*map(set, overrides)) if len(jobs) > 1 else set()
    rows = []
    for job, words in zip(jobs, overrides, strict=True):
        accuracy = "" if job.test_accuracy is None else f"{job.test_accuracy:.2%}"
        own = " ".join(word for word in words if word not in common)
        rows.append((str(job.job), job.status, accuracy, own))
    return text_table(("job", "status", "test accuracy", "overrides"), rows, align="><>")
