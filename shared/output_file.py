"""Write the files that tools leave behind."""

import json
from pathlib import Path

from shared.errors import ConfigError
from shared.files import write_atomically

# The files of a run that no tool may overwrite.
RUN_FILES = ("config.yaml", "metrics.json", "history.csv", "steps.csv", "weights.safetensors")


def write_result(path: Path, content: bytes) -> None:
    """Write a file that a tool was asked for, or raise ConfigError."""
    try:
        target = path.resolve()  # a link stays one
        is_loop = target.is_symlink()  # from Python 3.13 on
    except RuntimeError:  # before
        is_loop = True
    if is_loop:
        raise ConfigError(f"cannot write {path}: its links form a loop; choose another name")
    if target.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder; name a file in it")
    if target.exists() and not target.is_file():  # it would be replaced by a file
        raise ConfigError(f"cannot write {path}: it is not a regular file; choose another name")
    if not target.parent.is_dir():
        raise ConfigError(f"cannot write {path}: the folder {target.parent} does not exist; create it first")
    if target.name in RUN_FILES and target.exists() and (target.parent / "config.yaml").exists():
        raise ConfigError(f"cannot write {path}: it belongs to the run; choose another name")
    try:
        write_atomically(target, content)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose another place") from error


def write_json(path: Path, content: object) -> None:
    """Write `content` as JSON, without NaN and infinity, in a folder that may not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
