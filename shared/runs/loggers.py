"""Send what a run writes to its folder to TensorBoard or MLflow as well, if `logger` names one.

Only history.csv, steps.csv and metrics.json are logged. Rows are sent at the end of each epoch,
outside of the measured time. A resumed run sends all of its rows again and replaces its old log, so
that no point is there twice and none is of a step that was lost. The packages are imported on demand.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from shared.config import AppConfig
from shared.errors import ConfigError
from shared.extras import install_command
from shared.nested import flat

STEP_COLUMNS = {"history.csv": "epoch", "steps.csv": "step"}  # the tables that are sent
PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow-skinny"}  # module: package to install


class Point(NamedTuple):
    """One number of a run: FILE/COLUMN, the step or epoch, and the value."""

    name: str
    step: int
    value: float


class Logger(Protocol):
    """The log of one run in a logger's own format (tensorboard_log.py, mlflow_log.py)."""

    def add(self, points: Sequence[Point]) -> None:
        """Write points, so that they can be seen from now on."""
        ...

    def end(self, status: str, texts: Mapping[str, str]) -> None:
        """Write how the run ended and the texts of metrics.json by dotted keys; close the log."""
        ...


class RunLog:
    """Sends what a run writes to a logger.

    A logger that fails during the run is left out from then on, with a warning; the run continues.

    Args:
        logger: tensorboard or mlflow.
        config: its keys are logged as hyperparameters.
        folder: the run folder.
        resumed: whether an interrupted run continues in it.

    Raises:
        ConfigError: the package is not installed, or the log cannot be written.
    """

    def __init__(self, logger: str, config: AppConfig, folder: Path, resumed: bool) -> None:
        self._name = logger
        self._sent: dict[str, int] = {}
        try:
            module = importlib.import_module(f"shared.runs.{logger}_log")
        except ImportError as error:
            raise _not_installed(logger) from error
        try:
            self._logger: Logger | None = module.open_log(config, folder, resumed)
        except OSError as error:
            raise ConfigError(
                f"logger={logger} cannot write {error.filename}: {error.strerror}\n"
                "free some disk space, or train without it: logger=null"
            ) from error

    def update(self, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Send the rows that are new; `tables` has all rows by file name."""
        points = []
        for name, column in STEP_COLUMNS.items():
            rows = tables.get(name, ())
            points += [
                Point(f"{name.removesuffix('.csv')}/{key}", int(row[column]), float(value))
                for row in rows[self._sent.get(name, 0) :]
                for key, value in row.items()
                if key not in STEP_COLUMNS.values()
            ]
            self._sent[name] = len(rows)
        if points:
            self._send(lambda logger: logger.add(points))

    def close(self, metrics: Mapping[str, Any]) -> None:
        """Send metrics.json, its numbers as points at the last step, and end the log."""
        numbers, texts = [], {}
        for key, value in flat(metrics).items():
            if isinstance(value, Real) and not isinstance(value, bool):
                numbers.append(Point(f"metrics/{key}", int(metrics.get("steps", 0)), float(value)))
            else:
                texts[key] = str(value)
        self._send(lambda logger: logger.add(numbers))
        self._send(lambda logger: logger.end(str(metrics["status"]), texts))
        self._logger = None

    def _send(self, action: Callable[[Logger], None]) -> None:
        if self._logger is None:
            return
        try:
            action(self._logger)
        except Exception as error:  # of any kind: it must not end the run
            self._logger = None
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print(f"warning: logger={self._name} is off for the rest of this run: {reason}", file=sys.stderr)


def check_installed(logger: str) -> None:
    """Check, without importing it, that the package of a logger is installed.

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
        f"install it with {install_command('tools')}, or train without it: logger=null"
    )


def hyperparameters(config: AppConfig) -> dict[str, Any]:
    """Return every value of a configuration by its dotted key, except the run folder."""
    return {key: value for key, value in flat(config.model_dump()).items() if key != "run_dir"}
