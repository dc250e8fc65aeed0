"""What a run prints: lines about its metrics, and progress as a bar on a terminal or as plain lines."""

import math
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Shows loss, accuracy and the time left.

    Attributes:
        bar: the progress bar, to be started and stopped; disabled without a terminal.

    Args:
        epochs: their total number.
        steps: their total number.
        done: steps that a resumed run has taken before.
        quiet: whether to show nothing.
    """

    def __init__(self, epochs: int, steps: int, done: int = 0, quiet: bool = False) -> None:
        self._epochs, self._steps = epochs, steps
        self._done = self._resumed_at = done
        self._start = self._last_line = time.monotonic()
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=quiet)
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[scores]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self.bar.add_task("", total=steps, completed=done, epoch="", scores="")

    def step(self, epoch: int, loss: float, accuracy: float) -> None:
        """Count a step; `loss` and `accuracy` (0 to 1) are means over the epoch so far.

        They are NaN, and not shown, while they have not been read from a GPU.
        """
        self._done += 1
        now = time.monotonic()
        if self.bar.disable and now - self._last_line <= SECONDS_BETWEEN_LINES:
            return
        scores = "" if math.isnan(loss) else f"loss {loss_text(loss)}  acc {accuracy:.2%}  "
        if not self.bar.disable:
            label = f"{epoch}/{self._epochs}"
            self.bar.update(self._task, advance=1, epoch=label, scores=scores.rstrip())
            return
        self._last_line = now
        seconds_left = (now - self._start) / (self._done - self._resumed_at) * (self._steps - self._done)
        progress = f"epoch {epoch}/{self._epochs}  step {self._done:,} of {self._steps:,}"
        self._console.print(f"{progress}  {scores}{seconds_left:.0f} s left")

    def epoch(self, row: dict[str, Any]) -> None:
        """Print the line of a finished epoch; `row` is a row of history.csv."""
        self._last_line = time.monotonic()
        self._console.print(epoch_line(row, self._epochs))


def announcement(metrics: dict[str, Any], run_dir: str) -> str:
    """Return the lines before training: model, data, and where the results will be."""
    validation = f"{count:,} to validate, " if (count := metrics.get("validation_examples")) else ""
    processes = metrics["hardware"].get("processes", 1)
    threads = metrics["hardware"]["threads"]
    times = f"{processes} processes of " if processes > 1 else ""
    return (
        f"{metrics['app']}: {metrics['model']} in {metrics['framework']}, "
        f"{metrics['parameters']:,} parameters, {metrics['precision']}, "
        f"{times}{threads} thread{'s' * (threads > 1)}, seed {metrics['seed']}\n"
        f"data: {metrics['dataset']} ({metrics['dataset_source']}): "
        f"{metrics['train_examples']:,} examples to train, {validation}"
        f"{metrics['test_examples']:,} to test\n"
        f"run folder: {run_dir}"
    )


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """Return the line after an epoch, at most 80 characters; `row` is a row of history.csv."""
    scores = f"loss {loss_text(row['train_loss'])}  acc {row['train_accuracy']:.2%}"
    if "validation_loss" in row:
        scores += f"  val loss {loss_text(row['validation_loss'])}  val acc {row['validation_accuracy']:.2%}"
    digits = 1 if row["seconds"] < 10 else 0
    return f"epoch {int(row['epoch'])}/{epochs}  {scores}  {row['seconds']:.{digits}f} s"


def loss_text(loss: float) -> str:
    """Return a loss with four decimals, or from 10,000 on with three significant digits."""
    return f"{loss:.4f}" if loss < 10_000 else f"{loss:.2e}"


def conclusion(metrics: dict[str, Any]) -> str:
    """Return the last line of a training: accuracy, loss and training time."""
    return f"{test_scores(metrics)}; {metrics['train_seconds']:.1f} s of training"


def test_scores(metrics: dict[str, Any]) -> str:
    """Return the line after testing: accuracy and loss."""
    correct = round(metrics["test_accuracy"] * metrics["test_examples"])
    note = " (embedded sample)" if metrics["embedded"] else ""
    return (
        f"test: accuracy {metrics['test_accuracy']:.2%} ({correct:,} of {metrics['test_examples']:,} "
        f"right), loss {loss_text(metrics['test_loss'])} on {metrics['dataset']}{note}"
    )
