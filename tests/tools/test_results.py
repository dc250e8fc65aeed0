"""The tables of the READMEs come from recorded runs."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigError
from tools.results.__main__ import RESULTS, comparison, record, stale, table, with_tables


def metrics(seed: int, accuracy: float, **changes: Any) -> dict[str, Any]:
    return {
        "app": "xor",
        "framework": "torch",
        "model": "m",
        "dataset": "d",
        "precision": "float32",
        "seed": seed,
        "test_accuracy": accuracy,
        "test_examples": 1000,
        "train_seconds": 2.0 + seed,
        "dataset_source": "archives /home/me/data",
        "parameters": 1234,
        "epochs": 3,
        "status": "done",
        "versions": {"torch": "1.0"},
        "hardware": {"cpu": "C", "threads": 2, "memory_gib": 8.0},
        "git": {"commit": "0123456789abcdef", "dirty": False},
        **changes,
    }


def write(folder: Path, *runs: dict[str, Any]) -> Path:
    for number, run in enumerate(runs):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "metrics.json").write_text(json.dumps(run))
        (folder / str(number) / "config.yaml").write_text("debug: null\n")
    return folder


def test_the_tables_in_the_documents_are_what_the_records_say() -> None:
    assert stale() == [], "make results writes them anew"


def test_mean_spread_range_and_median_are_over_the_seeds() -> None:
    text = table([metrics(0, 0.990), metrics(1, 0.992), metrics(2, 0.997)])
    assert "**99.30 %** ± 0.36 | 99.00 to 99.70 % | 3 | 3.0 s | 2 | 1,234 | 3 |" in text
    assert "C, 2 threads, 8.0 GiB; torch 1.0; commit 0123456789" in text


def test_a_run_recorded_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    results = tmp_path / "results"
    record([write(tmp_path / "a", metrics(0, 0.5), metrics(1, 0.6))], results)
    record([write(tmp_path / "b", metrics(1, 0.7))], results)
    recorded = json.loads((results / "xor.json").read_text())
    assert [(run["seed"], run["test_accuracy"]) for run in recorded] == [(0, 0.5), (1, 0.7)]
    assert {run["dataset_source"] for run in recorded} == {"archives"}, "without a local path"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "diverged"}, "its status is diverged"),
        ({"git": {"commit": "0", "dirty": True}}, "uncommitted changes"),
    ],
)
def test_only_finished_runs_of_committed_code_count(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=reason):
        record([write(tmp_path / "a", metrics(0, 0.5, **changes))], tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_smoke_run_does_not_take_the_place_of_a_whole_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", metrics(0, 0.5))
    (folder / "0" / "config.yaml").write_text("debug: smoke\n")
    with pytest.raises(ConfigError, match="made with debug=smoke"):
        record([folder], tmp_path / "results")


def compared() -> dict[str, Any]:
    scores = {
        "finetune_50": [0.71, 0.73],
        "frozen_50": [0.7, 0.7],
        "scratch_50": [0.6, 0.64],
        "finetune_all": [0.9, 0.9],
        "frozen_all": [0.8, 0.8],
        "scratch_all": [0.9, 0.91],
    }
    table = {name: {"by_seed": values} for name, values in scores.items()}
    return metrics(0, 0.9, comparison=table, classes=["cat", "ship"], weights="source_task", epochs=None)


def test_a_comparison_becomes_a_table_by_number_of_pictures(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", compared()) / "0"
    with pytest.raises(ConfigError, match=r"no comparison\.png"):
        comparison(folder, tmp_path / "results")
    (folder / "comparison.png").write_bytes(b"a picture")
    comparison(folder, tmp_path / "results")
    assert (tmp_path / "results" / "xor_comparison.png").read_bytes() == b"a picture"
    marks = "<!-- comparison: xor -->\n", "<!-- end of comparison -->"
    text = with_tables("".join(marks), tmp_path / "results")
    assert "| 50 | 72.00 % ± 1.41 | 70.00 % ± 0.00 | 62.00 % ± 2.83 | 10.00 points ± 1.41 |" in text
    assert "| all | 90.00 % ± 0.00 | 80.00 % ± 0.00 | 90.50 % ± 0.71 | -0.50 points ± 0.71 |" in text
    fifty = {name: cell for name, cell in compared()["comparison"].items() if "50" in name}
    (folder / "metrics.json").write_text(json.dumps(compared() | {"comparison": fifty}))
    comparison(folder, tmp_path / "results")
    text = with_tables("<!-- comparison: xor_50 -->\n<!-- end of comparison -->", tmp_path / "results")
    assert "| 50 | 72.00 %" in text
    assert "| all |" not in text
    with pytest.raises(ConfigError, match="a comparison is no run of one network"):
        record([folder], tmp_path / "results")


@pytest.mark.parametrize(("model", "seconds"), [("cnn", 60), ("fast_cnn", 10)])
def test_the_recorded_runs_keep_the_promise(model: str, seconds: float) -> None:
    """At least 99.0 % on MNIST's test set, as the mean of five seeds, in the time promised."""
    runs = [
        run
        for run in json.loads((RESULTS / "mnist_cnn.json").read_text())
        if (run["framework"], run["model"], run["dataset"]) == ("torch", model, "mnist")
    ]
    assert len({run["seed"] for run in runs}) >= 5
    assert statistics.mean(run["test_accuracy"] for run in runs) >= 0.99
    assert statistics.median(run["train_seconds"] for run in runs) <= seconds


def test_nothing_to_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no metrics\.json below"):
        record([tmp_path], tmp_path / "results")


def test_a_changed_number_in_a_document_is_noticed(tmp_path: Path) -> None:
    record([write(tmp_path / "a", metrics(0, 0.5))], tmp_path)
    text = with_tables("<!-- results: xor -->\n<!-- end of results -->\n", tmp_path)
    assert with_tables(text, tmp_path) == text
    assert with_tables(text.replace("50.00", "60.00"), tmp_path) == text
