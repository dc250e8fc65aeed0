"""Checkpoints: the state of a training run on disk, from which it resumes with the same bits.

A checkpoint is one safetensors file, which cannot run code when it is read: weights, optimizer
state, random states and the rows of the history as tensors, the rest as JSON in its metadata. Its
name holds the number of steps and the beginning of its SHA-256 digest. The last two are kept.
"""

import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from shared import distributed
from shared.config import AppConfig
from shared.errors import ConfigError, DataError
from shared.files import sha256_of
from shared.input_file import read_verified
from shared.runs import resume
from shared.runs.folder import CHECKPOINTS, RunFolder
from shared.training.loop import Learner
from shared.training.run_state import EpochTotals

if TYPE_CHECKING:
    from shared.training.early_stopping import EarlyStopping

Arrays = dict[str, NDArray[Any]]

DIGITS = 16  # hexadecimal digits of the digest in the name: enough to notice any damage
NAME = re.compile(rf"checkpoint_(\d+)_([0-9a-f]{{{DIGITS}}})\.safetensors")
TABLES = ("history.csv", "steps.csv")
PROGRESS = ("epochs", "steps", "train_seconds")  # of metrics.json
ORIGIN = ("dataset_sha256", "model")  # a model's name may say which weights it started from
ENVIRONMENT = ("versions", "hardware", "git", "pooling")


class Checkpoints:
    """The checkpoints of a run folder.

    Args:
        run: the run folder; its `metrics` hold the numbers of finished epochs and steps.
        config: the configuration of the run, which must be the same when it resumes.
    """

    def __init__(self, run: RunFolder, config: AppConfig) -> None:
        self._run = run
        self._config = resume.compared_values(config)
        self._previous: Path | None = None

    def write(self, learner: "Learner | EarlyStopping", totals: EpochTotals) -> None:
        """Write a checkpoint and remove all but the one before; warn if the disk is full."""
        if not self._run.is_writer:
            return
        metrics = self._run.metrics
        arrays, numbers = learner.state()
        columns, names = columns_of(self._run)
        facts = {key: metrics[key] for key in PROGRESS}
        facts |= {"loss": totals.loss, "hits": totals.correct, "seen": totals.count}
        facts["seconds"] = time.perf_counter() - totals.start
        facts["run"] = {key: metrics.get(key) for key in (*ORIGIN, *ENVIRONMENT)}
        facts |= {"config": self._config, "resumed": metrics.get("resumed", 0)}
        facts |= {"learner": numbers, "columns": names}
        content = pack(arrays | columns, facts)
        digest = sha256_of(content)[:DIGITS]
        path = self._run.path / f"checkpoint_{metrics['steps']:09d}_{digest}.safetensors"
        try:
            self._run.write(path.name, content)
        except ConfigError as error:
            print(f"warning: no checkpoint was written: {error}", file=sys.stderr)
            return
        for other in set(self._run.path.glob(CHECKPOINTS)) - {path, self._previous}:
            other.unlink(missing_ok=True)
        self._previous = path

    def restore(self, learner: "Learner | EarlyStopping") -> EpochTotals | None:
        """Restore learner, history and metrics from the last good checkpoint, if there is one.

        Returns:
            The sums of the unfinished epoch; None if there is no checkpoint.

        Raises:
            DataError: all checkpoints are damaged, or it was made with other data.
        """
        found = distributed.broadcast_from_rank0(lambda: last_good(self._run.path))
        if found is None:
            return None
        self._previous, arrays, facts = found
        try:
            check_origin(self._run, facts["run"])
            before = self._config | facts["config"]  # that of an older version lacks some keys
            if others := resume.differences(before, self._config):
                raise DataError(
                    f"{self._previous} was written with another configuration: {others}; remove the "
                    "checkpoints to start again"
                )
            learner.load_state(arrays, facts["learner"])
            restore_rows(self._run, arrays, facts["columns"])
            self._run.metrics |= {key: facts[key] for key in PROGRESS}
            self._run.metrics["resumed"] = facts["resumed"] + 1
            start = time.perf_counter() - facts["seconds"]
            return EpochTotals(facts["loss"], facts["hits"], facts["seen"], start)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self._previous} is not a checkpoint of this run ({error})") from error


