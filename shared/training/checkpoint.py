"""Checkpoints: where a training stands, on disk, so that it goes on whatever has ended it.

A checkpoint is one file of safetensors, which cannot run code when it is read: weights, the state
of the optimizer, random states and the rows of the history as tensors, the rest as JSON in its
metadata. Its name holds the number of steps and how its SHA-256 digest begins. The last two stay.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from shared.config import AppConfig
from shared.distributed import any_rank, broadcast_from_rank0
from shared.errors import ConfigError, DataError, LostProcess
from shared.runs import resume
from shared.runs.folder import CHECKPOINTS, RunFolder

Arrays = dict[str, NDArray[Any]]

DIGITS = 16  # of the digest in the name, hexadecimal: chance does not hit them
NAME = re.compile(rf"checkpoint_(\d+)_([0-9a-f]{{{DIGITS}}})\.safetensors")
ROWS = ("history.csv", "steps.csv")
ORIGIN = ("dataset_sha256", "model")  # a model's name may say which weights it began with
ENVIRONMENT = ("versions", "hardware", "git", "pooling")


class Stateful(Protocol):
    """What can go on where it stopped, to the last bit."""

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Return all that its next step depends on: arrays by name, and what JSON can hold.

        The arrays are valid until that step.
        """
        ...

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Take over what `state` of such a one has returned.

        Raises:
            ValueError, KeyError: a name is missing or unknown, or a shape does not fit.
        """
        ...


@dataclasses.dataclass
class EpochSoFar:
    """An epoch that has not ended: sums over the examples seen, and when it began.

    Attributes:
        loss: sum of the losses.
        hits: how many were classified right.
        seen: how many there were.
        start: in seconds, by time.perf_counter; what was spent before an interruption is in it.
    """

    loss: float = 0.0
    hits: int = 0
    seen: int = 0
    start: float = dataclasses.field(default_factory=time.perf_counter)

    def add(self, loss: float, hits: int, count: int) -> None:
        """Take in a batch: its mean loss, its hits and its size."""
        self.loss += loss * count
        self.hits += hits
        self.seen += count

    def means(self) -> dict[str, float]:
        """Return the mean loss and the accuracy, by their columns in history.csv; nan of none."""
        loss, hits = (n / self.seen if self.seen else math.nan for n in (self.loss, self.hits))
        return {"train_loss": loss, "train_accuracy": hits}


class Checkpoints:
    """Writes checkpoints of a training to its run folder; a context manager around the steps.

    In the middle of a step the state is neither the old one nor the new one: Ctrl-C, and SIGTERM
    where it means the same, waits for the end of the step. A second one does not wait. Of several
    processes all stop after the same step, and one writes: they have the same state.

    Args:
        learner: what is trained.
        run: the run folder; its `metrics` say how far the training is.
        config: `trainer.checkpoint_seconds` says how much time lies between two; the rest must be
            the same where it goes on.

    Attributes:
        epoch: the sums of the epoch that is going on.
        between_steps: whether the state is that after a step.
        stopped_together: whether all of several processes have stopped after the same step.
    """

    def __init__(self, learner: Stateful, run: RunFolder, config: AppConfig) -> None:
        self.epoch = EpochSoFar()
        self.between_steps = self.stopped_together = False
        self._learner, self._run = learner, run
        self._seconds = config.trainer.checkpoint_seconds
        self._config = resume.compared_values(config)
        self._before: Path | None = None  # the last good one
        self._interrupted = False
        self._handlers: dict[int, Any] = {}
        self._written = time.monotonic()

    def __enter__(self) -> "Checkpoints":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.default_int_handler:
                    self._handlers[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if isinstance(error, LostProcess):
            error.noticed = self._interrupted
        if kind is None:
            self._stop_if_interrupted()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.between_steps or self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def _stop_if_interrupted(self) -> None:
        if self._interrupted:
            self.between_steps = True
            raise KeyboardInterrupt

    def after_step(self) -> None:
        """Say that a step is done.

        Raises:
            KeyboardInterrupt: the user asked for it while the step was taken.
            LostProcess: of several processes one has ended.
        """
        self._interrupted = self.stopped_together = any_rank(self._interrupted)
        self._stop_if_interrupted()

    def due(self) -> bool:
        """Return whether it is time for the next one."""
        return self._seconds is not None and time.monotonic() - self._written >= self._seconds

    @contextlib.contextmanager
    def no_step(self) -> Iterator[None]:
        """Let Ctrl-C act at once: what is done inside changes nothing that a checkpoint holds."""
        self._stop_if_interrupted()
        self.between_steps = True
        yield
        self.between_steps = False

    def write(self) -> None:
        """Write a checkpoint and remove all but the one before; on a full disk say so and go on."""
        if not self._run.is_writer:
            return
        metrics = self._run.metrics
        arrays, numbers = self._learner.state()
        rows, names = columns(self._run)
        facts = {key: metrics[key] for key in ("epochs", "steps", "train_seconds")}
        facts["seconds"] = time.perf_counter() - self.epoch.start
        facts |= {key: getattr(self.epoch, key) for key in ("loss", "hits", "seen")}
        facts["run"] = {key: metrics.get(key) for key in (*ORIGIN, *ENVIRONMENT)}
        facts["config"] = self._config
        facts |= {"resumed": metrics.get("resumed", 0), "learner": numbers, "columns": names}
        content = packed(arrays | rows, facts)
        digest = hashlib.sha256(content).hexdigest()[:DIGITS]
        path = self._run.path / f"checkpoint_{metrics['steps']:09d}_{digest}.safetensors"
        try:
            self._run.write(path.name, content)
        except ConfigError as error:
            print(f"warning: no checkpoint: {error}", file=sys.stderr)
        else:
            for other in set(self._run.path.glob(CHECKPOINTS)) - {path, self._before}:
                other.unlink(missing_ok=True)
            self._before = path
        self._written = time.monotonic()

    def keep(self, more: Callable[[], None] = lambda: None) -> None:
        """On Ctrl-C write one, if the state is that after a step, and do `more`.

        Of several processes all wait for it: torchrun ends them when one has ended.
        """
        if self.between_steps:
            self.write()
        more()
        if self.stopped_together:
            broadcast_from_rank0(lambda: None)

    def restore(self) -> bool:
        """Go on from the last good checkpoint of a resumed run, if there is one; say whether.

        Raises:
            DataError: all checkpoints are damaged, or it is one of other data.
        """
        found = broadcast_from_rank0(lambda: last_good(self._run.path) if self._run.resumed else None)
        if found is None:
            return False
        self._before, arrays, facts = found
        metrics = self._run.metrics
        try:
            check_origin(self._run, facts["run"])
            if others := resume.differences(facts["config"], self._config):
                raise DataError(
                    f"{self._before} was written with another configuration: {others}; remove the "
                    "checkpoints to begin again"
                )
            self._learner.load_state(arrays, facts["learner"])
            restore_rows(self._run, arrays, facts["columns"])
            metrics |= {key: facts[key] for key in ("epochs", "steps", "train_seconds")}
            metrics["resumed"] = facts["resumed"] + 1
            sums = {key: facts[key] for key in ("loss", "hits", "seen")}
            self.epoch = EpochSoFar(**sums, start=time.perf_counter() - facts["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self._before} is no checkpoint of this training ({error})") from error
        return True


def check_origin(run: RunFolder, before: Mapping[str, Any]) -> None:
    """Compare what a run stands on with what it stood on before; say what else may change bits.

    Raises:
        DataError: the data or the first weights are not the same.
    """
    now = run.metrics
    if others := [key for key in ORIGIN if before[key] != now.get(key)]:
        keys = ", ".join(f"{key} is {now.get(key)} and was {before[key]}" for key in others)
        raise DataError(f"{run.path} cannot go on with other data: {keys}")
    others = [key for key in ENVIRONMENT if before.get(key) != now.get(key)]
    if others:
        run.warn(
            f"other {', '.join(others)} than when the checkpoint was written: the bits may differ "
            "from those of a run without interruption"
        )


def below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return the arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def packed(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> bytes:
    """Return the content of a checkpoint."""
    # safetensors writes the bytes as they lie in memory: channels last would come out scrambled.
    ordered = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    return safetensors.numpy.save(ordered, {"training": json.dumps(facts)})


def read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Return arrays and facts of a checkpoint; nothing in it can run code.

    Raises:
        DataError: it cannot be read, its digest is not the one in its name, or it is none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    named = NAME.fullmatch(path.name)
    if named is None or hashlib.sha256(content).hexdigest()[:DIGITS] != named[2]:
        raise DataError(f"{path} is damaged: its digest is not the one in its name")
    try:
        arrays = safetensors.numpy.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts = json.loads(header["__metadata__"]["training"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no checkpoint ({error})") from error
    return arrays, facts


def last_good(folder: Path) -> tuple[Path, Arrays, dict[str, Any]] | None:
    """Return the last checkpoint that is not damaged; None where there is no checkpoint at all.

    Raises:
        DataError: there are some, all damaged.
    """
    paths = [path for path in folder.glob(CHECKPOINTS) if NAME.fullmatch(path.name)]
    paths.sort(key=lambda path: path.name, reverse=True)
    for path in paths:
        try:
            return path, *read(path)
        except DataError as error:
            print(f"warning: {error}; taking the one before", file=sys.stderr)
    if paths:
        raise DataError(f"{folder}: no checkpoint is whole; train again")
    return None


def columns(run: RunFolder) -> tuple[Arrays, dict[str, list[str]]]:
    """Return the rows of the history so far, an array for each column, and the names in order."""
    names = {name: list(rows[0]) for name in ROWS if (rows := run.rows(name))}
    arrays = {
        f"rows/{name}/{column}": np.array([row[column] for row in run.rows(name)])
        for name, own in names.items()
        for column in own
    }
    return arrays, names


def restore_rows(run: RunFolder, arrays: Mapping[str, NDArray[Any]], names: Mapping[str, list[str]]) -> None:
    """Give a run the rows from which `columns` has made arrays."""
    for name, own in names.items():
        values = [arrays[f"rows/{name}/{column}"].tolist() for column in own]
        for row in zip(*values, strict=True):
            run.add_row(name, dict(zip(own, row, strict=True)))
