"""The run folder: one run, complete files, and a status however the run ends."""

import errno
import itertools
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from shared.errors import ConfigError, Interrupted, LostProcess, TrainingDiverged
from shared.runs import folder
from shared.runs.folder import RunFolder
from tests.helpers import mnist_config


def test_config_yaml_holds_the_whole_configuration(tmp_path: Path) -> None:
    config = mnist_config(tmp_path / "run", "optimizer.lr=0.25")
    run = RunFolder.open(config)
    assert OmegaConf.load(run.path / "config.yaml") == config.model_dump()


def test_a_named_folder_holds_one_run(tmp_path: Path) -> None:
    config = mnist_config(tmp_path / "mine")
    RunFolder.open(config)
    with pytest.raises(ConfigError, match=r"holds a run; .*hydra\.sweep\.dir=PATH"):
        RunFolder.open(config)


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    config = mnist_config(tmp_path / "2026-01-31_12-00-00")
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: RunFolder.open(config), range(8)))
    assert len({run.path for run in runs}) == 8
    for run in runs:
        assert OmegaConf.load(run.path / "config.yaml").run_dir == str(run.path)


def test_a_disk_that_is_full_from_the_start_does_not_block_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_atomically", full)
        with pytest.raises(ConfigError, match="No space left on device"):
            RunFolder.open(mnist_config(tmp_path / "run"))
    assert not list((tmp_path / "run").iterdir())
    RunFolder.open(mnist_config(tmp_path / "run"))


def test_a_folder_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*Not a directory.*hydra\.run\.dir=PATH"):
        RunFolder.open(mnist_config(tmp_path / "file" / "run"))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TrainingDiverged("the loss is nan"), "diverged"),
        (Interrupted("after step 3"), "interrupted"),
        (ZeroDivisionError("a defect"), "failed"),
        (LostProcess("another process"), "interrupted"),
    ],
)
def test_the_status_says_how_a_run_ended(error: BaseException, status: str, tmp_path: Path) -> None:
    run = RunFolder.open(mnist_config(tmp_path))
    run.metrics["seed"] = 3
    with pytest.raises(type(error)), run.session():
        raise error
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == {"seed": 3, "status": status, "error": str(error)}


@pytest.mark.parametrize("steps", [None, 7])
def test_ctrl_c_saves_and_says_how_far_the_run_was(steps: int | None, tmp_path: Path) -> None:
    run = RunFolder.open(mnist_config(tmp_path))
    kept: list[str] = []
    run.on_interrupt = lambda: kept.append("a checkpoint")
    run.metrics |= {"steps": steps} if steps else {}
    with pytest.raises(Interrupted) as interrupt, run.session():
        raise KeyboardInterrupt
    assert str(interrupt.value) == ("after step 7" if steps else "before the first step")
    assert interrupt.value.folder == tmp_path
    assert kept == ["a checkpoint"]
    assert json.loads((tmp_path / "metrics.json").read_text())["status"] == "interrupted"


def test_a_second_ctrl_c_loses_the_checkpoint_only(tmp_path: Path) -> None:
    run = RunFolder.open(mnist_config(tmp_path))

    def keep() -> None:
        raise KeyboardInterrupt

    run.on_interrupt = keep
    run.metrics["steps"] = 7
    with pytest.raises(Interrupted) as second, run.session():
        raise KeyboardInterrupt
    assert str(second.value) == "after step 7, without a checkpoint"
    assert second.value.folder == tmp_path


def stopped_inside(run: RunFolder, steps: int) -> None:
    """Press Ctrl-C in a training in a subfolder after `steps` steps; with 0, outside of it."""
    with run.session():
        inner = run.subfolder("trainings/third", mnist_config(run.path))
        if not steps:
            raise KeyboardInterrupt
        with inner.session():
            inner.metrics["steps"] = steps
            raise KeyboardInterrupt


def test_ctrl_c_in_a_subfolder_names_its_training(tmp_path: Path) -> None:
    run = RunFolder.open(mnist_config(tmp_path))
    with pytest.raises(Interrupted, match=r"^after step 7 of third$") as interrupt:
        stopped_inside(run, 7)
    assert interrupt.value.folder == tmp_path
    again = RunFolder.open(mnist_config(tmp_path, f"trainer.resume={tmp_path}"))
    with pytest.raises(Interrupted, match=r"^between training runs$"):
        stopped_inside(again, 0)


@pytest.mark.parametrize("name", ["write_metrics", "write_rows"])
def test_ctrl_c_while_results_are_written_can_be_resumed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.open(mnist_config(tmp_path))
    run.metrics["steps"] = 7
    write = getattr(RunFolder, name)
    calls = itertools.count()

    def interrupted(*given: Any) -> None:
        if next(calls) == 0:
            raise KeyboardInterrupt
        write(*given)

    monkeypatch.setattr(RunFolder, name, interrupted)
    with pytest.raises(Interrupted, match=r"^after step 7$"), run.session():
        run.write_rows("steps.csv")
    assert json.loads((tmp_path / "metrics.json").read_text())["status"] == "interrupted"


def test_metrics_hold_plain_finite_numbers(tmp_path: Path) -> None:
    run = RunFolder.open(mnist_config(tmp_path))
    with run.session():
        run.metrics["test_accuracy"] = np.float64(0.5)
        run.metrics["test_examples"] = np.int64(7)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == {"test_accuracy": 0.5, "test_examples": 7, "status": "done"}
    run.metrics["test_loss"] = math.nan
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_metrics()


def test_rows_are_written_below_one_header(tmp_path: Path) -> None:
    run = RunFolder.open(mnist_config(tmp_path))
    run.write_rows("history.csv")
    assert not (tmp_path / "history.csv").exists()
    run.add_row("history.csv", {"epoch": 1, "loss": 0.5})
    run.write_rows("history.csv")
    run.add_row("history.csv", {"epoch": 2, "loss": 0.25})
    run.write_rows("history.csv")
    assert (tmp_path / "history.csv").read_text() == "epoch,loss\n1,0.5\n2,0.25\n"
