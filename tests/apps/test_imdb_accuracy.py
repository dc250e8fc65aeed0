"""Whole trainings on IMDB reach what the recorded ones reached (make test-slow)."""

import json
import os
import statistics
from pathlib import Path

import pytest

from apps.imdb_rnn.train import train
from tests.helpers import ROOT, app_config, lowest_expected

# Tests do not download: IMDB is in the cache, or in the folder of archives.
NEEDS_IMDB = pytest.mark.skipif(
    not (os.environ.get("DATA_ARCHIVES") or (ROOT / "data" / "imdb").is_dir()),
    reason="IMDB is neither in data/imdb nor in a folder that DATA_ARCHIVES names",
)


@pytest.mark.slow
@NEEDS_IMDB
@pytest.mark.parametrize(
    ("framework", "model"), [("torch", "lstm"), ("torch", "bow"), ("keras", "bow"), ("numpy", "bow")]
)
def test_a_training_is_as_accurate_as_the_recorded_ones(framework: str, model: str, tmp_path: Path) -> None:
    overrides = [
        "data.download=false",
        "data.fallback=null",
        f"framework={framework}",
        f"model={model}",
        "seed=100",
    ]
    metrics = train(app_config("imdb_rnn", tmp_path, *overrides))
    assert metrics["dataset"] == "imdb"
    assert metrics["test_examples"] == 25_000
    assert metrics["test_accuracy"] > lowest_expected("imdb_rnn", framework, model, "imdb")


@pytest.mark.parametrize(("model", "least"), [("lstm", 0.88), ("bow", 0.90)])
def test_the_recorded_runs_reach_what_is_promised(model: str, least: float) -> None:
    """The mean of five seeds at least, and Keras within half a point of torch."""
    runs = json.loads((ROOT / "docs" / "results" / "imdb_rnn.json").read_text())
    means = {}
    for framework in ("torch", "keras"):
        scores = [
            run["test_accuracy"]
            for run in runs
            if run["dataset"] == "imdb" and (run["framework"], run["model"]) == (framework, model)
        ]
        assert len(scores) >= 5
        means[framework] = statistics.mean(scores)
    assert means["torch"] >= least
    assert abs(means["torch"] - means["keras"]) < 0.005
