"""Killed without a warning, at random points and while a checkpoint is written: no bit is lost."""

import csv
import multiprocessing
import os
import re
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest

from tests.training import dying

KILLS = {"numpy": 30, "torch": 24, "keras": 8}
STEPS = 6  # to a kill at most, and then
SECONDS = 0.01  # at most, in which a fast machine takes
MORE_STEPS = 14
BATCHES = 4  # an epoch
GOING_ON = re.compile(r"resuming after step ([\d,]+) of")


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """What starts a process that has imported the frameworks already."""
    context = multiprocessing.get_context("forkserver")
    learners = [f"shared.training.{name}_learner" for name in KILLS]
    context.set_forkserver_preload(
        ["shared.parity", "shared.training.keras_quiet", *learners, "tests.training.dying"]
    )
    return context


def overrides_of(framework: str) -> list[str]:
    epochs = -(-KILLS[framework] * (STEPS + MORE_STEPS) // BATCHES)  # more than all kills need
    return [
        f"framework={framework}",
        "data.train_limit=226",
        "data.test_limit=60",
        "data.shift=1",
        "model=cnn",
        "model.channels=[2,3]",
        "model.hidden=8",
        f"trainer.epochs={epochs}",
        "trainer.batch_size=50",
        "trainer.threads=1",
    ]


def random_point(random: np.random.Generator, number: int) -> tuple[str, str]:
    """Return where to die, every other time while a checkpoint is written, and how often one is."""
    count = random.integers(1, STEPS + 1)
    if number % 2:
        return f"{random.choice(list(dying.PLACES))}:{count}", "trainer.checkpoint_seconds=0"
    seconds = random.uniform(0, SECONDS)
    return f"step:{count}:{seconds:.4f}", f"trainer.checkpoint_seconds={seconds:.4f}"


def without_seconds(path: Path) -> list[dict[str, str]]:
    with open(path) as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("framework", KILLS)
def test_no_kill_changes_a_bit(framework: str, processes: ForkServerContext, tmp_path: Path) -> None:
    whole, run_dir, output = tmp_path / "whole", tmp_path / "run", tmp_path / "output"

    def train(folder: Path, *words: str, where: str | None = None) -> tuple[int | None, str]:
        arguments = ([*overrides_of(framework), *words], folder, output, where)
        process = processes.Process(target=dying.training, args=arguments)
        process.start()
        process.join()
        return process.exitcode, output.read_text()

    assert train(whole)[0] == 0
    random = np.random.default_rng(KILLS[framework])
    resume: list[str] = []
    last = 0
    for number in range(KILLS[framework]):
        kept = sorted(run_dir.glob("checkpoint_*"))
        where, often = random_point(random, number)
        status, said = train(run_dir, often, *resume, where=where)
        assert status == -signal.SIGKILL, f"{where}: {said}"
        resume = [f"trainer.resume={run_dir}"]
        assert "damaged" not in said
        if kept:
            begun = GOING_ON.search(said)
            assert begun, said
            step = int(begun[1].replace(",", ""))
            assert step == int(kept[-1].name.split("_")[1]), "nothing but the steps since it"
            assert step >= last
            last = step
    assert last > 0
    status, said = train(run_dir, *resume)
    assert status == 0, said
    assert GOING_ON.search(said)
    for name in ("weights.safetensors", "steps.csv", "confusion.png"):
        assert (run_dir / name).read_bytes() == (whole / name).read_bytes(), name
    assert without_seconds(run_dir / "history.csv") == without_seconds(whole / "history.csv")
    assert sorted(os.listdir(run_dir)) == sorted(os.listdir(whole)), "nothing half-written"


def test_there_are_enough_kills() -> None:
    assert sum(KILLS.values()) >= 50
