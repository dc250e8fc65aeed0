"""One folder a run: configuration, metrics, history, weights, pictures.

Every file is whole or not there. `metrics.json` is written however a run ends; its `status` says
how: `done`, `diverged`, `interrupted` or `failed`.
"""

import contextlib
import csv
import io
import json
import os
import re
import sys
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from shared import distributed
from shared.config import AppConfig
from shared.distributed import broadcast_from_rank0
from shared.errors import ConfigError, Interrupted, TrainingDiverged
from shared.files import write_atomically
from shared.runs import resume
from shared.runs.loggers import RunLog

# The name that conf/base.yaml gives: two runs of the same second get different folders.
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")
CHECKPOINTS = "checkpoint_*.safetensors"  # of a run that has not ended (shared/training)


class RunFolder:
    """The folder of one run; no other run writes to it.

    Attributes:
        path: the folder.
        metrics: what `metrics.json` will hold; the run adds to it as it learns it.
        resumed: whether an interrupted run goes on in it.
        kept: whether this process writes it; of several that train together the first one does.
        on_interrupt: what is still to be kept when the run is interrupted after its training.
    """

    def __init__(
        self,
        path: Path,
        lock: int | None = None,
        resumed: bool = False,
        config: AppConfig | None = None,
        is_subfolder: bool = False,
    ) -> None:
        self.path = path
        self.is_writer = distributed.rank() == 0
        self.metrics: dict[str, Any] = {}
        self.resumed = resumed
        self.on_interrupt: Callable[[], None] | None = None
        self._is_subfolder = is_subfolder
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._subfolders: list[RunFolder] = []
        self._warned: set[str] = set()
        self._log = RunLog(config if self.is_writer else None, path, resumed)
        self._unlock = weakref.finalize(self, os.close, lock) if lock is not None else None

    @classmethod
    def open(cls, config: AppConfig) -> "RunFolder":
        """Make the run folder, write `config.yaml` to it, and keep other runs out.

        With `trainer.resume` the folder is that of the interrupted run.

        Raises:
            ConfigError: the folder holds a run already, or cannot be written; the interrupted run
                is not there, has ended, goes on elsewhere, or has another configuration.
        """
        run = cls._open(config) if distributed.rank() == 0 else None
        path = broadcast_from_rank0(lambda: str(run.path) if run else "")
        return run or cls(Path(path), resumed=config.trainer.resume is not None)

    @classmethod
    def _open(cls, config: AppConfig) -> "RunFolder":
        if config.trainer.resume is not None:
            path, descriptor = resume.reopen(config)
            _remove_leftovers(path)
            return cls(path, descriptor, resumed=True, config=config)
        first = path = Path(config.run_dir)
        number = 1
        while (lock := _create(path, config)) is None:
            if not DATE_TIME.fullmatch(first.name):
                raise ConfigError(
                    f"{path} holds a run already; choose another folder with hydra.run.dir=PATH"
                )
            number += 1
            path = first.with_name(f"{first.name}_{number}")
        return cls(path, lock, config=config)

    def subfolder(self, name: str, config: AppConfig) -> "RunFolder":
        """Return a folder inside this one for another training, with this configuration.

        It has no metrics.json: what matters of it is in that of the whole run. Its checkpoints stay
        until that is done, where nobody removes them before.
        """
        path = self.path / name
        if self.is_writer:
            path.mkdir(parents=True, exist_ok=True)
        if self.is_writer and self.resumed:
            _remove_leftovers(path)
        folder = RunFolder(path, resumed=self.resumed, config=config, is_subfolder=True)
        folder.metrics |= self.metrics
        folder._warned = self._warned
        self._subfolders.append(folder)
        return folder

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Write `metrics.json` at the end of the block, however it ends.

        The checkpoints go where nobody can go on: after `done` and `diverged`.

        Raises:
            ConfigError: the folder cannot be written any more (the disk is full, say), or what
                `logger` names cannot be used.
            Interrupted: Ctrl-C, or that the folder could not be written after it.
        """
        try:
            with _interrupted_first(), self._resumable():
                self._log.open()
                yield
                self.metrics["status"] = "done"
                self._count_resumptions()
                self.write_metrics()
        except BaseException as error:
            self.metrics["status"] = _status(error)
            self.metrics["error"] = str(error)
            if isinstance(error, Interrupted):
                error.folder = self.path  # of a run inside another, the outer one comes last
            with contextlib.suppress(ConfigError):  # the first error is the one to report
                self.write_metrics()
            raise
        finally:
            self.on_interrupt = None  # it may hold a whole network
            try:
                self._end()
            finally:
                if self._unlock is not None:
                    self._unlock()

    @contextlib.contextmanager
    def _resumable(self) -> Iterator[None]:
        """On Ctrl-C keep what is still to be kept, and say how far the run was."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            lost = ""
            try:
                if self.on_interrupt is not None:
                    self.on_interrupt()
            except KeyboardInterrupt:
                lost = ", without a checkpoint of it"
            if isinstance(interrupt, Interrupted):
                raise
            raise Interrupted(f"{self._progress()}{lost}") from None

    def _progress(self) -> str:
        """Say how far the run is."""
        if steps := self.metrics.get("steps"):
            return f"after step {steps}{f' of {self.path.name}' if self._is_subfolder else ''}"
        return "between its trainings" if self._subfolders else "before the first step"

    def _count_resumptions(self) -> None:
        """Note how often a run went on whose trainings inside did; any other one knows it."""
        if self.resumed and self._subfolders:
            counts = [folder.metrics.get("resumed", 1) for folder in (self, *self._subfolders)]
            self.metrics["resumed"] = max(counts)

    def _end(self) -> None:
        """Remove what nobody goes on from, and close the log."""
        if self.metrics["status"] in ("done", "diverged") and not self._is_subfolder:
            for folder in (self, *self._subfolders):
                folder.remove_checkpoints()
        self._log.close(self.metrics)

    def warn(self, text: str) -> None:
        """Say something once, however many trainings inside the run come to it."""
        if self.is_writer and text not in self._warned:
            self._warned.add(text)
            print(f"warning: {text}", file=sys.stderr)

    def remove(self, name: str) -> None:
        """Remove one file, if it is there."""
        if self.is_writer:
            (self.path / name).unlink(missing_ok=True)

    def remove_checkpoints(self) -> None:
        """Remove what nobody will go on from."""
        for path in self.path.glob(CHECKPOINTS):
            self.remove(path.name)

    def write_metrics(self) -> None:
        """Write `metrics.json` as it stands."""
        if self._is_subfolder:
            return
        text = json.dumps(self.metrics, indent=2, allow_nan=False, default=_plain) + "\n"
        self.write("metrics.json", text.encode())

    def add_row(self, name: str, row: dict[str, Any]) -> None:
        """Keep a row for a CSV file, whose columns are the keys of its first row."""
        self._rows.setdefault(name, []).append(row)

    def write_rows(self, name: str) -> None:
        """Write a CSV file with all of its rows; without any there is no file."""
        rows = self.rows(name)
        if rows:
            text = io.StringIO()
            writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            self.write(name, text.getvalue().encode())
            self._log.update(self._rows)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a CSV file so far."""
        return self._rows.get(name, [])

    def write(self, name: str, content: bytes) -> None:
        """Write one file in one step.

        Raises:
            ConfigError: the folder cannot be written.
        """
        if not self.is_writer:
            return
        try:
            write_atomically(self.path / name, content)
        except OSError as error:
            raise _cannot_write(self.path / name, error) from error


def _create(path: Path, config: AppConfig) -> int | None:
    """Make the folder and its `config.yaml`, whole; return the lock on it, None if it was there."""
    text = OmegaConf.to_yaml(config.model_copy(update={"run_dir": str(path)}).model_dump())
    mine = path / f".config.yaml.{uuid.uuid4().hex}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = resume.lock(path)  # before anybody can take the run for a dead one
        try:
            write_atomically(mine, text.encode())
            os.link(mine, path / "config.yaml")  # which fails when another run was first
        except BaseException:
            os.close(lock)
            raise
        finally:
            mine.unlink(missing_ok=True)
    except (FileExistsError, BlockingIOError):
        return None
    except OSError as error:
        raise _cannot_write(path, error) from error
    return lock


@contextlib.contextmanager
def _interrupted_first() -> Iterator[None]:
    """Make an `Interrupted` of what could not be written while Ctrl-C was dealt with."""
    try:
        yield
    except ConfigError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__context__
        if cause is None:
            raise
        raise Interrupted(f"not everything could be written: {error}") from error


def _remove_leftovers(path: Path) -> None:
    """Remove what a run was writing when it was killed."""
    for file in (*path.glob(".*.tmp"), *path.glob(".config.yaml.*")):
        file.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot write {path}: {error.strerror}; free some space, or choose another folder with "
        "hydra.run.dir=PATH"
    )


def _status(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "diverged" if isinstance(error, TrainingDiverged) else "failed"


def _plain(value: Any) -> Any:
    """Turn NumPy's numbers into Python's, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not belong in metrics.json")
