"""Which run folder an interrupted run goes on in, and whether it may."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.config import AppConfig
from shared.errors import ConfigError
from shared.runs.finished import read_config, read_status

RUNS = Path("outputs")  # where conf/base.yaml puts run folders
LATEST = "latest"
# Where things lie, and how often a checkpoint is written. Another number of threads may change the
# bits, which shared/training/checkpoint.py says.
MAY_DIFFER = {
    "run_dir", "data.root", "data.download", "trainer.checkpoint_seconds", "trainer.resume",
    "trainer.threads",
}  # fmt: skip


def lock(file: Path) -> int:
    """Return a descriptor of a file, locked until it is closed or the process ends, however.

    Raises:
        BlockingIOError: it is locked already.
        OSError: it cannot be opened.
    """
    descriptor = os.open(file, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks: new runs are kept apart all the same
        pass
    return descriptor


def to_resume(config: AppConfig) -> Path:
    """Return the run folder that `trainer.resume` names, once it is known that it may go on.

    Args:
        config: the whole configuration, no precision `auto` in it.

    Raises:
        ConfigError: there is no such run, it has ended, or its configuration is another one.
    """
    asked = str(config.trainer.resume)
    folder = latest(config.app) if asked == LATEST else Path(asked)
    before = read_config(folder, type(config))
    refuse_ended(folder)
    refuse_differences(folder, before, config)
    return folder


def reopened(config: AppConfig) -> tuple[Path, int]:
    """Return the run folder to go on in, and the lock that keeps others out.

    Raises:
        ConfigError: as `to_resume`, or the run is still going on.
    """
    folder = to_resume(config)
    try:
        descriptor = lock(folder / "config.yaml")
    except BlockingIOError:
        raise ConfigError(f"{folder}: this run is still going on, in another process") from None
    try:
        refuse_ended(folder)  # which it may have done just now
    except ConfigError:
        os.close(descriptor)
        raise
    return folder, descriptor


def latest(app: str) -> Path:
    """Return the newest run folder of an application whose run has neither ended nor goes on.

    Raises:
        ConfigError: there is none.
    """
    files = sorted((RUNS / app).glob("*/config.yaml"), key=lambda file: file.stat().st_mtime)
    for file in reversed(files):
        if read_status(file.parent) not in ("done", "diverged") and not is_locked(file):
            return file.parent
    raise ConfigError(
        f"trainer.resume={LATEST}: no run in {RUNS / app} was interrupted; "
        "name another folder with trainer.resume=PATH"
    )


def is_locked(file: Path) -> bool:
    """Whether a run has locked a file."""
    try:
        os.close(lock(file))
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
    old, new = (dict(flat(config.model_dump())) for config in (before, now))
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if differing := [key for key in differing if key not in MAY_DIFFER]:
        keys = ", ".join(f"{key}={new.get(key)} (there {old.get(key)})" for key in differing)
        raise ConfigError(f"{folder} cannot go on with another configuration: {keys}")


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested dicts with its key, dots in it."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
