"""Many runs of an application: Hydra's -m, and studies with Optuna."""

import contextlib
import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from omegaconf import OmegaConf
from sqlalchemy.exc import OperationalError

from apps.xor.config import Config
from shared import CONF, cli
from shared.compose import compose
from shared.errors import INTERRUPTED_STATUS, ConfigError, SuiteError, TrainingDiverged
from shared.runs.folder import lock_folder
from shared.runs.reader import read_rows, read_status
from shared.runs.repeat import PYTHON
from tests.forks import Forks
from tests.helpers import ROOT
from tests.training.members import free_port
from tools.sweep import results, search, trial, workers
from tools.sweep.__main__ import main as sweep_main
from tools.sweep.__main__ import run_trials
from tools.sweep.search import Search
from tools.sweep.storage import Store
from tools.sweep.study import ATTEMPTS, CUT_SHORT, KILLED, STATES, Outcome, Report, Study, Trial

PNG = b"\x89PNG\r\n\x1a\n"


# Hydra's -m


def multirun(folder: Path, monkeypatch: pytest.MonkeyPatch, train: Callable[[Config], dict[str, Any]]) -> int:
    """Run three jobs of xor in this process, with something else instead of a training."""
    words = ["-m", "seed=0,1,2", "debug=smoke", f"hydra.sweep.dir={folder}"]
    monkeypatch.setattr(sys, "argv", ["apps.xor", *words])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("apps.xor.train.train", train)
    with pytest.raises(SystemExit) as ended:
        cli.main("xor", Config, "apps.xor.train")
    assert isinstance(ended.value.code, int)
    return ended.value.code


def write_metrics(config: Config) -> dict[str, Any]:
    metrics = {"status": "done", "test_accuracy": 0.5 + config.seed / 10}
    (Path(config.run_dir) / "metrics.json").write_text(json.dumps(metrics))
    return metrics


