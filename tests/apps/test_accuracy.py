"""Whole trainings reach what the recorded ones reached (make test-slow)."""

import importlib
import json
import os
import statistics
from itertools import product
from pathlib import Path

import pytest

from tests.helpers import ROOT, app_config, lowest_expected

OFFLINE = ("data.download=false", "data.fallback=null")  # tests do not download
FILES = {"mnist": "train-images-idx3-ubyte", "imdb": "aclImdb_v1.tar.gz"}  # in the cache
APPS = {"mnist": ("mnist_cnn", 10_000), "imdb": ("imdb_rnn", 25_000)}  # with the size of the test set
CASES = [
    *product(["mnist"], ["torch", "keras"], ["cnn", "fast_cnn", "mlp"]),
    *product(["mnist"], ["numpy"], ["fast_cnn", "mlp"]),
    *product(["imdb"], ["torch", "keras", "numpy"], ["bow"]),
    *product(["imdb"], ["torch"], ["lstm", "nbsvm"]),
]


def needs(dataset: str) -> pytest.MarkDecorator:
    """Skip a test unless a data set is in the cache or in the folder of archives."""
    archives = os.environ.get("DATA_ARCHIVES")
    cached = (ROOT / "data" / dataset / FILES[dataset]).exists()
    available = cached or (archives and Path(archives, dataset).is_dir())
    reason = f"{dataset} is neither in data/{dataset} nor in a folder that DATA_ARCHIVES names"
    return pytest.mark.skipif(not available, reason=reason)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "framework", "model"), [pytest.param(*case, marks=needs(case[0])) for case in CASES]
)
def test_a_training_is_as_accurate_as_the_recorded_ones(
    dataset: str, framework: str, model: str, tmp_path: Path
) -> None:
    app, test_examples = APPS[dataset]
    words = [*OFFLINE, f"framework={framework}", f"model={model}", "seed=100"]
    metrics = importlib.import_module(f"apps.{app}.train").train(app_config(app, tmp_path, *words))
    assert (metrics["dataset"], metrics["test_examples"]) == (dataset, test_examples)
    assert metrics["test_accuracy"] > lowest_expected(app, framework, model, dataset)


@pytest.mark.slow
@needs("mnist")
def test_the_cnn_in_numpy_reaches_98_percent_after_an_epoch(tmp_path: Path) -> None:
    config = app_config("mnist_cnn", tmp_path, *OFFLINE, "framework=numpy", "trainer.epochs=1")
    assert importlib.import_module("apps.mnist_cnn.train").train(config)["test_accuracy"] >= 0.98


@pytest.mark.parametrize(("model", "least"), [("lstm", 0.88), ("bilstm", 0.90), ("bow", 0.90)])
def test_the_recorded_runs_on_imdb_reach_what_is_promised(model: str, least: float) -> None:
    """The mean of five seeds at least, and Keras within half a point of torch."""
    runs = json.loads((ROOT / "docs" / "results" / "imdb_rnn.json").read_text())
    means = {}
    for framework in ("torch", "keras"):
        expected = {"dataset": "imdb", "framework": framework, "model": model}
        scores = [run["test_accuracy"] for run in runs if run.items() >= expected.items()]
        assert len(scores) >= 5
        means[framework] = statistics.mean(scores)
    assert min(means.values()) >= least
    assert abs(means["torch"] - means["keras"]) < 0.005
