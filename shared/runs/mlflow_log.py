"""A run in MLflow's store on this machine: outputs/mlflow.db.

SQLite, because MLflow no longer takes a folder of files. `mlflow ui` of the full package shows it:
mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read when MLflow is imported

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from shared.config import AppConfig
from shared.errors import ConfigError
from shared.runs.database import check_database
from shared.runs.loggers import Point, hyperparameters
from shared.runs.resume import RUNS

STORE = RUNS / "mlflow.db"
RUN_ID = "mlflow_run.txt"  # in the run folder
STATUS = {"done": "FINISHED", "interrupted": "KILLED"}  # of every other: FAILED
BATCH = 100  # parameters or tags at once; metrics 1000: MLflow's limits
LONGEST = 5000  # characters of a tag

logging.getLogger("mlflow").setLevel(logging.WARNING)  # not a line for each table that it makes


class MlflowLog:
    """One run of an experiment, which is named after the application."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._id = client, run_id

    def add(self, points: Sequence[Point]) -> None:
        """Keep points in the store."""
        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, step, value in points]
        for first in range(0, len(metrics), 10 * BATCH):
            self._client.log_batch(self._id, metrics=metrics[first : first + 10 * BATCH])

    def end(self, status: str, texts: Mapping[str, str]) -> None:
        """Keep how the run ended, and the texts as tags."""
        tags = [RunTag(key, value[:LONGEST]) for key, value in texts.items()]
        for first in range(0, len(tags), BATCH):
            self._client.log_batch(self._id, tags=tags[first : first + BATCH])
        self._client.set_terminated(self._id, STATUS.get(status, "FAILED"))


def open_log(config: AppConfig, folder: Path, resumed: bool) -> MlflowLog:
    """Begin a run in the store, in the place of that of a resumed run.

    Raises:
        OSError: the store cannot be written.
        ConfigError: it is no database, or MLflow refuses it.
    """
    STORE.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{STORE}.lock"):  # the first run makes the tables, the others wait for them
        check_database(STORE)
        try:
            return begun(config, folder, resumed)
        except MlflowException as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"logger=mlflow: {STORE}: {reason}\ntrain without it: logger=null") from error


def begun(config: AppConfig, folder: Path, resumed: bool) -> MlflowLog:
    """Return the log of a new run; what is in the store of a resumed one is deleted there."""
    client = MlflowClient(f"sqlite:///{STORE.absolute()}")
    id_file = folder / RUN_ID
    before = id_file.read_text().strip() if resumed and id_file.exists() else None
    if before is not None:
        client.delete_run(before)
    experiment = client.get_experiment_by_name(config.app)
    if experiment is None:
        place = (STORE.parent / "mlflow").absolute().as_uri()
        number = client.create_experiment(config.app, artifact_location=place)
    else:
        number = experiment.experiment_id
    tags = {"run_folder": str(folder), "mlflow.source.name": f"apps.{config.app}"}
    around = next((p / RUN_ID for p in folder.parents if (p / RUN_ID).exists()), None)
    if around is not None:  # a training inside of a run is shown below it
        tags[MLFLOW_PARENT_RUN_ID] = around.read_text().strip()
    run = client.create_run(number, run_name=folder.name, tags=tags)
    id_file.write_text(f"{run.info.run_id}\n")
    if before is not None:
        adopt(client, number, before, run.info.run_id)
    keys = hyperparameters(config).items()
    params = [Param(key, "null" if value is None else str(value)) for key, value in keys]
    for first in range(0, len(params), BATCH):
        client.log_batch(run.info.run_id, params=params[first : first + BATCH])
    return MlflowLog(client, run.info.run_id)


def adopt(client: MlflowClient, experiment: str, before: str, now: str) -> None:
    """Put the trainings inside a resumed run below its new entry; none of them runs now."""
    inside = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{before}'"
    for child in client.search_runs([experiment], inside):
        client.set_tag(child.info.run_id, MLFLOW_PARENT_RUN_ID, now)
        if child.info.status == "RUNNING":  # it was killed while its entry was closed
            client.set_terminated(child.info.run_id, STATUS["interrupted"])
