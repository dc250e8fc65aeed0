"""Find the run folder in which an interrupted run continues, and check that it may."""

import contextlib
import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from shared import distributed
from shared.config import AppConfig
from shared.errors import ConfigError, DataError
from shared.nested import flat
from shared.runs.folder import lock_folder
from shared.runs.reader import read_config, read_status
from shared.runs.repeat import rerun_overrides

RUNS = Path("outputs")  # where conf/base.yaml puts run folders
LATEST = "latest"
# Where files are, and what is logged. Another number of threads, device or pooling may change the
# bits; shared/training/checkpoint.py warns of it.
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


def run_overrides(app: str, schema: type[AppConfig], words: Sequence[str]) -> list[str]:
    """Return the overrides that the run to resume was made with, to be put before those given, `words`.

    A section that `words` choose, such as `model=mlp`, is left to them; `find_run` refuses what differs.

    Raises:
        ConfigError: there is no such run.
    """
    parsed = {one.key_or_group: one for one in OverridesParser.create().parse_overrides(list(words))}
    given = parsed["trainer.resume"].value()
    if not isinstance(given, str):  # null; or one of several, each for a job of its own
        return []
    try:
        before = read_config(run_folder(given, app), schema)
    except ConfigError:
        if distributed.rank() == 0:
            raise
        return []  # on another machine, which has no run folder
    return [word for word in rerun_overrides(before.model_dump()) if re.split("[.=]", word)[0] not in parsed]


def find_run(config: AppConfig) -> Path:
    """Return the run folder that `trainer.resume` names, if its run can be resumed.

    Args:
        config: the configuration, without `auto` for the precision.

    Raises:
        ConfigError: there is no such run, it has ended, or it has another configuration.
    """
    folder = run_folder(str(config.trainer.resume), config.app)
    before = read_config(folder, type(config))
    check_unfinished(folder)
    if keys := differences(compared_values(before), compared_values(config)):
        raise ConfigError(f"{folder} cannot be resumed with another configuration: {keys}")
    return folder


def reopen(config: AppConfig) -> tuple[Path, int]:
    """Return the run folder to continue in, and the descriptor that holds its lock.

    Raises:
        ConfigError: as `find_run`, or the run is still running.
    """
    folder = find_run(config)
    try:
        lock = lock_folder(folder)
    except BlockingIOError:
        raise ConfigError(f"{folder}: this run is still running, in another process") from None
    except OSError as error:
        raise ConfigError(f"{folder} cannot be opened: {error.strerror}") from error
    try:
        check_unfinished(folder)  # it may have ended just now
    except BaseException:
        os.close(lock)
        raise
    return folder, lock


def run_folder(given: str, app: str) -> Path:
    """Return the folder `given`; for `latest` the newest of an application's interrupted or killed runs.

    Raises:
        ConfigError: there is none.
    """
    if given != LATEST:
        return Path(given)
    candidates = []
    for pattern in ("*/config.yaml", "sweep_*/*/config.yaml"):
        for file in (RUNS / app).glob(pattern):
            with contextlib.suppress(OSError):  # removed in the meantime
                candidates.append((file.stat().st_mtime, file.parent))
    for _, folder in sorted(candidates, reverse=True):
        with contextlib.suppress(DataError, OSError):  # another program's, or not readable
            if read_status(folder) in (None, "interrupted") and not is_locked(folder):
                return folder
    raise ConfigError(
        f"trainer.resume={LATEST}: no run in {RUNS / app} was interrupted; "
        "name another folder with trainer.resume=PATH"
    )


def is_locked(folder: Path) -> bool:
    """Return whether a run is going on in a folder."""
    try:
        os.close(lock_folder(folder, fcntl.LOCK_SH))  # several processes may look at the same time
    except BlockingIOError:
        return True
    return False


def check_unfinished(folder: Path) -> None:
    """Check that a run was interrupted or killed, or failed.

    Raises:
        ConfigError: it is done, or diverged.
    """
    match read_status(folder):
        case "done":
            raise ConfigError(f"{folder}: this run is done; to train for more epochs, start a new run")
        case "diverged":
            raise ConfigError(f"{folder}: this run diverged, and would diverge again")


def compared_values(config: AppConfig) -> dict[str, Any]:
    """Return the values, by dotted key, that must be the same in a resumed run."""
    values = flat(config.model_dump(mode="json"))
    return {key: value for key, value in values.items() if key not in MAY_DIFFER}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the keys that differ, with both values, as text; "" if none does."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return ", ".join(f"{key}={now.get(key)} (there {before.get(key)})" for key in keys)
