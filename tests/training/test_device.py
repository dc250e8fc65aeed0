"""trainer.device and trainer.compile: missing devices are refused, compiled networks compute the same."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import ConfigError
from shared.training.torch_compile import check_compiler
from shared.training.torch_learner import device_of
from tests.helpers import mnist_config, run_mnist

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
no_mps = pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an Apple GPU here")


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=no_cuda), pytest.param("mps", marks=no_mps)])
def test_a_missing_device_is_refused(device: str, tmp_path: Path) -> None:
    config = mnist_config(tmp_path, f"trainer.device={device}")
    with pytest.raises(ConfigError) as refusal:
        device_of(config.trainer)
    assert str(refusal.value).startswith(f"trainer.device={device}: PyTorch finds ")
    assert str(refusal.value).endswith("; use trainer.device=cpu")


@no_cuda
@pytest.mark.slow
def test_the_command_reports_a_missing_device(tmp_path: Path) -> None:
    result = run_mnist("trainer.device=cuda", "data=digits", f"hydra.run.dir={tmp_path}/run")
    assert result.returncode == 2
    assert result.stderr.startswith("error: trainer.device=cuda")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@no_cuda
def test_auto_is_the_cpu_without_a_gpu(tmp_path: Path) -> None:
    assert device_of(mnist_config(tmp_path).trainer) == torch.device("cpu")


def test_a_missing_compiler_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "ccache_of_nowhere g++")
    config = mnist_config(tmp_path, "trainer.compile=true", "trainer.device=cpu")
    with pytest.raises(ConfigError, match="there is no ccache_of_nowhere\n") as refusal:
        check_compiler(config.trainer)
    assert len(str(refusal.value).splitlines()) == 2
    check_compiler(mnist_config(tmp_path).trainer)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["framework=numpy", "trainer.device=cuda"], "trainer.device=cuda needs framework=torch"),
        (["framework=keras", "trainer.compile=true"], "trainer.compile=true needs framework=torch"),
        (["trainer.device=mps", "trainer.precision=float64"], "mps does not support trainer.precision="),
    ],
)
def test_contradicting_options_are_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        mnist_config(tmp_path, *words)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fast_cnn", "cnn"])
def test_a_compiled_network_takes_the_same_steps(model: str, tmp_path: Path) -> None:
    words = (
        "data=digits data.train_limit=300 data.test_limit=60 trainer.epochs=2 trainer.threads=1 "
        f"trainer.precision=float64 trainer.batch_size=50 model={model} model.channels=[2,3] model.hidden=8"
    )
    losses = []
    for name in ("false", "true"):
        run_dir = tmp_path / name
        result = run_mnist(*words.split(), f"trainer.compile={name}", f"hydra.run.dir={run_dir}")
        assert result.returncode == 0, result.stderr
        with open(run_dir / "steps.csv") as file:
            losses.append([float(row["loss"]) for row in csv.DictReader(file)])
        assert b"_orig_mod" not in (run_dir / "weights.safetensors").read_bytes()
    # The same products and sums in float64, fused and so rounded in another order.
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-12)