def check_origin(run: RunFolder, before: Mapping[str, Any]) -> None:
    """Compare what a run depends on with what it depended on; warn if the bits may differ.

    Raises:
        DataError: the data or the initial weights are not the same.
    """
    now = run.metrics
    if others := [key for key in ORIGIN if before[key] != now.get(key)]:
        keys = ", ".join(f"{key} is {now.get(key)} and was {before[key]}" for key in others)
        raise DataError(f"{run.path} cannot resume with other data: {keys}")
    if others := [key for key in ENVIRONMENT if before.get(key) != now.get(key)]:
        distributed.print_once(
            f"warning: {', '.join(others)} changed since the checkpoint was written: the bits may differ "
            "from those of a run without interruption"
        )


def refuse_different_ranks(config: AppConfig, run: RunFolder) -> None:
    """Refuse a process whose configuration or data differs from rank 0's, as on two machines.

    Raises:
        ConfigError: the configuration differs.
        DataError: the data differs.
    """
    own = resume.compared_values(config), run.metrics.get("dataset_sha256")
    first = distributed.broadcast_from_rank0(lambda: own)
    if keys := resume.differences(first[0], own[0]):
        raise ConfigError(f"the processes have different configurations: {keys}")
    if first[1] != own[1]:
        raise DataError(
            f"the processes have different data: dataset_sha256 is {own[1]} on rank "
            f"{distributed.rank()} and {first[1]} on rank 0"
        )


def strip_prefix(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return the arrays whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def pack(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> bytes:
    """Return the content of a checkpoint file."""
    # safetensors writes the bytes as they lie in memory: channels-last weights must be copied.
    ordered = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    return safetensors.numpy.save(ordered, {"training": json.dumps(facts)})


def read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Return arrays and facts of a checkpoint; nothing in it can run code.

    Raises:
        DataError: it cannot be read, its digest is not the one in its name, or it is no checkpoint.
    """
    name = NAME.fullmatch(path.name)
    content = read_verified(path, name[2] if name else None)
    try:
        arrays = safetensors.numpy.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts = json.loads(header["__metadata__"]["training"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a checkpoint ({error})") from error
    return arrays, facts


def last_good(folder: Path) -> tuple[Path, Arrays, dict[str, Any]] | None:
    """Return the last checkpoint that is not damaged; None if there is no checkpoint.

    Raises:
        DataError: all checkpoints are damaged.
    """
    paths = [path for path in folder.glob(CHECKPOINTS) if NAME.fullmatch(path.name)]
    for path in sorted(paths, reverse=True):
        try:
            return path, *read(path)
        except DataError as error:
            print(f"warning: {error}; using the one before", file=sys.stderr)
    if paths:
        raise DataError(f"{folder}: all checkpoints are damaged; train again")
    return None


def columns_of(run: RunFolder) -> tuple[Arrays, dict[str, list[str]]]:
    """Return the history so far, an array for each column, and the column names in order."""
    names = {table: list(rows[0]) for table in TABLES if (rows := run.rows(table))}
    arrays = {
        f"rows/{table}/{column}": np.array([row[column] for row in run.rows(table)])
        for table, columns in names.items()
        for column in columns
    }
    return arrays, names


def restore_rows(run: RunFolder, arrays: Mapping[str, NDArray[Any]], names: Mapping[str, list[str]]) -> None:
    """Give a run the rows that `columns_of` turned into arrays."""
    for table, columns in names.items():
        values = [arrays[f"rows/{table}/{column}"].tolist() for column in columns]
        for row in zip(*values, strict=True):
            run.add_row(table, dict(zip(columns, row, strict=True)))
