"""Whole trainings on MNIST reach what the recorded ones reached (make test-slow)."""

import json
import os
import statistics
from pathlib import Path

import pytest
from scipy.stats import t

from apps.mnist_cnn.train import train
from tests.helpers import ROOT, mnist_config

MODELS = ("cnn", "fast_cnn", "mlp")
# Tests do not download: MNIST is in the cache, or in the folder of archives.
NEEDS_MNIST = pytest.mark.skipif(
    not (os.environ.get("DATA_ARCHIVES") or (ROOT / "data" / "mnist").is_dir()),
    reason="MNIST is neither in data/mnist nor in a folder that DATA_ARCHIVES names",
)
MNIST = ("data=mnist", "data.download=false", "data.fallback=null")
FALSE_ALARM = 0.001  # how often a test may fail although nothing got worse
RECORDS = json.loads((ROOT / "docs" / "results" / "mnist_cnn.json").read_text())


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
def test_a_training_is_as_accurate_as_the_recorded_ones(
    framework: str, model: str, tmp_path: Path
) -> None:
    recorded = [
        run["test_accuracy"]
        for run in RECORDS
        if (run["framework"], run["model"], run["dataset"]) == (framework, model, "mnist")
    ]
    assert len(recorded) >= 3
    config = mnist_config(
        tmp_path,
        *MNIST,
        f"framework={framework}",
        f"model={model}",
        "seed=100",
    )
    metrics = train(config)
    assert metrics["dataset"] == "mnist"
    assert metrics["test_examples"] == 10_000
    # A new run lies so far below the mean of n runs, measured in their spread, only once in
    # 1 / FALSE_ALARM times (Student's t for one new observation).
    n = len(recorded)
    far = t.ppf(1 - FALSE_ALARM, n - 1) * (1 + 1 / n) ** 0.5
    lowest = statistics.mean(recorded) - far * statistics.stdev(recorded)
    assert metrics["test_accuracy"] > lowest


@pytest.mark.slow
@NEEDS_MNIST
def test_the_cnn_in_numpy_reaches_98_percent_after_an_epoch(tmp_path: Path) -> None:
    config = mnist_config(
        tmp_path,
        *MNIST,
        "framework=numpy",
        "trainer.epochs=1",
    )
    metrics = train(config)
    assert metrics["dataset"] == "mnist"
    assert metrics["test_accuracy"] >= 0.98
