"""Train for one trial: in a process of its own, followed through the history.csv that it writes."""

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.compose import config_from_overrides
from shared.errors import DataError, SuiteError, TrainingDiverged
from shared.runs.folder import CHECKPOINTS
from shared.runs.repeat import hydra_text
from tools.sweep.results import params_text
from tools.sweep.search import Search
from tools.sweep.study import Report, Trial

POLL = 0.1  # seconds between two looks at history.csv
PATIENCE = 60.0  # seconds for a training to end after SIGTERM

Row = dict[str, float]


class TrialTrainer:
    """Trains for the trials of a study.

    Attributes:
        exit_status: of the last training that was not pruned.
    """

    def __init__(self, folder: Path, search: Search) -> None:
        self.exit_status = SuiteError.status
        self._folder, self._search = folder, search

    def train(self, trial: Trial, report: Report) -> tuple[str, str]:
        """Train with the values of a trial; return its status and a note.

        Args:
            trial: which one.
            report: takes an epoch and its value; returns whether to prune the trial.

        Raises:
            DataError: there is no data, for any trial.
        """
        search, run = self._search, self._folder / trial.run
        print(f"trial {trial.number}: {params_text(trial)}", flush=True)
        words = [*search.overrides, *trial.words]
        trainer = config_from_overrides(search.app, search.schema_of_app(), words).trainer
        found = False

        def stop_after(row: Row) -> bool:
            nonlocal found
            if search.objective not in row:
                return False
            found, epoch = True, int(row["epoch"])
            worse = report(epoch, row[search.objective])
            # max_steps may end any epoch, and stopping after the last one saves nothing
            return worse and trainer.max_steps is None and epoch < trainer.epochs

        run.parent.mkdir(exist_ok=True)
        command = [
            sys.executable,
            "-m",
            f"apps.{search.app}",
            *words,
            f"hydra.run.dir={hydra_text(str(run))}",
        ]
        end = follow(command, run, run.with_suffix(".txt"), stop_after)
        if end.exit_status is None:
            return "pruned", ""
        self.exit_status = end.exit_status if end.exit_status >= 0 else SuiteError.status
        match end.exit_status:
            case DataError.status:
                raise DataError(end.last_line.removeprefix("error: "))
            case TrainingDiverged.status:
                return "diverged", end.last_line
            case 0 if found:
                return "done", ""
            case 0:
                return "failed", f"history.csv has no {search.objective}"
        return "failed", f"exit status {end.exit_status}: {end.last_line}"


@dataclass(frozen=True)
class End:
    """How a training ended: its exit status, None if it was stopped, and its last line."""

    exit_status: int | None
    last_line: str


def follow(command: Sequence[str], folder: Path, log: Path, stop_after: Callable[[Row], bool]) -> End:
    """Train, pass each epoch's row to `stop_after`, and stop the training when that returns True.

    Epochs that the training completes before it is stopped do not count: the outcome depends on the
    rows alone.

    Args:
        command: starts the training.
        folder: its run folder.
        log: file for its output.
        stop_after: takes the rows of history.csv in their order.

    Raises:
        KeyboardInterrupt: after the training has been stopped.
    """
    seen = 0
    with _process(command, log) as process:
        while True:
            status = process.poll()  # before the rows: none comes after the end
            rows = read_rows(folder)
            for row in rows[seen:]:
                if stop_after(row):
                    _stop(process)
                    for path in folder.rglob(CHECKPOINTS):  # a pruned trial is not resumed
                        path.unlink(missing_ok=True)
                    return End(None, "")
            seen = len(rows)
            if status is not None:
                lines = log.read_text(errors="replace").strip().splitlines()
                return End(status, lines[-1] if lines else "")
            time.sleep(POLL)


def read_rows(folder: Path) -> list[Row]:
    """Return the rows of history.csv so far; it is written atomically."""
    try:
        with open(folder / "history.csv", newline="") as file:
            return [{key: float(text) for key, text in row.items()} for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


@contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a session of its own, which Ctrl-C does not reach; stop it at the end."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and kill it if it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
