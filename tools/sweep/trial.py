"""Train for one trial: in a process of its own, followed through the history.csv that it writes."""

import contextlib
import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from shared.distributed import available_cores
from shared.errors import INTERRUPTED_STATUS, DataError, SuiteError, TrainingDiverged
from shared.runs.folder import CHECKPOINTS
from shared.runs.reader import read_metrics, read_rows, read_status
from shared.runs.repeat import hydra_text
from tools.sweep.results import params_text
from tools.sweep.search import Search
from tools.sweep.study import KILLED, Outcome, Report, Trial

POLL = 0.1  # seconds between two looks at history.csv
PATIENCE = 60.0  # seconds for a training to end after SIGTERM

ENDED = {"done": 0, "diverged": TrainingDiverged.status}  # exit status of a run that cannot be resumed

Row = dict[str, float]


class TrialTrainer:
    """Trains for the trials of a study.

    Args:
        folder: the folder of the study.
        search: what is searched.
        jobs: number of workers that share the cores of this machine.
        tick: called every `POLL` seconds.

    Attributes:
        exit_status: of the last training that was not pruned.
    """

    def __init__(
        self, folder: Path, search: Search, jobs: int = 1, tick: Callable[[], None] = lambda: None
    ) -> None:
        self.exit_status = SuiteError.status
        self._folder, self._search, self._jobs, self._tick = folder, search, jobs, tick

    def train(self, trial: Trial, report: Report) -> Outcome:
        """Train with the values of a trial, report its epochs, and return what came of it.

        A training that was interrupted, or whose worker was killed, is resumed; if it is still running
        without its worker, it is waited for.

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
        log = run.with_suffix(".txt")
        with locked_log(log, self._tick) as output:
            status = read_status(run) if (run / "config.yaml").exists() else None
            if status in ENDED:
                stopped = any(stop_after(row) for row in read_rows(run))
                exit_status = None if stopped else ENDED[status]
            else:
                exit_status = follow(self._command(trial, run), run, output, stop_after, self._tick)
        if exit_status is None:
            return "pruned", "", None
        killed = exit_status < 0 or exit_status == INTERRUPTED_STATUS  # SIGTERM leaves a checkpoint
        self.exit_status = SuiteError.status if killed else exit_status
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
        return KILLED if killed else "failed", f"exit status {exit_status}: {last_line}", None

    def _command(self, trial: Trial, run: Path) -> list[str]:
        """Return the command that trains for a trial, or resumes its training."""
        words = [*self._search.overrides, *trial.overrides, f"hydra.run.dir={hydra_text(str(run))}"]
        if (run / "config.yaml").exists():
            words = [f"trainer.resume={hydra_text(str(run))}"]
        elif self._jobs > 1 and self._search.config_of_app(trial.overrides).trainer.threads is None:
            words.append(f"trainer.threads={max(1, available_cores() // self._jobs)}")
        return [sys.executable, "-m", f"apps.{self._search.app}", *words]


@contextlib.contextmanager
def locked_log(path: Path, tick: Callable[[], None]) -> Iterator[BinaryIO]:
    """Open the log of a trial, once no training writes to it.

    The lock belongs to the open file, which the training inherits: it lasts until both have ended.
    """
    with open(path, "ab") as output:
        while True:
            try:
                fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tick()
                time.sleep(POLL)
        yield output


def follow(
    command: Sequence[str],
    folder: Path,
    output: BinaryIO,
    stop_after: Callable[[Row], bool],
    tick: Callable[[], None] = lambda: None,
) -> int | None:
    """Train, pass each epoch's row to `stop_after`, and stop the training when that returns True.

    The training has a session of its own, which Ctrl-C does not reach. Epochs that it completes before
    it is stopped do not count: the outcome depends on the rows alone.

    Returns:
        The exit status of the training, or None if it was stopped.

    Raises:
        KeyboardInterrupt: after the training has been stopped.
    """
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
            tick()
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
