"""Whole trainings on MNIST reach what the recorded ones reached (make test-slow)."""

import os
from pathlib import Path

import pytest

from apps.mnist_cnn.train import train
from tests.helpers import ROOT, lowest_expected, mnist_config

MODELS = ("cnn", "fast_cnn", "mlp")
# Tests do not download: MNIST is in the cache, or in the folder of archives.
NEEDS_MNIST = pytest.mark.skipif(
    not (os.environ.get("DATA_ARCHIVES") or (ROOT / "data" / "mnist").is_dir()),
    reason="MNIST is neither in data/mnist nor in a folder that DATA_ARCHIVES names",
)
MNIST = ("data=mnist", "data.download=false", "data.fallback=null")


@pytest.mark.slow
@NEEDS_MNIST
@pytest.mark.parametrize(
    ("framework", "model"),
    [
        *((framework, model) for framework in ("torch", "keras") for model in MODELS),
        ("numpy", "fast_cnn"),
        ("numpy", "mlp"),
    ],
)
def test_a_training_is_as_accurate_as_the_recorded_ones(framework: str, model: str, tmp_path: Path) -> None:
    config = mnist_config(tmp_path, *MNIST, f"framework={framework}", f"model={model}", "seed=100")
    metrics = train(config)
    assert metrics["dataset"] == "mnist"
    assert metrics["test_examples"] == 10_000
    assert metrics["test_accuracy"] > lowest_expected("mnist_cnn", framework, model, "mnist")


@pytest.mark.slow
@NEEDS_MNIST
def test_the_cnn_in_numpy_reaches_98_percent_after_an_epoch(tmp_path: Path) -> None:
    config = mnist_config(tmp_path, *MNIST, "framework=numpy", "trainer.epochs=1")
    metrics = train(config)
    assert metrics["dataset"] == "mnist"
    assert metrics["test_accuracy"] >= 0.98
