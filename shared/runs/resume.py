"""Find the run folder in which an interrupted run continues, and check that it may."""

import contextlib
import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from shared import distributed
from shared.config import AppConfig
from shared.errors import ConfigError, DataError
from shared.nested import flat
from shared.runs.folder import lock_folder
from shared.runs.reader import read_config, read_status
from shared.runs.repeat import app_command, hydra_text

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


def resumed_values(
    schema: type[AppConfig], composed: dict[str, Any], overrides: Sequence[str]
) -> dict[str, Any]:
    """Return the configuration of the run to resume, with the keys that `overrides` set.

    Args:
        schema: the application's `Config`.
        composed: the configuration that Hydra composed of `overrides`.
        overrides: of the command line.

    Raises:
        ConfigError: there is no such run, or an override sets no key.
    """
    given = composed["trainer"]["resume"]
    if not isinstance(given, str) or not given:
        return composed  # null, or refused by the schema
    for word in overrides:
        if word.lstrip("+").partition("=")[0].partition(".")[0] not in composed:  # +experiment=a12, ~pixels
            raise ConfigError(f"{word}: a run is resumed with its own configuration; leave this out")
    try:
        folder = run_folder(given, composed["app"])
        before = read_config(folder, schema).model_dump()
    except ConfigError:
        if distributed.rank() == 0:
            raise
        return composed  # on another machine, which has no run folder
    values, ours = OmegaConf.create(before), OmegaConf.create(composed)
    for key in ("run_dir", *(word.partition("=")[0].lstrip("+") for word in overrides)):
        OmegaConf.update(values, key, OmegaConf.select(ours, key), merge=False, force_add=True)
    values.trainer.resume = str(folder)
    return cast(dict[str, Any], OmegaConf.to_container(values))


def resume_command(app: str, overrides: Sequence[str], folder: Path | None) -> str:
    """Return the shell command that resumes a run, started with these overrides, in its folder.

    It repeats only what a resumed run does not take from its own configuration.
    """
    words = {word.partition("=")[0].lstrip("+"): word for word in overrides}
    words["trainer.resume"] = f"trainer.resume={hydra_text(str(folder))}"
    return app_command(app, [word for key, word in words.items() if key in MAY_DIFFER])


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
