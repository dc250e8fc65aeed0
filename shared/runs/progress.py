"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import math
import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from shared.runs.messages import epoch_line

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Shows loss, accuracy and the time left; a context manager around the training.

    Args:
        epochs: their total number.
        steps: their total number.
        done: steps that a resumed run has taken before.
        quiet: whether to show nothing.
    """

    def __init__(self, epochs: int, steps: int, done: int = 0, quiet: bool = False) -> None:
        self._epochs, self._steps, self._quiet = epochs, steps, quiet
        self._done = self._resumed_at = done
        self._start = self._last_line = time.monotonic()
        console = Console(highlight=False)
        self._bar: Progress | None = None
        if console.is_terminal and not quiet:
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

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, epoch: int, loss: float, accuracy: float) -> None:
        """Count a step; `loss` and `accuracy` (0 to 1) are means over the epoch so far.

        They are NaN, and not shown, while they have not been read from a GPU.
        """
        if self._quiet:
            return
        self._done += 1
        now = time.monotonic()
        scores = "" if math.isnan(loss) else f"loss {loss:.4f}  accuracy {accuracy:.2%}  "
        if self._bar:
            label = f"{epoch}/{self._epochs}"
            self._bar.update(self._task, advance=1, epoch=label, scores=scores.rstrip())
        elif now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            seconds_per_step = (now - self._start) / (self._done - self._resumed_at)
            print(
                f"epoch {epoch}/{self._epochs}  step {self._done:,} of {self._steps:,}  "
                f"{scores}{seconds_per_step * (self._steps - self._done):.0f} s left",
                flush=True,
            )

    def epoch(self, row: dict[str, Any]) -> None:
        """Print the line of a finished epoch; `row` is a row of history.csv."""
        if self._quiet:
            return
        self._last_line = time.monotonic()
        line = epoch_line(row, self._epochs)
        if self._bar:
            self._bar.console.print(line)
        else:
            print(line, flush=True)