def table_of(folder: Path) -> list[tuple[str, ...]]:
    with open(folder / "sweep.csv") as file:
        return [
            (row["job"], row["status"], row["exit_status"], row["test_accuracy"])
            for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize(
    ("error", "status", "exit_status"),
    [
        (TrainingDiverged("the loss is nan"), "diverged", 4),
        (ZeroDivisionError("a"), "failed", 1),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_a_failed_job_does_not_hide_the_others_and_ctrl_c_ends_the_sweep(
    error: BaseException,
    status: str,
    exit_status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(config: Config) -> dict[str, Any]:
        if config.seed == 1:
            raise error
        return write_metrics(config)

    assert multirun(tmp_path, monkeypatch, train) == exit_status
    rows = [
        ("0", "done", "0", "0.5", "0 done 50.00% seed=0"),
        ("1", status, str(exit_status), "", f"1 {status} seed=1"),
        ("2", "done", "0", "0.7", "2 done 70.00% seed=2"),
    ][: 2 if exit_status == 130 else 3]
    assert table_of(tmp_path) == [row[:4] for row in rows]
    said = capsys.readouterr()
    table = [" ".join(line.split()) for line in said.out.splitlines()[-1 - len(rows) : -1]]
    assert table == [line for *_, line in rows]
    advice = f"repeat the command with hydra.sweep.dir={tmp_path} (jobs that have begun are refused)"
    assert (advice in said.err) == (exit_status == 130)
    assert ("Traceback" in said.err) == (exit_status == 1), "a defect keeps its traceback"


def test_a_second_sweep_into_a_folder_keeps_the_table_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert multirun(tmp_path, monkeypatch, write_metrics) == 0
    first = table_of(tmp_path)
    assert multirun(tmp_path, monkeypatch, write_metrics) == 0
    assert table_of(tmp_path) == first
    assert (tmp_path / "sweep_2.csv").exists()


# A plugin of Hydra that runs each job in a fork, of which this process sees only the files that it writes
LAUNCHER = """
import os
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus

class ForkingLauncher(BasicLauncher):
    def launch(self, job_overrides, initial_job_idx):
        for number, overrides in enumerate(job_overrides):
            if not (child := os.fork()):
                super().launch([overrides], initial_job_idx + number)
                os._exit(0)
            os.waitpid(child, 0)
        return [JobReturn(status=JobStatus.COMPLETED)]

target = {"_target_": "hydra_plugins.forking.ForkingLauncher"}
ConfigStore.instance().store(group="hydra/launcher", name="forking", node=target)
"""


def test_jobs_that_a_launcher_runs_elsewhere_are_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "forking.py").write_text(LAUNCHER)
    sweep = ["-m", "hydra/launcher=forking", "trainer.batch_size=4000,4", f"hydra.sweep.dir={tmp_path}/sweep"]
    result = subprocess.run(
        [sys.executable, "-m", "apps.xor", *sweep, "framework=numpy", "debug=smoke"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2, result.stderr
    assert table_of(tmp_path / "sweep") == [("0", "refused", "2", ""), ("1", "done", "0", "0.5")]
    assert result.stdout.endswith(f"table: {tmp_path}/sweep/sweep.csv\n")
    assert not list((tmp_path / "sweep").glob(".*"))


LAUNCHED = ["trainer.batch_size=4000,4", "framework=numpy", "debug=smoke"]


def launch(launcher: str, folder: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    words = ("-m", f"hydra/launcher={launcher}", *LAUNCHED, f"hydra.sweep.dir={folder}", *words)
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "apps.xor", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_hydras_launchers_give_the_same_table_and_exit_status(launcher: str, tmp_path: Path) -> None:
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.removesuffix('_local')}_launcher")
    result = launch(launcher, tmp_path / "sweep")
    assert result.returncode == 2, result.stderr
    assert table_of(tmp_path / "sweep") == [("0", "refused", "2", ""), ("1", "done", "0", "0.5")]
    table = [
        "  0  refused                 trainer.batch_size=4000",
        "  1  done            50.00%  trainer.batch_size=4",
    ]
    assert result.stdout.splitlines()[-3:] == [*table, f"table: {tmp_path}/sweep/sweep.csv"]


# Programs of SLURM that run the tasks of a job array at once, on this machine
SLURM = {
    "sbatch": """
cp "$1" "$(dirname "$0")/batch.sh"
export SLURM_ARRAY_JOB_ID=7 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
for task in 0 1; do
    SLURM_JOB_ID=7$task SLURM_ARRAY_TASK_ID=$task bash "$(dirname "$0")/batch.sh" > /dev/null 2>&1 &
done
echo Submitted batch job 7
""",
    "srun": """
while [ "${1#--}" != "$1" ]; do
    case $1 in --output|--error) shift ;; esac
    shift
done
exec "$@"
""",
    "sacct": "printf 'JobID|State|NodeList\\n7_0|RUNNING|here\\n7_1|RUNNING|here\\n'",
}


@pytest.mark.slow
def test_the_batch_file_for_slurm_asks_for_the_resources_and_runs_the_jobs(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    for name, text in SLURM.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    own = {"cpus_per_task": 2, "timeout_min": 30, "partition": "short", "mem_gb": 4}
    resources = [f"hydra.launcher.{key}={value}" for key, value in own.items()]
    result = launch("submitit_slurm", tmp_path / "sweep", *resources, path=str(tmp_path))
    assert result.returncode == 2, result.stderr
    assert table_of(tmp_path / "sweep") == [("0", "refused", "2", ""), ("1", "done", "0", "0.5")]
    lines = (tmp_path / "batch.sh").read_text().splitlines()
    options = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines if "#SBATCH" in line)
    wanted = {"array": "0-1%2", "cpus-per-task": "2", "time": "30", "partition": "short", "mem": "4GB"}
    assert {key: options.get(key) for key in wanted} == wanted
    assert options["output"].startswith(f"{tmp_path}/sweep/.submitit/")


@pytest.mark.slow
def test_a_launcher_that_cannot_run_says_so_in_a_line(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    if shutil.which("srun"):
        pytest.skip("this machine has SLURM")
    result = launch("submitit_slurm", tmp_path / "sweep")
    assert result.returncode == 1
    first, second = result.stderr.splitlines()
    assert second == "jobs that have not ended are not in the table"
    assert first.startswith('error: hydra/launcher=submitit_slurm failed: Could not detect "srun"')


# Studies


def search_of(**changes: Any) -> Search:
    values = {
        "app": "mnist_cnn",
        "objective": "validation_accuracy",
        "trials": 6,
        "seed": 3,
        "startup_trials": 2,
        "warmup_epochs": 0,
        "overrides": [],
        "ranges": {
            "optimizer.lr": {"kind": "log_uniform", "low": 1e-4, "high": 1.0},
            "model.hidden": {"kind": "choice", "values": [[8, 4], [4, 4]]},
            "data.shift": {"kind": "int", "low": 0, "high": 8},
        },
    }
    return Search.model_validate(values | changes)


def pretend_training(trial: Trial, report: Report) -> Outcome:
    """Report two epochs of a training for which a learning rate of 0.01 is best."""
    value = 0.9 - 0.1 * abs(float(np.log10(trial.params["optimizer.lr"])) + 2)
    pruned = any(report(epoch, value * epoch / 2) for epoch in (1, 2))
    return ("pruned", "", None) if pruned else ("done", "", 2)


def params_of(study: Study) -> list[Any]:
    return [(one.params, one.status, one.value) for one in study.trials() if one.status != CUT_SHORT]


def finish(study: Study, trials: int = 6) -> list[Any]:
    while study.count_finished() < trials:
        study.run(pretend_training)
    return params_of(study)


def test_an_interrupted_study_proposes_the_same_values(tmp_path: Path) -> None:
    """Interrupted once and killed once: what was cut short is tried again, with its number and values."""
    interrupted: list[Any] = []
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = finish(Study(tmp_path / "whole", search_of(), new=True))
    assert {status for _, status, _ in whole} == {"done", "pruned"}
    study = Study(tmp_path / "parts", search_of(), new=True)
    for _ in range(3):
        study.run(pretend_training)

    def ctrl_c(trial: Trial, report: Report) -> Outcome:
        interrupted.append(trial.params)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(ctrl_c)
    assert study.count_unfinished() == 1

    def killed(trial: Trial, report: Report) -> Outcome:
        interrupted.append(trial.params)
        study._requeue = lambda *_, **__: None  # type: ignore[method-assign]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(killed)
    again = Study(tmp_path / "parts", search_of(), new=False)
    assert finish(again) == whole
    assert interrupted == [whole[3][0]] * 2
    other = finish(Study(tmp_path, search_of(seed=4), new=True), trials=1)
    assert other[0] != whole[0]


def test_a_failed_or_diverged_trial_is_recorded_and_never_the_best(tmp_path: Path) -> None:
    study = Study(tmp_path, search_of(), new=True)
    study.run(lambda trial, report: ("failed", "exit status -9: out of memory", None))
    study.run(lambda trial, report: ("diverged" if not report(1, 0.99) else "", "the loss is nan", None))
    assert study.best() is None
    best = study.run(lambda trial, report: ("done" if not report(1, 0.5) else "", "", 1))
    assert best is not None
    assert study.best() == best
    assert [one.status for one in study.trials()] == ["failed", "diverged", "done"]
    assert study.count_finished() == 3
    results.write_tables(study)
    with open(tmp_path / "study.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["value"] for row in rows] == ["", "0.99", "0.5"]
    assert rows[2]["optimizer.lr"] == str(best.params["optimizer.lr"])
    content = json.loads((tmp_path / "study.json").read_text())
    assert content["best"] == 2
    assert content["records"][0]["note"] == "exit status -9: out of memory"
    results.write_chart(study)
    assert (tmp_path / "study.png").read_bytes().startswith(PNG)


def test_the_lowest_loss_is_the_best(tmp_path: Path) -> None:
    study = Study(tmp_path, search_of(objective="train_loss"), new=True)
    losses = iter([0.3, 0.1, 0.2])
    for _ in range(3):
        study.run(lambda trial, report: ("" if report(1, next(losses)) else "done", "", 1))
    best = study.best()
    assert best is not None
    assert best.value == 0.1


@pytest.mark.parametrize("content", [b"no database" * 100, b""])
def test_a_store_that_is_damaged_or_empty_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(ConfigError, match=r"study\.db cannot be used as a"):
        Study(tmp_path, search_of(), new=False)


# One training of a study

SCRIPT = """
import sys, time
from pathlib import Path
folder, epochs, status = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
folder.mkdir(parents=True)
(folder / "checkpoint_1.safetensors").write_text("")
text = "epoch,train_loss,validation_accuracy\\n"
for epoch in range(1, epochs + 1):
    text += f"{epoch},0.5,{epoch / 10}\\n"
    (folder / "new").write_text(text)
    (folder / "new").rename(folder / "history.csv")
time.sleep(100 * (status == 99))
sys.exit(status)
"""


def follow_script(
    folder: Path, epochs: int, status: int, stop: Callable[[trial.Row], bool]
) -> tuple[int | None, list[float]]:
    rows: list[float] = []

    def stop_after(row: trial.Row) -> bool:
        rows.append(row["validation_accuracy"])
        return stop(row)

    words = [sys.executable, "-S", "-c", SCRIPT, str(folder / "run"), str(epochs), str(status)]
    with open(folder / "log.txt", "wb") as log:
        return trial.follow(words, folder / "run", log, stop_after), rows


@pytest.mark.parametrize("status", [0, 4])
def test_every_epoch_is_reported_once_and_the_end_as_well(status: int, tmp_path: Path) -> None:
    assert follow_script(tmp_path, 3, status, lambda row: False) == (status, [0.1, 0.2, 0.3])


@pytest.mark.parametrize("status", [0, 99])
def test_rows_decide_even_if_the_training_has_gone_further(status: int, tmp_path: Path) -> None:
    start = time.monotonic()
    assert follow_script(tmp_path, 3, status, lambda row: row["epoch"] == 2) == (None, [0.1, 0.2])
    assert time.monotonic() - start < 60, "it was not waited for"
    assert not list((tmp_path / "run").glob("checkpoint_*"))


# Several workers


# Trials of xor that take a second
QUICK = ["app=xor", "framework=numpy", "trainer.epochs=2", "data.repeats=20"]


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []  # it has just ended


def start_sweep(*words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tools.sweep", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def assert_complete(folder: Path, trials: int) -> None:
    """Check that all trials were done, each once, and no two with the same values."""
    records = json.loads((folder / "study.json").read_text())["records"]
    assert [one["number"] for one in records] == list(range(trials))
    assert {one["status"] for one in records} <= {"done", "pruned"}, records
    assert len({json.dumps(one["params"]) for one in records}) == trials
    assert sorted(int(path.name) for path in folder.glob("trials/*/")) == list(range(trials))
    for one in records:
        losses = [row["train_loss"] for row in read_rows(folder / one["run"])]
        assert one["status"] == "pruned" or losses[-1] == one["value"]
        assert one["status"] == "pruned" or read_status(folder / one["run"]) == "done"


def kill_at_random(sweep: subprocess.Popen[str], kills: int, random: np.random.Generator) -> None:
    """Kill workers and trainings; a worker leaves its training behind. SIGTERM leaves a checkpoint."""
    for _ in range(kills):
        time.sleep(random.uniform(0.5, 4))
        while not (found := [pid for pid in children(sweep.pid) if children(pid)]):
            assert sweep.poll() is None, sweep.communicate()
        pid, how = int(random.choice(found)), signal.SIGKILL
        if random.random() < 0.3 and (trainings := children(pid)):
            pid, how = trainings[0], (signal.SIGKILL, signal.SIGTERM)[random.integers(2)]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, int(how))


def shared_study(tmp_path: Path, number: int, storage: str, trials: int = 6) -> Study:
    """Return the study of a machine that shares a storage."""
    folder = tmp_path / f"machine_{number}"
    folder.mkdir(exist_ok=True)
    return Study(folder, search_of(trials=trials), new=True, shared=Store(storage))


def test_a_lost_trial_is_taken_over_before_new_ones_are_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (shared_study(tmp_path, number, f"{tmp_path}/study.log") for number in (1, 2))
    now = 1000.0
    monkeypatch.setattr("tools.sweep.study.time.monotonic", lambda: now)

    def lost(trial: Trial, report: Report) -> Outcome:
        monkeypatch.setattr(first, "_requeue", lambda *_, **__: None)
        raise KeyboardInterrupt

    def long_training(trial: Trial, report: Report) -> Outcome:
        nonlocal now
        for _ in range(7):
            now += 11
            second.beat()
        return pretend_training(trial, report)

    with pytest.raises(KeyboardInterrupt):
        first.run(lost)
    finished = [second.run(train) for train in (long_training, pretend_training, pretend_training)]
    assert [trial.number for trial in finished if trial] == [1, 0, 2]


@pytest.mark.parametrize("exponent", [-3.5, -0.5])
def test_workers_learn_from_each_others_trials(exponent: float, tmp_path: Path) -> None:
    """Three workers train at the same time. A fourth, which has not, proposes what they found good.

    If their trials fail, it draws with the same seeds, but from the whole range of four decades.
    """

    def distances_of_fourth(status: str) -> list[float]:
        folder, distances = tmp_path / status, []
        folder.mkdir()
        *three, fourth = (shared_study(folder, number, f"{folder}/study.log", 30) for number in range(4))

        def train(trial: Trial, report: Report) -> Outcome:
            distances.append(abs(float(np.log10(trial.params["optimizer.lr"])) - exponent))
            report(1, 1 - distances[-1] / 10)
            return status, "", 1 if status == "done" else None

        def train_at_the_same_time(studies: Sequence[Study]) -> None:
            def train_with_the_others(trial: Trial, report: Report) -> Outcome:
                train_at_the_same_time(studies[1:])
                return train(trial, report)

            if studies:
                studies[0].run(train_with_the_others)

        for _ in range(6):
            train_at_the_same_time(three)
        for _ in range(5):
            fourth.run(train)
        assert len(distances) == 23
        return distances[18:]

    informed, uninformed = (float(np.median(distances_of_fourth(one))) for one in ("done", "failed"))
    assert informed < 0.5 < uninformed


def test_ctrl_c_does_not_wait_long_for_a_storage_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(study: Study, jobs: int) -> int:
        def breaks(*_: Any, **__: Any) -> Any:
            raise OperationalError("SELECT 1", {}, RuntimeError("the server is gone"))

        monkeypatch.setattr(study._study, "get_trials", breaks)
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "run_trials", interrupted)
    monkeypatch.setattr("tools.sweep.study.LAST_PATIENCE", 0.2)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_trials(tmp_path, search_of(), True, 1, None)
    assert time.monotonic() - start < 30, "seconds; without Ctrl-C, it is tried again for 300"


@pytest.mark.parametrize("storage", ["sqlite:///{}/study.db", "{}/study.log"])
def test_machines_share_a_study_and_continue_each_others_trials(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (shared_study(tmp_path, number, storage.format(tmp_path)) for number in (1, 2))
    started: list[Trial] = []

    def dies(trial: Trial, report: Report) -> Outcome:
        started.append(trial)
        monkeypatch.setattr(first, "_requeue", lambda *_, **__: None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(dies)
    for _ in range(5):
        assert second.run(pretend_training) is not None
    assert second.run(pretend_training) is None, "the sixth is running"
    assert second.count_unfinished() == 1
    clock = iter(np.arange(0.0, 1000.0, 5.0))
    monkeypatch.setattr("tools.sweep.study.time.monotonic", lambda: float(next(clock)))
    while second.count_unfinished() and (waited := next(clock)) < 55:
        second.requeue_silent()
        assert second.run(pretend_training) is None, f"not dead after {waited} seconds"
    while (sixth := second.run(pretend_training)) is None:
        second.requeue_silent()
    assert (sixth.number, sixth.params) == (started[0].number, started[0].params)
    assert second.count_finished() == 6
    assert len({str(trial.params) for trial in second.trials()}) == 6
    numbered = first._study.get_trials()[sixth.number]
    first._store.retry(lambda: first._finish(numbered._trial_id, "failed", "", None))  # it was only asleep
    first._trial_id = numbered._trial_id
    first.beat()
    assert params_of(first) == params_of(second)


def test_a_beat_keeps_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (shared_study(tmp_path, number, f"{tmp_path}/log", trials=1) for number in (1, 2))
    now = 0.0
    monkeypatch.setattr("tools.sweep.study.time.monotonic", lambda: now)

    def train(trial: Trial, report: Report) -> Outcome:
        nonlocal now
        for _ in range(30):
            now += 5
            first.beat()
            second.requeue_silent()
            assert second.run(pretend_training) is None
        return pretend_training(trial, report)

    assert first.run(train) is not None
    assert second.count_finished() == 1


def test_another_search_of_the_same_name_is_refused(tmp_path: Path) -> None:
    shared_study(tmp_path, 1, f"{tmp_path}/log")
    with pytest.raises(
        ConfigError, match=r"has another study mnist_cnn: seed=4 \(there 3\); give another name"
    ):
        Study(tmp_path, search_of(seed=4), new=True, shared=Store(f"{tmp_path}/log"))
    assert Study(tmp_path, search_of(seed=4, study="other"), new=True, shared=Store(f"{tmp_path}/log"))


def test_a_trial_whose_training_is_always_killed_fails_in_the_end(tmp_path: Path) -> None:
    study = Study(tmp_path, search_of(trials=1), new=True)
    attempts = 0

    def train(trial: Trial, report: Report) -> Outcome:
        nonlocal attempts
        attempts += 1
        return KILLED, "exit status -9: ", None

    while study.run(train):
        pass
    assert attempts == ATTEMPTS
    (trial,) = study.trials()
    assert (trial.status, trial.note) == ("failed", f"killed {ATTEMPTS} times")


def test_a_terminated_training_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit status is that of Ctrl-C, which reaches no training."""
    monkeypatch.setattr("tools.sweep.trial.follow", lambda *_: INTERRUPTED_STATUS)
    ranges = {"optimizer.lr": {"kind": "log_uniform", "low": 1e-4, "high": 1.0}}
    study = Study(tmp_path, search_of(trials=1, ranges=ranges), new=True)
    trainer = trial.TrialTrainer(tmp_path, study.search)
    study.run(trainer.train)
    assert [one.status for one in study.trials()] == ["waiting"]
    assert trainer.exit_status == SuiteError.status


SECRET = "p%40ss/w%C3%B6rd"
SECRET_FORMS = (SECRET, "p@ss/wörd", "p%40ss%2Fw%C3%B6rd")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@127.0.0.1:1/studies",
        f"postgresql://127.0.0.1:1/studies?user=me&password={SECRET}",
        f"postgresql://me:{SECRET}@127.0.0.1:port/studies",
        f"mysql://me:{SECRET}@127.0.0.1/studies",
    ],
)
def test_no_password_is_printed_or_written(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.sweep.study.FIRST_PATIENCE", 1.0)
    status = sweep_main(["app=xor", f"storage={url}", f"out={tmp_path}/study"])
    said = capfd.readouterr()
    assert status == 2
    text = said.out + said.err + "".join(path.read_text() for path in tmp_path.rglob("*.*"))
    assert not [form for form in SECRET_FORMS if form in text], text
    with pytest.raises(SystemExit):
        sweep_main([f"--storage={url}"])
    assert "give a URL as storage=URL" in (error := capfd.readouterr().err)
    assert not [form for form in SECRET_FORMS if form in error], error
    assert 0 < len(said.err.splitlines()) <= 2
    if ":1/" in url and find_spec("psycopg"):
        assert said.out.startswith("warning: postgresql://")
        assert "127.0.0.1:1/studies has not answered for 1 s: " in said.err


def test_a_storage_that_fails_for_a_while_is_tried_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store, failures = Store(f"{tmp_path}/log"), 2

    def action() -> str:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OperationalError("SELECT 1", {}, RuntimeError("the server is starting"))
        return "an answer"

    assert store.retry(action, patience=1) == "an answer"
    line = f"warning: {tmp_path}/log does not answer: the server is starting; trying again\n"
    assert capfd.readouterr().out == line
    failures = 100
    with pytest.raises(ConfigError, match="has not answered for 1 s: the server is starting"):
        store.retry(action, patience=1)


@pytest.mark.slow
def test_a_training_that_a_killed_study_left_behind_is_not_repeated(tmp_path: Path) -> None:
    sweep = start_sweep(*QUICK, "trials=1", f"out={tmp_path}")
    while not (trainings := children(sweep.pid)):
        assert sweep.poll() is None, sweep.communicate()
    os.kill(sweep.pid, signal.SIGKILL)
    assert Path(f"/proc/{trainings[0]}").exists()
    result = run_sweep(f"resume={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert_complete(tmp_path, 1)
    assert (tmp_path / "trials" / "0.txt").read_text().count("run folder: ") == 1


@pytest.mark.slow
def test_workers_killed_at_random_lose_no_trial_and_repeat_none(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    sweep = start_sweep(*QUICK, "trials=100", "jobs=4", f"out={tmp_path}/study")
    kill_at_random(sweep, 10, random)
    sweep.kill()
    sweep.communicate()  # the workers notice that, and end
    again = start_sweep(f"resume={tmp_path}/study", "jobs=4")
    kill_at_random(again, 9, random)
    output, _ = again.communicate()
    assert again.returncode == 0, output
    assert_complete(tmp_path / "study", 100)


class Postgres:
    """A PostgreSQL server on loopback, in a temporary folder, as a user that is not root."""

    password = "p@ss/wörd"

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder, self.port = programs, folder, free_port()
        self.user = "nobody" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(folder, self.user)
        (folder / "password").write_text(f"{self.password}\n")
        words = ["-U", "me", "-A", "scram-sha-256", f"--pwfile={folder}/password", "-E", "UTF8"]
        self.call("initdb", "-D", f"{folder}/data", *words)
        self.start()

    def call(self, program: str, *words: str) -> None:
        command = [str(self.programs / program), *words]
        # Not through pipes: the server that pg_ctl starts would keep them open.
        with open(self.folder.parent / "postgres.txt", "ab") as log:
            subprocess.run(command, user=self.user, cwd="/", stdout=log, stderr=log, check=True)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self.call("pg_ctl", "-D", f"{self.folder}/data", "-o", options, "-w", "start")

    def stop(self) -> None:
        self.call("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")

    @property
    def url(self) -> str:
        return f"postgresql://me:{quote(self.password, safe='')}@127.0.0.1:{self.port}/postgres"


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: make install extra=tools")
    found = [*Path("/usr/lib/postgresql").glob("*/bin"), Path(shutil.which("initdb") or "").parent]
    programs = [path for path in found if (path / "initdb").exists()]
    if not programs:
        pytest.skip("PostgreSQL's initdb was not found: apt-get install postgresql")
    with tempfile.TemporaryDirectory() as folder:  # pytest's folders can only be entered by root
        os.chmod(folder, 0o755)
        (Path(folder) / "postgres").mkdir()
        server = Postgres(programs[0], Path(folder) / "postgres")
        yield server
        server.stop()


@pytest.mark.slow
def test_machines_share_a_study_in_postgresql_that_restarts(postgres: Postgres, tmp_path: Path) -> None:
    words = [*QUICK, "trials=16", "jobs=2", f"storage={postgres.url}"]
    sweeps = [start_sweep(*words, f"out={tmp_path}/{number}") for number in (1, 2)]
    for one in sweeps:
        kill_at_random(one, 2, np.random.default_rng(1))
    postgres.stop()
    time.sleep(5)
    postgres.start()
    outputs = [one.communicate()[0] for one in sweeps]
    assert [one.returncode for one in sweeps] == [0, 0], "\n".join(outputs)
    assert "".join(outputs).count("does not answer: ") >= 1
    records = [json.loads((tmp_path / name / "study.json").read_text())["records"] for name in "12"]
    assert records[0] == records[1]
    assert [one["number"] for one in records[0]] == list(range(16))
    assert {one["status"] for one in records[0]} <= {"done", "pruned"}
    assert len({json.dumps(one["params"]) for one in records[0]}) == 16
    counts = [len(list((tmp_path / name / "trials").glob("*/"))) for name in "12"]
    assert min(counts) > 0, "both machines worked"
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for form in SECRET_FORMS:
        assert form.encode() not in written + "".join(outputs).encode()


# Ranges and the command line


@pytest.mark.parametrize(
    ("app", "words"),
    [
        *[(app, []) for app in search.searchable_apps()],
        *[("imdb_rnn", [f"model={model}"]) for model in ("bilstm", "rnn", "bow")],
    ],
)
def test_the_ranges_of_every_application_are_valid(app: str, words: list[str]) -> None:
    found = search.load_search(app, CONF / "sweep" / f"{app}.yaml", words)
    search.check_search(found)
    assert not any("test" in key for key in found.ranges)


WRONG_RANGES = {
    "optimizer.lr: {kind: uniform, low: 2, high: 1}": "optimizer.lr: low=2.0 must be below high=1",
    "optimizer.lr: {kind: log_uniform, low: 0, high: 1}": "greater than 0",
    "optimizer.lr: {kind: uniform, low: -1, high: 1}": "ranges.optimizer.lr: optimizer.lr should",
    "optimizr.lr: {kind: uniform, low: 0.1, high: 1}": "unknown key 'optimizr.lr' (did you mean",
    "optimizer.lr: {kind: normal, low: 0, high: 1}": "kind",
    "optimizer.lr: {kind: uniform, low: 0.1}": "high is missing",
    "model.hidden: {kind: choice, values: [8, 8]}": "a value is listed twice",
    "model.hidden: {kind: choice, values: [8, wide]}": "ranges.model.hidden: model.hidden should",
    "": "has no ranges",
    "a: [": "cannot be read",
}


@pytest.mark.parametrize("line", WRONG_RANGES)
def test_wrong_ranges_are_explained(line: str, tmp_path: Path, forks: Forks) -> None:
    path = tmp_path / "ranges.yaml"
    own = OmegaConf.to_container(OmegaConf.load(CONF / "sweep" / "xor.yaml"))
    assert isinstance(own, dict)
    del own["ranges"]
    path.write_text(OmegaConf.to_yaml(own) + f"ranges:\n  {line}\n")
    result = forks.run("tools.sweep", "app=xor", f"ranges={path}", f"out={tmp_path}/study")
    assert result.returncode == 2
    assert WRONG_RANGES[line] in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) <= 2
    assert not (tmp_path / "study").exists()


WRONG_WORDS = {
    "": "say what to search: app=NAME, one of attention",
    "app=xr": "unknown application 'xr' (did you mean 'xor'?)",
    "app=xor trials=0": "trials should be a whole number, 1 or more",
    "app=xor optimizr=sgd": "unknown key 'optimizr' (did you mean 'optimizer'?)",
    "app=xor hydra.run.dir=x": "each trial has a folder of its own",
    "app=xor trainer.resume=latest": "each trial has a folder of its own",
    "app=xor trials=٣": "trials should be a whole number",
    "app=xor model.hidden=3 optimizer.lr=1 trainer.batch_size=1": "nothing to search",
    "app=xor out=/dev/null/x": "cannot create /dev/null/x: Not a directory",
    "app=xor out=tests": "tests is not empty; choose another folder with out=FOLDER",
    "app=imdb_rnn model=nbsvm": "bow); change or remove this range, or name another file with ranges=FILE",
    "app=xor ranges=nowhere.yaml": "nowhere.yaml cannot be read: ",
    "resume=tests": "tests is not the folder of a study: it has no search.yaml",
    "resume=a out=b": "give out= or resume=, not both",
    "app=xor nonsense": "cannot read 'nonsense': an override is KEY=VALUE",
}


APPS = {path.parent.name for path in ROOT.glob("apps/*/config.py")}
WRONG_WORDS |= {
    f"app={app}": f"app={app} has nothing to search: there is no conf/sweep/{app}.yaml"
    for app in APPS - set(search.searchable_apps())
}


@pytest.mark.parametrize("words", WRONG_WORDS)
def test_a_wrong_command_is_explained(words: str, forks: Forks) -> None:
    result = forks.run("tools.sweep", *words.split())
    assert result.returncode == 2
    assert WRONG_WORDS[words] in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_help_lists_the_default_ranges(forks: Forks) -> None:
    result = forks.run("tools.sweep", "--help")
    assert result.returncode == 0
    assert "xor: optimizer.lr, model.hidden, trainer.batch_size" in result.stdout


def test_resuming_with_another_search_is_refused(tmp_path: Path, forks: Forks) -> None:
    before = search.load_search("xor", CONF / "sweep" / "xor.yaml", ["seed=1"])
    (tmp_path / "search.yaml").write_text(OmegaConf.to_yaml(before.model_dump()))
    (tmp_path / "other.yaml").write_text(
        (CONF / "sweep" / "xor.yaml").read_text().replace("high: 8", "high: 9")
    )
    for words, said in (
        (["seed=1", f"ranges={tmp_path}/other.yaml"], "ranges.model.hidden.high=9 (there 8)"),
        (["seed=2"], "overrides="),
        (["app=mnist_cnn"], "app=mnist_cnn (there xor)"),
    ):
        result = forks.run("tools.sweep", f"resume={tmp_path}", *words)
        assert result.returncode == 2
        assert "cannot be resumed with another search: " in result.stderr
        assert said in result.stderr
    (tmp_path / "search.yaml").write_text("app: [")
    result = forks.run("tools.sweep", f"resume={tmp_path}")
    assert result.returncode == 2
    assert "search.yaml cannot be read: " in result.stderr


# The whole, with trainings


def test_a_study_is_not_resumed_while_it_is_going_on(tmp_path: Path, forks: Forks) -> None:
    left = search_of(overrides=["model=mlp"])
    (tmp_path / "search.yaml").write_text(OmegaConf.to_yaml(left.model_dump()))
    held = lock_folder(tmp_path)
    result = forks.run("tools.sweep", f"resume={tmp_path}")
    assert result.returncode == 2
    assert result.stderr == f"error: {tmp_path}: this study is going on in another process\n"
    os.close(held)


def run_sweep(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.sweep", *words], cwd=ROOT, capture_output=True, text=True
    )


def ended_trials(folder: Path) -> list[tuple[str, str, str]]:
    with open(folder / "study.csv") as file:
        return [
            (row["status"], row["value"], row["optimizer.lr"])
            for row in csv.DictReader(file)
            if row["status"] in STATES
        ]


@pytest.mark.slow
def test_a_study_interrupted_and_resumed_is_the_same_and_gives_the_best_command(tmp_path: Path) -> None:
    whole = run_sweep(*QUICK, "trials=3", f"out={tmp_path}/whole")
    assert whole.returncode == 0, whole.stderr
    assert "Train with these values:" in whole.stdout
    assert "test set" not in whole.stdout, "that of xor is its training set"
    python, flag, module, *words = shlex.split(whole.stdout.splitlines()[-1])
    assert (python, flag, module) == (PYTHON, "-m", "apps.xor")
    content = json.loads((tmp_path / "whole" / "study.json").read_text())
    params = content["records"][content["best"]]["params"]
    values = compose("xor", tuple(words))
    assert values["optimizer"]["lr"] == params["optimizer.lr"]
    assert values["model"]["hidden"] == params["model.hidden"]
    for row in content["records"]:
        losses = [one["train_loss"] for one in read_rows(tmp_path / "whole" / row["run"])]
        assert row["status"] != "done" or losses[-1] == row["value"]

    command = [sys.executable, "-m", "tools.sweep", *QUICK, "trials=3", f"out={tmp_path}/parts"]
    quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=pipe, text=True)
    while not (tmp_path / "parts" / "trials" / "1.txt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    message = process.communicate()[1]
    assert process.returncode == 130
    assert message.startswith(f"interrupted: resume with: {PYTHON} -m tools.sweep resume=")
    assert len(ended_trials(tmp_path / "parts")) == 1
    assert (tmp_path / "parts" / "study.png").exists()
    (resume_word,) = shlex.split(message)[-1:]
    assert run_sweep(resume_word).returncode == 0
    assert ended_trials(tmp_path / "parts") == ended_trials(tmp_path / "whole")
    assert run_sweep(resume_word, "trials=4").returncode == 0
    assert len(ended_trials(tmp_path / "parts")) == 4


@pytest.mark.slow
def test_with_early_stopping_the_restored_epoch_counts(tmp_path: Path) -> None:
    words = ["app=mnist_cnn", "framework=numpy", "model=mlp", "data=digits", "optimizer.lr=0.02"]
    stopping = ["trainer.patience=1", "trainer.epochs=40", "trials=1"]
    result = run_sweep(*words, *stopping, f"out={tmp_path}/study")
    assert result.returncode == 0, result.stderr
    (trial,) = json.loads((tmp_path / "study" / "study.json").read_text())["records"]
    rows = read_rows(tmp_path / "study" / trial["run"])
    losses = [row["validation_loss"] for row in rows]
    best = losses.index(min(losses))
    assert best < len(rows) - 1 < 39, "it stopped after the best epoch"
    assert rows[best]["validation_accuracy"] != rows[-1]["validation_accuracy"], "else nothing is tested"
    assert trial["value"] == rows[best]["validation_accuracy"]


@pytest.mark.slow
def test_a_study_without_a_good_trial_ends_with_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_sweep(
        "app=mnist_cnn", "data=digits", "trainer.batch_size=4000", "trials=2", f"out={tmp_path}/a"
    )
    assert result.returncode == 2
    assert result.stdout.count("larger than the training set") == 2
    assert "no trial ended well" in result.stdout
    monkeypatch.setenv("DATA_ARCHIVES", "")
    no_data = ["data.fallback=null", f"data.root={tmp_path}", "data.download=false"]
    result = run_sweep("app=mnist_cnn", f"out={tmp_path}/b", *no_data)
    assert result.returncode == 3
    assert len(result.stderr.splitlines()) <= 2
