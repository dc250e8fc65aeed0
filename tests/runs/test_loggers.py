"""TensorBoard and MLflow receive what the run folder receives, and never end a run."""

import contextlib
import csv
import errno
import json
import os
import sqlite3
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.data import load_data, split
from apps.mnist_cnn.train import build_learner
from shared.errors import ConfigError, Interrupted, TrainingDiverged
from shared.runs.folder import RunFolder
from shared.runs.loggers import RunLog, check_installed
from shared.training.loop import fit
from tests.forks import Forks
from tests.helpers import ROOT, at_step, crash, ctrl_c, mnist_config

LOGGERS = ["tensorboard", "mlflow"]
SMALL = [
    "framework=numpy",
    "model=mlp",
    "model.hidden=[6,5]",
    "data.train_limit=226",
    "trainer.batch_size=50",
    "trainer.epochs=3",
    "trainer.threads=1",
]
STEPS = 12  # of four batches an epoch

Points = dict[str, list[tuple[int, float]]]


@pytest.fixture(autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of all tests here: to make MLflow's tables takes seconds."""
    folder = tmp_path_factory.getbasetemp() / "loggers"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    return folder


@cache
def sets() -> Any:
    config = mnist_config(Path("unused"), *SMALL)
    return split(load_data(config), config)


def train(run_dir: Path, *overrides: str) -> RunFolder:
    """Train as an application does, but for the pictures."""
    config: Config = mnist_config(run_dir, *SMALL, *overrides)
    run = RunFolder.open(config)
    run.metrics |= {"dataset_sha256": "0", "model": "mlp", "embedded": True, "versions": {"x": "1"}}
    with run.session():
        train_set, validation_set, _ = sets()
        fit(build_learner(config), train_set, validation_set, config, run)
        run.metrics["test_accuracy"] = np.float64(0.75)
    return run


def written(folder: Path) -> Points:
    """Return the numbers of history.csv, steps.csv and metrics.json by their names in a log."""
    points: Points = {}
    for stem, column in (("history", "epoch"), ("steps", "step")):
        with open(folder / f"{stem}.csv") as file:
            for row in csv.DictReader(file):
                for key in row.keys() - {"epoch", "step"}:
                    point = int(row[column]), float(row[key])
                    points.setdefault(f"{stem}/{key}", []).append(point)
    metrics = json.loads((folder / "metrics.json").read_text())
    for key, value in metrics.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            points[f"metrics/{key}"] = [(metrics["steps"], value)]
    return points


def logged(logger: str, folder: Path) -> tuple[Points, dict[str, str], str]:
    """Return points, hyperparameters and status, read with the logger's own reader."""
    return from_events(folder) if logger == "tensorboard" else from_store(folder)


def from_events(folder: Path) -> tuple[Points, dict[str, str], str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    points = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }

    def content(tag: str) -> Any:
        plugin = events.SummaryMetadata(tag).plugin_data
        return plugin_data_pb2.HParamsPluginData.FromString(plugin.content)

    hparams = content(metadata.SESSION_START_INFO_TAG).session_start_info.hparams
    texts = {
        key: value.string_value if value.HasField("string_value") else str(value.number_value)
        for key, value in hparams.items()
    }
    (table,) = events.Tensors("metrics.json")
    (status,) = [
        row.split(" | ")[1].removesuffix(" |")
        for row in table.tensor_proto.string_val[0].decode().splitlines()
        if row.startswith("| status ")
    ]
    ended = content(metadata.SESSION_END_INFO_TAG).session_end_info.status
    assert (ended == 1) == (status == "done"), "1 is STATUS_SUCCESS"
    return points, texts, status


def from_store(folder: Path) -> tuple[Points, dict[str, str], str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{Path('outputs/mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("mnist_cnn")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (run,) = [one for one in runs if one.data.tags["run_folder"] == str(folder)]
    points = {
        name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }
    status = run.data.tags["status"]
    expected = {"done": "FINISHED", "interrupted": "KILLED"}.get(status, "FAILED")
    assert run.info.status == expected
    return points, run.data.params, status


def assert_same(logger: str, folder: Path) -> None:
    """What is in the log is what is in the files, each point once."""
    points, expected = logged(logger, folder)[0], written(folder)
    if logger == "tensorboard":  # which keeps 32 bits
        expected = {
            name: [(step, float(np.float32(value))) for step, value in own] for name, own in expected.items()
        }
    assert points == expected


@pytest.mark.parametrize("logger", LOGGERS)
def test_the_log_equals_the_files(logger: str, tmp_path: Path) -> None:
    run = train(tmp_path / "run", f"logger={logger}", "optimizer.lr=0.25")
    assert_same(logger, run.path)
    points, parameters, status = logged(logger, run.path)
    assert len(points["history/validation_accuracy"]) == 3
    assert len(points["steps/loss"]) == STEPS
    assert points["metrics/test_accuracy"] == [(STEPS, 0.75)]
    assert status == "done"
    assert parameters["optimizer.lr"] == "0.25"
    assert parameters["model.hidden"] == "[6, 5]"
    assert parameters["debug"] == "null"


def entry_of(folder: Path) -> Any:
    """Return what MLflow's store has of the run in a folder."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{Path('outputs/mlflow.db').absolute()}")
    return client.get_run((folder / "mlflow_run.txt").read_text().strip())


def parent_in_store(folder: Path) -> Path:
    """Return the folder of the run below which MLflow shows that of `folder`."""
    parent = entry_of(folder).data.tags["mlflow.parentRunId"]
    (around,) = [p for p in folder.parents if (p / "mlflow_run.txt").exists()]
    assert entry_of(around).info.run_id == parent
    return around


@pytest.mark.parametrize("logger", LOGGERS)
def test_a_training_in_a_subfolder_has_its_own_log(logger: str, tmp_path: Path) -> None:
    outer = mnist_config(tmp_path / "run", *SMALL, f"logger={logger}")
    inner = mnist_config(tmp_path / "run", *SMALL, f"logger={logger}", "optimizer.lr=0.25")
    run = RunFolder.open(outer)
    with run.session():
        folder = run.subfolder("trainings/first", inner)
        with folder.session():
            fit(build_learner(inner), sets()[0], None, inner, folder)
        run.metrics["test_accuracy"] = np.float64(0.75)
    points, parameters, status = logged(logger, folder.path)
    assert len(points["steps/loss"]) == STEPS
    assert (parameters["optimizer.lr"], status) == ("0.25", "done")
    assert not (folder.path / "metrics.json").exists()
    around, parameters, _ = logged(logger, run.path)
    assert "steps/loss" not in around
    assert parameters["optimizer.lr"] != "0.25"
    if logger == "mlflow":
        assert parent_in_store(folder.path) == run.path


def test_a_finished_training_stays_below_a_resumed_run(tmp_path: Path) -> None:
    # killed while the log of the second training was being closed, which is not running afterwards
    words = [*SMALL, "logger=mlflow"]
    config = mnist_config(tmp_path / "run", *words)
    run = RunFolder.open(config)
    with contextlib.suppress(ZeroDivisionError), run.session():
        for name in ("first", "second"):
            log = RunLog("mlflow", config, run.subfolder(name, config).path, resumed=False)
            if name == "first":
                log.close({"status": "done"})
        crash()
    again = RunFolder.open(mnist_config(run.path, *words, f"trainer.resume={run.path}"))
    with again.session():
        pass
    for name, status in (("first", "FINISHED"), ("second", "KILLED")):
        assert parent_in_store(run.path / name) == run.path
        assert entry_of(run.path / name).info.status == status


@pytest.mark.parametrize("logger", LOGGERS)
@pytest.mark.parametrize("end", ["interrupted", "failed", "diverged"])
def test_the_log_has_the_status_of_the_run(
    logger: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["optimizer.lr=1e30", "optimizer=sgd"] if end == "diverged" else []
    if end != "diverged":
        at_step(monkeypatch, 6, ctrl_c if end == "interrupted" else crash)
    with np.errstate(all="ignore"), pytest.raises((Interrupted, ZeroDivisionError, TrainingDiverged)):
        train(tmp_path / "run", f"logger={logger}", *words)
    points, _, status = logged(logger, tmp_path / "run")
    assert status == end
    steps = len((tmp_path / "run" / "steps.csv").read_text().splitlines()) - 1
    assert len(points["steps/loss"]) == steps > 0


@pytest.mark.parametrize("logger", LOGGERS)
@pytest.mark.parametrize("checkpoint", ["null", "0"])
def test_a_resumed_run_logs_every_point_once(
    logger: str, checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # without a checkpoint it starts again, and the log was ahead of it
    words = [f"logger={logger}", f"trainer.checkpoint_seconds={checkpoint}"]
    with monkeypatch.context() as patch:
        at_step(patch, 10, crash)
        with pytest.raises(ZeroDivisionError):
            train(tmp_path / "run", *words)
    assert len(logged(logger, tmp_path / "run")[0]["history/train_loss"]) == 2
    train(tmp_path / "run", *words, f"trainer.resume={tmp_path / 'run'}")
    assert_same(logger, tmp_path / "run")
    assert logged(logger, tmp_path / "run")[2] == "done"


def test_a_logger_can_be_added_when_resuming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 6, ctrl_c)
        with pytest.raises(Interrupted):
            train(tmp_path / "run")
    train(tmp_path / "run", "logger=tensorboard", f"trainer.resume={tmp_path / 'run'}")
    assert_same("tensorboard", tmp_path / "run")


def no_space(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def with_tables(folder: Path) -> None:
    """Put a store into a working folder, made already where a test has made one."""
    (folder / "outputs").mkdir()
    if (made := Path("outputs/mlflow.db")).exists():
        (folder / "outputs" / "mlflow.db").write_bytes(made.read_bytes())


def drop_the_table() -> None:
    with sqlite3.connect("outputs/mlflow.db") as database:
        database.execute("DROP TABLE metrics")


@pytest.mark.parametrize("logger", LOGGERS)
def test_a_failing_logger_costs_a_warning(
    logger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_tables(tmp_path)
    monkeypatch.chdir(tmp_path)

    def harm() -> None:
        if logger == "tensorboard":
            name = "tensorboard.summary.writer.record_writer.RecordWriter.write"
            monkeypatch.setattr(name, no_space)
        else:
            drop_the_table()

    at_step(monkeypatch, 6, harm)
    run = train(tmp_path / "run", f"logger={logger}")
    assert run.metrics["status"] == "done"
    assert len((run.path / "history.csv").read_text().splitlines()) == 1 + 3
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"warning: logger={logger} is off for the rest of this run: ")


def test_a_log_that_cannot_be_written_is_an_error_before_training(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("")
    result = forks.run("apps.mnist_cnn", "data=digits", "logger=tensorboard", f"hydra.run.dir={tmp_path}/run")
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: logger=tensorboard cannot write {tmp_path}/run")
    assert len(result.stderr.splitlines()) == 2


def test_a_store_that_is_not_a_database_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "mlflow.db").write_text("no database" * 100)
    with pytest.raises(ConfigError, match=r"mlflow\.db .*file is not a database\n"):
        train(tmp_path / "run", "logger=mlflow")


@pytest.mark.parametrize("logger", LOGGERS)
def test_a_missing_package_is_named(logger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, logger, None)
        with pytest.raises(ConfigError, match=f"logger={logger} needs the package {logger}"):
            check_installed(logger)
    check_installed(logger)


IMPORTED = """
import sys
from pathlib import Path
from tests.runs.test_loggers import LOGGERS, train
for logger in ["null", *LOGGERS]:
    train(Path(f"run_{logger}"), f"logger={logger}")
    names = {"torch", "tensorflow", "keras", "tensorboard", "mlflow", "optuna"}
    print("imported:", *sorted(names & sys.modules.keys()))
"""


@pytest.mark.slow
def test_only_the_chosen_logger_is_imported(tmp_path: Path) -> None:
    """A framework least of all: the network is in NumPy."""
    with_tables(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = [line for line in result.stdout.splitlines() if line.startswith("imported:")]
    assert lines == ["imported:", "imported: tensorboard", "imported: mlflow tensorboard"]
