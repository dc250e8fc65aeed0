"""Read run folders, which may be damaged, changed by hand, hostile, or written by an earlier commit."""

import csv
import io
import json
import math
import os
import re
from pathlib import Path
from typing import Any, get_args

import safetensors
import safetensors.numpy
import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray

from shared.config import AnyAppConfig, validate
from shared.errors import ConfigError, DataError
from shared.input_file import read_verified
from shared.runs.environment import git
from shared.runs.folder import WEIGHTS

COMMIT = re.compile(r"[0-9a-f]{7,64}")
# What metrics.json holds for every run that is done.
STRINGS = ("app", "dataset", "dataset_source", "dataset_sha256")
NUMBERS = ("test_accuracy", "test_loss", "test_examples", "train_seconds")
LARGEST = 1e300


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads config.yaml as OmegaConf does, ten times as fast: the report reads a thousand of them.

    No run writes aliases. They are refused, because a few lines of them can expand to gigabytes.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias")
        return super().compose_node(parent, index)


# For YAML 1.1, 1e-08 is a string; OmegaConf writes it as a number.
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_values(folder: Path) -> dict[str, Any]:
    """Return config.yaml as nested dicts, which may be those of another version.

    Raises:
        ConfigError: it is missing or damaged, or not the configuration of a run.
    """
    path = folder / "config.yaml"
    try:
        content = _read_file(path)
        values = None if content is None else yaml.load(content, Loader)
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if content is None:
        raise ConfigError(f"{folder} is not a run folder: it has no config.yaml")
    if not isinstance(values, dict) or not {"app", "framework", "seed"} <= values.keys():
        raise ConfigError(f"{path} is not the configuration of a run")
    return values


def read_config(folder: Path, schema: type[AnyAppConfig]) -> AnyAppConfig:
    """Return the validated configuration of the run in `folder`.

    Raises:
        ConfigError: there is no run, it is one of another application, or its config.yaml is not valid.
    """
    values = read_values(folder)
    app = get_args(schema.model_fields["app"].annotation)[0]
    if values["app"] != app:
        raise ConfigError(f"{folder} is a run of {values['app']}, not of {app}")
    try:
        return validate(schema, values)
    except ConfigError as error:
        raise ConfigError(f"{folder / 'config.yaml'}: {error}{version_hint(folder)}") from error


def version_hint(folder: Path) -> str:
    """Return which commit made a run, as the end of an error message; "" if it is this or unknown."""
    try:
        commit = load_metrics(folder)["git"]["commit"]
    except (DataError, KeyError, TypeError):
        return ""
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit) or commit == git("rev-parse", "HEAD"):
        return ""
    return f"; commit {commit[:10]} made this run: git checkout {commit[:10]} to use it, or train again"


def load_metrics(folder: Path) -> dict[str, Any]:
    """Return metrics.json of a run with any status; {} if there is none.

    Raises:
        DataError: it is damaged.
    """
    path = folder / "metrics.json"
    try:
        content = _read_file(path)
        metrics: Any = {} if content is None else json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(metrics, dict) or (content is not None and "status" not in metrics):
        raise DataError(f"{path} is not what a run has written")
    return metrics


def read_status(folder: Path) -> str | None:
    """Return how the run in `folder` ended; None if it is going on, or was killed."""
    metrics = load_metrics(folder)
    return str(metrics["status"]) if metrics else None


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return metrics.json of a run that is done.

    Raises:
        ConfigError: the run has not ended, or not well.
        DataError: the file is damaged, or lacks what every run writes.
    """
    metrics = load_metrics(folder)
    if not metrics:
        raise ConfigError(f"{folder}: this run has not ended; it has no metrics.json")
    if metrics["status"] != "done":
        raise ConfigError(f"{folder}: this run ended as {metrics['status']}, not as done")
    wrong = [key for key in STRINGS if not isinstance(metrics.get(key), str)]
    wrong += [key for key in NUMBERS if not _is_number(metrics.get(key))]
    if wrong:
        raise DataError(
            f"{folder / 'metrics.json'} is not what a run has written: {', '.join(wrong)} missing or "
            "of another type; train again"
        )
    return metrics


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of history.csv, None for a number that is not finite; [] if there is none.

    Raises:
        DataError: it is damaged.
    """
    path = folder / "history.csv"
    try:
        content = _read_file(path)
        if content is None:
            return []
        reader = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
        numbers = [{name: float(text) for name, text in row.items()} for row in reader]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read") from error
    if not numbers or not {"epoch", "train_loss"} <= numbers[0].keys():
        raise DataError(f"{path} is not what a run has written")
    return [{name: value if math.isfinite(value) else None for name, value in row.items()} for row in numbers]


def read_weights(folder: Path, metrics: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the weights by name; nothing in the file can run code.

    Raises:
        DataError: the file is missing, damaged, or another run's.
    """
    content = read_verified(folder / WEIGHTS, str(metrics.get("weights_sha256") or ""))
    try:
        return safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{folder / WEIGHTS} is not what a run has written: {error}") from error


def load_weights(learner: Any, folder: Path, metrics: dict[str, Any]) -> None:
    """Load the weights of the run in `folder` into a learner.

    Raises:
        DataError: they are damaged, or do not fit the configuration beside them.
    """
    try:
        learner.load_weights(read_weights(folder, metrics))
    except ValueError as error:
        raise DataError(
            f"{folder}: config.yaml does not belong to these weights ({error}); train again"
        ) from error


def is_regular_file(path: Path) -> bool:
    """Return whether a path is a regular file: not a link, pipe or device."""
    return path.is_file() and not path.is_symlink()


def _read_file(path: Path) -> bytes | None:
    """Return the content of a regular file, or None if there is no such file."""
    if not os.path.lexists(path):
        return None
    if not is_regular_file(path):
        raise OSError("not a regular file")
    return path.read_bytes()


def _is_number(value: Any) -> bool:
    # JSON has numbers that do not fit into a float; comparing NaN gives False
    return type(value) in (int, float) and abs(value) < LARGEST
