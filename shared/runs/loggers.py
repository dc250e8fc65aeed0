"""What a run writes to its folder, sent to TensorBoard or MLflow too where `logger` asks for it.

What is logged is what history.csv, steps.csv and metrics.json hold, and nothing else. Rows are sent
at the end of each epoch, outside of the time that is measured. A run that is resumed sends all of
its rows anew, in the place of those from before: no point is there twice, none is of steps that
were lost. Neither package is imported unless it is asked for.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from shared.config import AppConfig
from shared.errors import ConfigError
from shared.nested import flat

STEP_COLUMNS = {"history.csv": "epoch", "steps.csv": "step"}  # the tables that are sent
PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow-skinny"}  # name to import: to install


class Point(NamedTuple):
    """One number of a run: the file and the column that it is in, the row's number, the value."""

    name: str
    step: int
    value: float


class Log(Protocol):
    """One run in a logger's own files; made with (config, folder, resumed)."""

    def add(self, points: Sequence[Point]) -> None:
        """Keep points, for anybody to see from now on."""
        ...

    def end(self, status: str, texts: Mapping[str, str]) -> None:
        """Keep how the run ended and what else metrics.json says, by dotted keys; close."""
        ...


class RunLog:
    """Sends what a run writes to the logger of its configuration; nothing where there is none.

    A logger that fails in the middle of a run is left out from there on, with a warning: no run is
    lost by it.

    Args:
        config: `logger` is taken from here, and all keys go to it; None: there is no logger.
        folder: the run folder.
        resumed: whether an interrupted run goes on in it.
    """

    def __init__(self, config: AppConfig | None, folder: Path, resumed: bool) -> None:
        self._config, self._folder, self._resumed = config, folder, resumed
        self._log: Log | None = None
        self._sent: dict[str, int] = {}

    def open(self) -> None:
        """Begin the log.

        Raises:
            ConfigError: the package is not installed, or the log cannot be written.
        """
        if self._config is None or self._config.logger is None:
            return
        name = self._config.logger
        try:
            module = importlib.import_module(f"shared.runs.{name}_log")
        except ImportError as error:
            raise _not_installed(name) from error
        try:
            self._log = module.open_log(self._config, self._folder, self._resumed)
        except OSError as error:
            raise ConfigError(
                f"logger={name} cannot write {error.filename}: {error.strerror}\n"
                "free the place, or train without it: logger=null"
            ) from error

    def update(self, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Send the rows that are new; `tables` has all rows by the name of their file."""
        points: list[Point] = []
        for name, column in STEP_COLUMNS.items():
            rows = tables.get(name, ())
            points += points_of(name, column, rows[self._sent.get(name, 0) :])
            self._sent[name] = len(rows)
        if points:
            self._send(lambda log: log.add(points))

    def close(self, metrics: Mapping[str, Any]) -> None:
        """Send what metrics.json holds, and end the log."""
        numbers, texts = divided(metrics)
        self._send(lambda log: log.add(numbers))
        self._send(lambda log: log.end(str(metrics["status"]), texts))
        self._log = None

    def _send(self, action: Any) -> None:
        if self._log is None:
            return
        try:
            action(self._log)
        except Exception as error:  # whatever it is: it must not cost the run
            self._log = None
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            assert self._config is not None
            print(
                f"warning: logger={self._config.logger} is left out from here on: {reason}", file=sys.stderr
            )


def check_installed(logger: str) -> None:
    """Refuse a logger whose package is not installed, without importing it.

    Raises:
        ConfigError: it is not.
    """
    try:
        found = find_spec(logger)
    except ImportError:
        found = None
    if found is None:
        raise _not_installed(logger)


def _not_installed(logger: str) -> ConfigError:
    return ConfigError(
        f"logger={logger} needs the package {PACKAGES[logger]}, which cannot be imported\n"
        "install it with make install, or train without it: logger=null"
    )


def points_of(name: str, column: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Point]:
    """Yield every number of some rows of a file; `column` has the rows' numbers."""
    prefix = name.removesuffix(".csv")
    for row in rows:
        for key, value in row.items():
            if key not in STEP_COLUMNS.values():
                yield Point(f"{prefix}/{key}", int(row[column]), float(value))


def divided(metrics: Mapping[str, Any]) -> tuple[list[Point], dict[str, str]]:
    """Return the numbers of metrics.json as points at the last step, and the rest as texts."""
    numbers, texts = [], {}
    step = int(metrics.get("steps", 0))
    for key, value in flat(metrics).items():
        if isinstance(value, Real) and not isinstance(value, bool):
            numbers.append(Point(f"metrics/{key}", step, float(value)))
        else:
            texts[key] = str(value)
    return numbers, texts


def hyperparameters(config: AppConfig) -> dict[str, Any]:
    """Return every key of a configuration with its dots, but for where the run folder is."""
    return {key: value for key, value in flat(config.model_dump()).items() if key != "run_dir"}
