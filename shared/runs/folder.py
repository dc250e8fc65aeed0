"""The folder of one run: configuration, metrics, history, weights and charts are written here.

Every file is complete or absent. `metrics.json` is written however a run ends; its `status` is
`done`, `diverged`, `interrupted` or `failed`.
"""

import contextlib
import csv
import fcntl
import io
import itertools
import json
import os
import re
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from shared import distributed
from shared.config import AppConfig
from shared.errors import INCOMPLETE, ConfigError, Interrupted, LostProcess, TrainingDiverged
from shared.files import relative_path, write_atomically

WEIGHTS = "weights.safetensors"
CHECKPOINTS = "checkpoint_*.safetensors"  # of an unfinished run (shared/training/checkpoint.py)
# The name that conf/base.yaml gives. Two runs of the same second get different folders.
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")
OTHER_FOLDER = "choose another folder with hydra.run.dir=PATH (with -m: hydra.sweep.dir=PATH)"
THIS_FOLDER = f"the current folder cannot be the run folder; {OTHER_FOLDER}"


class RunFolder:
    """The folder of one run, locked against other runs.

    Attributes:
        path: the folder.
        metrics: the content of `metrics.json`; the run adds to it.
        resumed: whether an interrupted run continues in it.
        is_writer: whether this process writes to it; only rank 0 does.
        on_interrupt: called on Ctrl-C after training, to save what is not saved yet.
    """

    def __init__(
        self,
        path: Path,
        config: AppConfig | None = None,
        lock: int | None = None,
        resumed: bool = False,
        parent: "RunFolder | None" = None,
    ) -> None:
        self.path, self.resumed = path, resumed
        self.is_writer = distributed.rank() == 0
        self.metrics: dict[str, Any] = dict(parent.metrics) if parent else {}
        self.on_interrupt: Callable[[], None] | None = None
        self._config, self._parent = config, parent
        self._subfolders: list[RunFolder] = []
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._log: Any = None  # a RunLog, if the configuration names a logger
        self._unlock = weakref.finalize(self, os.close, lock) if lock is not None else None

    @classmethod
    def open(cls, config: AppConfig) -> "RunFolder":
        """Create the run folder with its `config.yaml`, or reopen the one that `trainer.resume` names.

        Raises:
            ConfigError: the folder already holds a run, or cannot be written; the run to resume does
                not exist, has ended, is still running, or has another configuration.
        """
        if not isinstance(config, AppConfig) or "${" in config.run_dir:
            raise ConfigError(INCOMPLETE)
        run = cls._open(config) if distributed.rank() == 0 else None
        path, resumed = distributed.broadcast_from_rank0(lambda: (str(run and run.path), run and run.resumed))
        return run or cls(Path(path), config, resumed=bool(resumed))

    @classmethod
    def _open(cls, config: AppConfig) -> "RunFolder":
        if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun, which may start this process again
            from shared.runs import restart

            run = cls._open_folder(restart.resumed_config(config))
            restart.note_run(config, run.path)
            return run
        return cls._open_folder(config)

    @classmethod
    def _open_folder(cls, config: AppConfig) -> "RunFolder":
        if config.trainer.resume is not None:
            from shared.runs import resume

            path, held = resume.reopen(config)
            _remove_temporary_files(path)
            return cls(path, config, held, resumed=True)
        first = path = Path(config.run_dir)
        if first.resolve() == Path.cwd():
            raise ConfigError(THIS_FOLDER)
        for number in itertools.count(2):
            if (lock := _create(path, config)) is not None:
                break
            if not DATE_TIME.fullmatch(first.name):
                raise ConfigError(f"{path} holds a run; {OTHER_FOLDER}")
            path = first.with_name(f"{first.name}_{number}")
        return cls(path, config, lock)

    def subfolder(self, name: str, config: AppConfig) -> "RunFolder":
        """Return a folder inside this one for one of several trainings, with its configuration.

        It has no metrics.json. Its checkpoints stay until the whole run is done.
        """
        path = self.path / name
        if self.is_writer:
            path.mkdir(parents=True, exist_ok=True)
            if self.resumed:
                _remove_temporary_files(path)
        self._subfolders.append(RunFolder(path, config, resumed=self.resumed, parent=self))
        return self._subfolders[-1]

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Write `metrics.json` at the end of the block, however it ends.

        Checkpoints are removed after `done` and `diverged`, when there is nothing to resume.

        Raises:
            ConfigError: the folder can no longer be written (for example, the disk is full), or the
                logger cannot be used.
            Interrupted: on Ctrl-C, also if the folder could not be written after it.
        """
        try:
            if self._config is not None and self._config.logger is not None and self.is_writer:
                from shared.runs.loggers import RunLog

                self._log = RunLog(self._config.logger, self._config, self.path, self.resumed)
            yield
            self.metrics["status"] = "done"
            if self.resumed and self._subfolders:  # the trainings count their own resumptions
                counts = [folder.metrics.get("resumed", 1) for folder in (self, *self._subfolders)]
                self.metrics["resumed"] = max(counts)
            self.write_metrics()
        except KeyboardInterrupt as interrupt:
            error = self._save_after_ctrl_c(interrupt)
            self._write_failure("interrupted", error)
            raise error from None
        except BaseException as error:
            statuses: dict[type, str] = {TrainingDiverged: "diverged", LostProcess: "interrupted"}
            self._write_failure(statuses.get(type(error), "failed"), error)
            raise
        finally:
            self.on_interrupt = None  # it may hold a whole network
            self._close()

    def _save_after_ctrl_c(self, interrupt: KeyboardInterrupt) -> Interrupted:
        """Save what is not saved yet; return an error that says how far the run was."""
        try:
            if self.on_interrupt is not None:
                self.on_interrupt()
            error = interrupt if isinstance(interrupt, Interrupted) else Interrupted(self._progress())
        except KeyboardInterrupt:
            error = Interrupted(f"{self._progress()}, without a checkpoint")
        except ConfigError as unwritten:
            error = Interrupted(f"not everything could be written: {unwritten}")
        error.folder = relative_path(self.path)  # the outermost folder sets it last
        return error

    def _write_failure(self, status: str, error: BaseException) -> None:
        self.metrics |= {"status": status, "error": str(error)}
        with contextlib.suppress(ConfigError):  # the first error is the one to report
            self.write_metrics()

    def _progress(self) -> str:
        if steps := self.metrics.get("steps"):
            return f"after step {steps}{f' of {self.path.name}' if self._parent else ''}"
        return "between training runs" if self._subfolders else "before the first step"

    def _close(self) -> None:
        """Remove the checkpoints of a run that cannot be resumed, and close the log."""
        if self.metrics.get("status") in ("done", "diverged") and not self._parent:
            for folder in (self, *self._subfolders):
                folder.remove_checkpoints()
        if self._log is not None:
            self._log.close(self.metrics)
        if self._unlock is not None:
            self._unlock()

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        if self.is_writer:
            (self.path / name).unlink(missing_ok=True)

    def remove_checkpoints(self) -> None:
        """Remove all checkpoints in this folder."""
        for path in self.path.glob(CHECKPOINTS):
            self.remove(path.name)

    def write_metrics(self) -> None:
        """Write `metrics.json`; a subfolder has none."""
        if self._parent is None:
            text = json.dumps(self.metrics, indent=2, allow_nan=False, default=lambda number: number.item())
            self.write("metrics.json", f"{text}\n".encode())

    def add_row(self, name: str, row: dict[str, Any]) -> None:
        """Add a row to a CSV file, in memory; the keys of the first row are the columns."""
        self._rows.setdefault(name, []).append(row)

    def write_rows(self, name: str) -> None:
        """Write a CSV file with all of its rows, if there are any."""
        if rows := self.rows(name):
            text = io.StringIO()
            writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            self.write(name, text.getvalue().encode())
            if self._log is not None:
                self._log.update(self._rows)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a CSV file so far."""
        return self._rows.get(name, [])

    def write(self, name: str, content: bytes) -> None:
        """Write one file atomically.

        Raises:
            ConfigError: the folder cannot be written.
        """
        if self.is_writer:
            try:
                write_atomically(self.path / name, content)
            except OSError as error:
                raise _cannot_write(self.path / name, error) from error


def lock_folder(folder: Path, kind: int = fcntl.LOCK_EX) -> int:
    """Lock a folder; return its descriptor, which holds the lock until it is closed.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        pass
    return descriptor


def _create(path: Path, config: AppConfig) -> int | None:
    """Create a folder with a complete `config.yaml`.

    Returns:
        The descriptor of its lock; None if it holds a run, or another process has locked it.
    """
    text = OmegaConf.to_yaml(config.model_copy(update={"run_dir": str(path)}).model_dump())
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(path)
        try:
            if (path / "config.yaml").exists():
                raise FileExistsError
            write_atomically(path / "config.yaml", text.encode())
        except BaseException:
            os.close(lock)
            raise
    except (FileExistsError, BlockingIOError):
        return None
    except OSError as error:
        raise _cannot_write(path, error) from error
    return lock


def _remove_temporary_files(path: Path) -> None:
    """Remove what a killed run was writing."""
    for file in path.glob(".*.tmp"):
        file.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write {path}: {error.strerror}; free some space, or {OTHER_FOLDER}")
