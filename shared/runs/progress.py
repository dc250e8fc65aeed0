"""What a run prints: lines about its metrics, and progress as a bar on a terminal or as plain lines."""

import math
import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

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


def announcement(metrics: dict[str, Any], run_dir: str) -> str:
    """Return the lines before training: model, data, and where the results will be."""
    count = metrics.get("validation_examples")
    validation = f"{count:,} to validate, " if count else ""
    processes = metrics["hardware"].get("processes", 1)
    times = f"{processes} processes of " if processes > 1 else ""
    return (
        f"{metrics['app']}: {metrics['model']} in {metrics['framework']}, "
        f"{metrics['parameters']:,} parameters, {metrics['precision']}, "
        f"{times}{metrics['hardware']['threads']} threads, seed {metrics['seed']}\n"
        f"data: {metrics['dataset']} ({metrics['dataset_source']}): "
        f"{metrics['train_examples']:,} examples to train, {validation}"
        f"{metrics['test_examples']:,} to test\n"
        f"run folder: {run_dir}"
    )


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """Return the line after an epoch; `row` is a row of history.csv."""
    validation = ""
    if "validation_loss" in row:
        validation = (
            f"validation loss {row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.2%}  "
        )
    return (
        f"epoch {int(row['epoch'])}/{epochs}  loss {row['train_loss']:.4f}  "
        f"accuracy {row['train_accuracy']:.2%}  {validation}{row['seconds']:.1f} s"
    )


def conclusion(metrics: dict[str, Any]) -> str:
    """Return the line after testing: accuracy, loss and training time."""
    correct = round(metrics["test_accuracy"] * metrics["test_examples"])
    note = " (embedded sample)" if metrics["embedded"] else ""
    return (
        f"test: accuracy {metrics['test_accuracy']:.2%} ({correct:,} of {metrics['test_examples']:,} "
        f"right), loss {metrics['test_loss']:.4f} on {metrics['dataset']}{note}; "
        f"{metrics['train_seconds']:.1f} s of training"
    )
