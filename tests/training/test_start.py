"""Training imports no more than it needs, and optimizers without torch's compiler take the same steps."""

import gc
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shared.runs.environment import ROOT
from shared.training.frameworks import undisturbed_import
from shared.training.torch_learner import build_optimizer, without_compiler
from tests.helpers import app_config

OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adagrad", "adam", "adamw")
UNNEEDED = {
    "torch": ("torch._dynamo", "triton"),
    "keras": ("sklearn", "matplotlib", "scipy", "IPython", "torch"),
}
# The real write_charts, after the steps, imports matplotlib.
PROGRAM = """
import gc, sys
from apps.xor import train as app
app.write_charts = lambda *_: print("imported:", *sorted({unneeded} & sys.modules.keys()))
from apps.xor.config import Config
from shared.compose import config_from_overrides
app.train(config_from_overrides("xor", Config, {overrides}))
import matplotlib, scipy, sklearn
print("garbage collection:", gc.isenabled())
"""


@pytest.mark.parametrize("framework", UNNEEDED)
def test_training_imports_no_more_than_it_needs(framework: str, tmp_path: Path) -> None:
    words = f"framework={framework} run_dir={tmp_path}/run trainer.max_steps=5 trainer.checkpoint_seconds=0"
    code = PROGRAM.format(unneeded=set(UNNEEDED[framework]), overrides=words.split())
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "imported:\n" in result.stdout, result.stdout
    assert "garbage collection: True" in result.stdout


def take_seven_steps(optimizer: torch.optim.Optimizer, weights: list[torch.Tensor]) -> None:
    """Take steps with changing learning rates; each call uses the same gradients."""
    random = torch.Generator().manual_seed(1)
    for number in range(7):
        optimizer.param_groups[0]["lr"] = 0.1 / (number + 1)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=random)
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_without_the_compiler_takes_torchs_steps(name: str, tmp_path: Path) -> None:
    config = app_config("xor", tmp_path, f"optimizer={name}").optimizer
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 4), nn.Linear(3, 4)
    theirs.load_state_dict(ours.state_dict())
    own = build_optimizer(ours, config)
    plain: Any = type(own).__mro__[1]
    assert plain.__module__.startswith("torch.optim")
    taken = inspect.signature(plain).parameters
    options = {key: value for key, value in own.defaults.items() if key in taken}
    of_torch = plain(list(theirs.parameters()), **options)
    take_seven_steps(own, list(ours.parameters()))
    take_seven_steps(of_torch, list(theirs.parameters()))
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_array_equal(mine.detach(), its.detach())
        assert not mine.grad_fn
        assert torch.is_grad_enabled()


def test_the_optimizers_state_can_be_loaded_by_torchs() -> None:
    weight = nn.Parameter(torch.ones(3))
    adam: Any = without_compiler(torch.optim.Adam)
    optimizer = adam([weight], lr=0.1)
    take_seven_steps(optimizer, [weight])
    other = torch.optim.Adam([nn.Parameter(torch.ones(3))], lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    assert torch.equal(
        other.state[other.param_groups[0]["params"][0]]["exp_avg"], optimizer.state[weight]["exp_avg"]
    )
    optimizer.zero_grad()
    assert weight.grad is None


def test_imports_are_frozen_once_and_never_with_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton prints a list of leaks at exit if the garbage collector does not visit its objects."""
    gc.unfreeze()
    try:
        monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
        with undisturbed_import():
            pass
        assert gc.get_freeze_count() == 0
        monkeypatch.delitem(sys.modules, "triton")
        with undisturbed_import():
            pass
        frozen = gc.get_freeze_count()
        assert frozen > 0
        new = [[number] for number in range(1000)]
        with undisturbed_import():
            pass
        assert gc.get_freeze_count() < frozen + len(new)
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(("variable", "rounds"), [({}, "2000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")])
def test_the_user_decides_how_threads_wait(variable: dict[str, str], rounds: str) -> None:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", "import os, shared; print(os.environ.get('GOMP_SPINCOUNT'))"]
    output = subprocess.run(command, cwd=ROOT, env=own | variable, capture_output=True, text=True).stdout
    assert output.strip() == rounds


@pytest.mark.slow
def test_threads_of_two_trainings_at_once_share_the_cores(tmp_path: Path) -> None:
    words = ["data=digits", "model=mlp", "trainer.epochs=60", "trainer.checkpoint_seconds=null"]

    def seconds(threads: str) -> float:
        """Train twice at once; return the longer training time."""
        folders = [tmp_path / f"{threads}_{number}" for number in range(2)]
        command = [sys.executable, "-m", "apps.mnist_cnn", *words, f"trainer.threads={threads}"]
        processes = [subprocess.Popen([*command, f"hydra.run.dir={folder}"], cwd=ROOT) for folder in folders]
        assert [process.wait(timeout=300) for process in processes] == [0, 0]
        return max(json.loads((folder / "metrics.json").read_text())["train_seconds"] for folder in folders)

    assert seconds("null") < 10 * seconds("1")  # 2 on two free cores; with libgomp's default at least 20
