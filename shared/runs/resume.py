"""Which run folder an interrupted run goes on in, and whether it may."""

import contextlib
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.config import AppConfig
from shared.errors import ConfigError, DataError
from shared.nested import flat
from shared.runs.reader import read_config, read_status

RUNS = Path("outputs")  # where conf/base.yaml puts run folders
LATEST = "latest"
# Where things lie, and how often a checkpoint is written. Another number of threads,
# another device or pooling may change the bits, which shared/training/checkpoint.py says.
MAY_DIFFER = {
    "run_dir",
    "logger",
    "data.root",
    "data.download",
    "trainer.checkpoint_seconds",
    "trainer.resume",
    "trainer.threads",
    "trainer.device",
    "trainer.compile",
    "model.pooling",
}


def lock(folder: Path) -> int:
    """Return a descriptor of a folder, locked until it is closed or the process ends, however.

    Raises:
        BlockingIOError: it is locked already.
        OSError: it cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks: new runs are kept apart all the same
        pass
    return descriptor


def find_run(config: AppConfig) -> Path:
    """Return the run folder that `trainer.resume` names, once it is known that it may go on.

    Args:
        config: the whole configuration, no precision `auto` in it.

    Raises:
        ConfigError: there is no such run, it has ended, or its configuration is another one.
    """
    asked = str(config.trainer.resume)
    folder = newest_unfinished(config.app) if asked == LATEST else Path(asked)
    before = read_config(folder, type(config))
    refuse_ended(folder)
    refuse_differences(folder, before, config)
    return folder


def reopen(config: AppConfig) -> tuple[Path, int]:
    """Return the run folder to go on in, and the lock that keeps others out.

    Raises:
        ConfigError: as `find_run`, or the run is still going on.
    """
    folder = find_run(config)
    try:
        descriptor = lock(folder)
    except BlockingIOError:
        raise ConfigError(f"{folder}: this run is still going on, in another process") from None
    except OSError as error:
        raise ConfigError(f"{folder} cannot be opened: {error.strerror}") from error
    try:
        refuse_ended(folder)  # which it may have done just now
    except BaseException:
        os.close(descriptor)
        raise
    return folder, descriptor


def newest_unfinished(app: str) -> Path:
    """Return the newest run folder of an application whose run has neither ended nor goes on.

    Raises:
        ConfigError: there is none.
    """
    begun = []
    for pattern in ("*/config.yaml", "sweep_*/*/config.yaml"):
        for file in (RUNS / app).glob(pattern):
            with contextlib.suppress(OSError):  # gone in the meantime
                begun.append((file.stat().st_mtime, file.parent))
    for _, folder in sorted(begun, reverse=True):
        with contextlib.suppress(DataError, OSError):  # another program's, or not readable
            if read_status(folder) not in ("done", "diverged") and not is_locked(folder):
                return folder
    raise ConfigError(
        f"trainer.resume={LATEST}: no run in {RUNS / app} was interrupted; "
        "name another folder with trainer.resume=PATH"
    )


def is_locked(folder: Path) -> bool:
    """Whether a run goes on in a folder."""
    try:
        os.close(lock(folder))
    except BlockingIOError:
        return True
    return False


def refuse_ended(folder: Path) -> None:
    """Refuse a run after which nothing comes.

    Raises:
        ConfigError: it has ended well, or diverged.
    """
    match read_status(folder):
        case "done":
            raise ConfigError(f"{folder}: this run is done; there is nothing left to go on with")
        case "diverged":
            raise ConfigError(f"{folder}: this run has diverged, and would do so again")


def refuse_differences(folder: Path, before: AppConfig, now: AppConfig) -> None:
    """Refuse another configuration than that which the run began with.

    Raises:
        ConfigError: names the keys that differ.
    """
    if keys := differences(compared_values(before), compared_values(now)):
        raise ConfigError(f"{folder} cannot go on with another configuration: {keys}")


def compared_values(config: AppConfig) -> dict[str, Any]:
    """Return every key that must be the same where a run goes on, with its value as JSON has it."""
    values = flat(config.model_dump(mode="json"))
    return {key: value for key, value in values.items() if key not in MAY_DIFFER}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the keys that differ, with both values; nothing where none does."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return ", ".join(f"{key}={now.get(key)} (there {before.get(key)})" for key in keys)
