"""A run that has ended, read back from its folder: configuration, metrics, weights."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, get_args

import safetensors.numpy
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from shared.config import AnyAppConfig, validate
from shared.errors import ConfigError, DataError
from shared.files import write_atomically
from shared.runs.environment import git_state

WEIGHTS = "weights.safetensors"
COMMIT = re.compile(r"[0-9a-f]{7,64}")
# What metrics.json says of every run that is done.
TEXTS = ("app", "dataset", "dataset_source", "dataset_sha256")
NUMBERS = ("test_accuracy", "test_loss", "test_examples", "train_seconds")
LARGEST = 1e300


def read_config(folder: Path, schema: type[AnyAppConfig]) -> AnyAppConfig:
    """Return the checked configuration of the run in `folder`.

    Raises:
        ConfigError: there is no run, it is one of another application, or config.yaml was changed
            to something that no run could have.
    """
    path = folder / "config.yaml"
    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"{folder} is not a run folder: it has no config.yaml") from error
    except (OmegaConfBaseException, YAMLError, OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    app = get_args(schema.model_fields["app"].annotation)[0]
    if not isinstance(values, dict) or values.get("app") != app:
        given = values.get("app") if isinstance(values, dict) else None
        raise ConfigError(f"{folder} is a run of {given or 'something else'}, not of {app}")
    try:
        return validate(schema, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}{version_hint(folder)}") from error


def version_hint(folder: Path) -> str:
    """Say which commit made a run, where it is not this one; an empty string where none is known.

    What a configuration has too much or too little is then easily explained.
    """
    try:
        made = (_metrics(folder) or {})["git"]["commit"]
    except (DataError, KeyError, TypeError):
        return ""
    if not isinstance(made, str) or not COMMIT.fullmatch(made) or made == git_state()["commit"]:
        return ""
    return f"; commit {made[:10]} made this run: git checkout {made[:10]} to use it, or train again"


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return what is in metrics.json.

    Raises:
        ConfigError: the run has not ended, or not well.
        DataError: the file is damaged, or something that every run has is not in it.
    """
    metrics = _metrics(folder)
    if metrics is None:
        raise ConfigError(f"{folder}: this run has not ended; it has no metrics.json")
    if metrics["status"] != "done":
        raise ConfigError(f"{folder}: this run ended as {metrics['status']}, not as done")
    odd = [key for key in TEXTS if not isinstance(metrics.get(key), str)]
    odd += [key for key in NUMBERS if not _is_number(metrics.get(key))]
    if odd:
        raise DataError(
            f"{folder / 'metrics.json'} is not what a run has written: {', '.join(odd)} missing or "
            "of another type; train again"
        )
    return metrics


def _is_number(value: Any) -> bool:
    # JSON has numbers that fit into no float; NaN compares as false
    return type(value) in (int, float) and abs(value) < LARGEST


def read_status(folder: Path) -> str | None:
    """Return how the run in `folder` ended; None where it has not, or where it was killed."""
    metrics = _metrics(folder)
    return None if metrics is None else str(metrics["status"])


def _metrics(folder: Path) -> dict[str, Any] | None:
    path = folder / "metrics.json"
    try:
        metrics: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(metrics, dict) or "status" not in metrics:
        raise DataError(f"{path} is not what a run has written")
    return metrics


def write_result(path: Path, content: bytes) -> None:
    """Write what a tool made of a run, in one step.

    Raises:
        ConfigError: it cannot be written there.
    """
    if path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder; name a file in it")
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose another place") from error


def read_checked(path: Path, sha256: str | None) -> bytes:
    """Return what is in a file of a run, once it is known to be what the run has written.

    Raises:
        DataError: it is missing, damaged, or another run's.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); train again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path} is not what this run has written: its digest differs; train again")
    return content


def read_weights(folder: Path, metrics: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the weights by name; nothing in the file can run code.

    Raises:
        DataError: the file is missing, damaged, or another run's.
    """
    content = read_checked(folder / WEIGHTS, metrics.get("weights_sha256"))
    return safetensors.numpy.load(content)
