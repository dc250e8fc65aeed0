"""The summary of a sweep with Hydra's -m: a table of its jobs, written however the sweep ends."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hydra.conf import HydraConf

from shared.errors import INTERRUPTED_STATUS, ConfigError, DataError, SuiteError, TrainingDiverged
from shared.files import write_atomically
from shared.tables import text_table

FILE = "sweep.csv"  # in the folder of the sweep
COLUMNS = ("job", "status", "exit_status", "test_accuracy", "overrides")
STATUSES = {
    0: "done",
    SuiteError.status: "failed",
    ConfigError.status: "refused",
    DataError.status: "no data",
    TrainingDiverged.status: "diverged",
    INTERRUPTED_STATUS: "interrupted",
}


@dataclass(frozen=True)
class Job:
    """One finished job of a sweep.

    Attributes:
        job: its number, which is also the name of its folder.
        status: how it ended.
        exit_status: the same as a number; that of the sweep is the highest.
        test_accuracy: 0 to 1; None if the job has none.
        overrides: its own KEY=VALUE words.
        sweep: the folder of the sweep.
    """

    job: int
    status: str
    exit_status: int
    test_accuracy: float | None
    overrides: str
    sweep: Path


def job_result(hydra_config: HydraConf, exit_status: int) -> Job:
    """Return the result of the job that has just ended."""
    accuracy = None
    metrics = Path(hydra_config.runtime.output_dir) / "metrics.json"
    if exit_status == 0 and metrics.exists():  # a resumed run is in another folder
        accuracy = json.loads(metrics.read_text())["test_accuracy"]
    status = STATUSES.get(exit_status, "failed")
    overrides = " ".join(hydra_config.overrides.task)
    return Job(hydra_config.job.num, status, exit_status, accuracy, overrides, Path(hydra_config.sweep.dir))


def write_summary(jobs: Sequence[Job]) -> None:
    """Print the table of all jobs and write it to the folder of the sweep."""
    path = jobs[0].sweep / FILE
    print(f"\n{table(jobs)}\ntable: {path}", flush=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, jobs))
    try:
        write_atomically(path, text.getvalue().encode())
    except OSError as error:  # the runs are complete, and the table is on the screen
        print(f"warning: cannot write {path}: {error.strerror}", file=sys.stderr)


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
