"""One training of a study, in a process of its own, followed through the history that it writes."""

import csv
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.runs.folder import CHECKPOINTS

POLL = 0.1  # seconds between two looks at history.csv
PATIENCE = 60.0  # seconds that a training has to end what it is at

Row = dict[str, float]


@dataclass(frozen=True)
class End:
    """How a training ended: its exit status, None where it was stopped, and its last line."""

    exit_status: int | None
    last_line: str


def follow(command: Sequence[str], folder: Path, log: Path, stop_after: Callable[[Row], bool]) -> End:
    """Train and show each epoch's row to `stop_after`; stop the training when that says so.

    What is trained after a row that ends it, because rows are looked at from time to time, counts
    for nothing: the outcome depends on the rows alone.

    Args:
        command: what trains.
        folder: its run folder.
        log: where its output goes.
        stop_after: takes a row of history.csv, in their order.

    Raises:
        KeyboardInterrupt: after the training has been stopped.
    """
    seen = 0
    with _process(command, log) as process:
        while True:
            status = process.poll()  # before the rows: none comes after the end
            rows = history(folder)
            for row in rows[seen:]:
                if stop_after(row):
                    _stop(process)
                    for path in folder.rglob(CHECKPOINTS):  # nobody goes on from them
                        path.unlink(missing_ok=True)
                    return End(None, "")
            seen = len(rows)
            if status is not None:
                lines = log.read_text(errors="replace").strip().splitlines()
                return End(status, lines[-1] if lines else "")
            time.sleep(POLL)


def history(folder: Path) -> list[Row]:
    """Return the rows of history.csv so far, which is always whole."""
    try:
        with open(folder / "history.csv", newline="") as file:
            return [{key: float(text) for key, text in row.items()} for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


@contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that hears of Ctrl-C from here alone, and leave none behind."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, as Ctrl-C does, and see that it does."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
