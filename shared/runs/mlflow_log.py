"""Log a run to MLflow's store on this machine, outputs/mlflow.db.

It is SQLite, because MLflow no longer accepts a folder of files. To look at it with the full package:
mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from shared.config import AppConfig
from shared.errors import ConfigError
from shared.runs.loggers import Point, hyperparameters
from shared.runs.resume import RUNS
from shared.sqlite import check_database

STORE = RUNS / "mlflow.db"
RUN_ID = "mlflow_run.txt"  # in the run folder
STATUS = {"done": "FINISHED", "interrupted": "KILLED"}  # of any other: FAILED
LIMITS = {"metrics": 1000, "params": 100, "tags": 100}  # of MLflow, for one call
LONGEST = 5000  # characters of a tag

logging.getLogger("mlflow").setLevel(logging.WARNING)  # no line for each table that it creates


class MlflowLog:
    """One run of an experiment, which is named after the application."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._id = client, run_id

    def add(self, points: Sequence[Point]) -> None:
        """Write points to the store."""
        now = int(1000 * time.time())
        self.write("metrics", [Metric(name, value, now, step) for name, step, value in points])

    def end(self, status: str, texts: Mapping[str, str]) -> None:
        """Write how the run ended, and the texts as tags."""
        self.write("tags", [RunTag(key, value[:LONGEST]) for key, value in texts.items()])
        self._client.set_terminated(self._id, STATUS.get(status, "FAILED"))

    def write(self, kind: str, items: Sequence[Any]) -> None:
        """Write metrics, params or tags, as many at once as MLflow allows."""
        for first in range(0, len(items), LIMITS[kind]):
            batch: dict[str, Any] = {kind: items[first : first + LIMITS[kind]]}
            self._client.log_batch(self._id, **batch)


def open_log(config: AppConfig, folder: Path, resumed: bool) -> MlflowLog:
    """Start a run in the store, which replaces that of a resumed run.

    Raises:
        OSError: the store cannot be written.
        ConfigError: it is not a database, or MLflow refuses it.
    """
    STORE.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{STORE}.lock"):  # the first run creates the tables, the others wait for it
        check_database(STORE)
        try:
            return _start_run(config, folder, resumed)
        except MlflowException as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"logger=mlflow: {STORE}: {reason}\ntrain without it: logger=null") from error


def _start_run(config: AppConfig, folder: Path, resumed: bool) -> MlflowLog:
    client = MlflowClient(f"sqlite:///{STORE.absolute()}")
    id_file = folder / RUN_ID
    before = id_file.read_text().strip() if resumed and id_file.exists() else None
    if before is not None:
        client.delete_run(before)
    if experiment := client.get_experiment_by_name(config.app):
        experiment_id = experiment.experiment_id
    else:
        artifacts = (STORE.parent / "mlflow").absolute().as_uri()
        experiment_id = client.create_experiment(config.app, artifact_location=artifacts)
    tags = {"run_folder": str(folder), "mlflow.source.name": f"apps.{config.app}"}
    parent = next((path / RUN_ID for path in folder.parents if (path / RUN_ID).exists()), None)
    if parent is not None:  # MLflow shows a training inside of a run below it
        tags[MLFLOW_PARENT_RUN_ID] = parent.read_text().strip()
    run_id = client.create_run(experiment_id, run_name=folder.name, tags=tags).info.run_id
    id_file.write_text(f"{run_id}\n")
    if before is not None:
        _move_children(client, experiment_id, before, run_id)
    log = MlflowLog(client, run_id)
    values = hyperparameters(config).items()
    log.write("params", [Param(key, "null" if value is None else str(value)) for key, value in values])
    return log


def _move_children(client: MlflowClient, experiment_id: str, before: str, now: str) -> None:
    """Put the trainings inside a resumed run below its new entry; none of them is running now."""
    for child in client.search_runs([experiment_id], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{before}'"):
        client.set_tag(child.info.run_id, MLFLOW_PARENT_RUN_ID, now)
        if child.info.status == "RUNNING":  # killed while its entry was being closed
            client.set_terminated(child.info.run_id, STATUS["interrupted"])
