"""Train for one trial: in a process of its own, followed through the history.csv that it writes."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from shared.errors import DataError, SuiteError, TrainingDiverged
from shared.runs.folder import CHECKPOINTS
from shared.runs.reader import read_metrics, read_rows
from shared.runs.repeat import hydra_text
from tools.sweep.results import params_text
from tools.sweep.search import Search
from tools.sweep.study import Outcome, Report, Trial

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

    def train(self, trial: Trial, report: Report) -> Outcome:
        """Train with the values of a trial, report its epochs, and return what came of it.

        Raises:
            DataError: there is no data, for any trial.
        """
        search, run = self._search, self._folder / trial.run
        print(f"trial {trial.number}: {params_text(trial)}", flush=True)
        trainer = search.config_of_app(trial.overrides).trainer
        last: int | None = None

        def stop_after(row: Row) -> bool:
            nonlocal last
            if search.objective not in row:
                return False
            last = epoch = int(row["epoch"])
            worse = report(epoch, row[search.objective])
            # max_steps may end any epoch, and stopping after the last one saves nothing
            return worse and trainer.max_steps is None and epoch < trainer.epochs

        run.parent.mkdir(exist_ok=True)
        words = [*search.overrides, *trial.overrides, f"hydra.run.dir={hydra_text(str(run))}"]
        command = [sys.executable, "-m", f"apps.{search.app}", *words]
        log = run.with_suffix(".txt")
        exit_status = follow(command, run, log, stop_after)
        if exit_status is None:
            return "pruned", "", None
        self.exit_status = exit_status if exit_status >= 0 else SuiteError.status
        last_line = log.read_text(errors="replace").strip().rpartition("\n")[2]
        match exit_status:
            case DataError.status:
                raise DataError(last_line.removeprefix("error: "))
            case TrainingDiverged.status:
                return "diverged", last_line, None
            case 0 if last is not None:
                return "done", "", read_metrics(run).get("best_epoch", last)
            case 0:
                return "failed", f"history.csv has no {search.objective}", None
        return "failed", f"exit status {exit_status}: {last_line}", None


def follow(command: Sequence[str], folder: Path, log: Path, stop_after: Callable[[Row], bool]) -> int | None:
    """Train, pass each epoch's row to `stop_after`, and stop the training when that returns True.

    The training has a session of its own, which Ctrl-C does not reach. Epochs that it completes before
    it is stopped do not count: the outcome depends on the rows alone.

    Returns:
        The exit status of the training, or None if it was stopped.

    Raises:
        KeyboardInterrupt: after the training has been stopped.
    """
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    seen = 0
    try:
        while True:
            status = process.poll()  # before the rows: none comes after the end
            rows = read_rows(folder)
            if any(stop_after(row) for row in rows[seen:]):
                break
            if status is not None:
                return status
            seen = len(rows)
            time.sleep(POLL)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for path in folder.rglob(CHECKPOINTS):  # a pruned trial is not resumed
        path.unlink(missing_ok=True)
    return None
