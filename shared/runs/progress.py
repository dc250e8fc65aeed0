"""What is on the screen during long work: a bar on a terminal, plain lines elsewhere."""

import math
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from shared.runs.messages import epoch_line

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Shows loss, accuracy and the time left; used as a context manager around the training.

    Args:
        epochs: of the whole training.
        steps: of the whole training.
        done: the steps that a resumed run has taken before.
    """

    def __init__(self, epochs: int, steps: int, done: int = 0) -> None:
        self._epochs = epochs
        self._steps = steps
        self._done = self._before = done
        self._start = self._last_line = time.monotonic()
        console = Console(highlight=False)
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=30),
                TextColumn("{task.fields[scores]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=steps, completed=done, epoch="", scores="")

    def __enter__(self) -> "TrainingProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, epoch: int, loss: float, accuracy: float) -> None:
        """One step is done; `loss` and `accuracy` (0 to 1) are means over the epoch so far.

        They are nan, and not shown, where a GPU has not been asked for them yet.
        """
        self._done += 1
        now = time.monotonic()
        scores = "" if math.isnan(loss) else f"loss {loss:.4f}  accuracy {accuracy:.2%}  "
        if self._bar:
            label = f"{epoch}/{self._epochs}"
            self._bar.update(self._task, advance=1, epoch=label, scores=scores.rstrip())
        elif now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            a_step = (now - self._start) / (self._done - self._before)
            left = a_step * (self._steps - self._done)
            print(
                f"epoch {epoch}/{self._epochs}  step {self._done:,} of {self._steps:,}  "
                f"{scores}{left:.0f} s left",
                flush=True,
            )

    def epoch(self, row: dict[str, Any]) -> None:
        """Print the line of a finished epoch, which stays; `row` is a row of history.csv."""
        self._last_line = time.monotonic()
        line = epoch_line(row, self._epochs)
        if self._bar:
            self._bar.console.print(line)
        else:
            print(line, flush=True)
