import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from shared import CONF
from shared.compose import compose
from shared.errors import ConfigError
from shared.runs.progress import epoch_line
from tools.results.__main__ import (
    RESULTS,
    documents,
    fill_tables,
    outdated_documents,
    record_comparison,
    record_runs,
)
from tools.results.experiments import EXPERIMENTS, experiment_of
from tools.results.pictures import record_pictures, shown_pictures


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


def fill(block: str, results: Path) -> str:
    return fill_tables(f"<!-- {block} -->\n<!-- end of {block.partition(':')[0]} -->\n", results)


def test_tables_in_documents_match_the_records() -> None:
    assert list(outdated_documents()) == [], "run make results"


def test_a_sample_reads_as_a_run_prints_it() -> None:
    columns = ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds"]
    for sample in RESULTS.glob("*.txt"):
        lines = [line for line in sample.read_text().splitlines() if line.startswith("epoch ")]
        assert lines
        for line in lines:
            numbers = [float(number) for number in re.findall(r"(?<!/)\b[\d.]+", line)]
            row = dict(zip(columns, numbers, strict=True))
            row |= {name: row[name] / 100 for name in columns if "accuracy" in name}
            assert line == epoch_line(row, len(lines))


def test_mean_deviation_range_and_median_are_over_the_seeds(tmp_path: Path) -> None:
    runs = [metrics(seed, accuracy) for seed, accuracy in enumerate((0.990, 0.992, 0.997))]
    record_runs([write(tmp_path / "a", *runs)], tmp_path)
    text = fill("results: xor", tmp_path)
    assert "**99.30 %** ± 0.36 | 99.00 to 99.70 % | 3 | 3.0 s | 2 | 1,234 | 3 |" in text
    assert "C, 2 threads, 8.0 GiB; torch 1.0; commit 0123456789" in text


def test_a_run_replaces_the_one_recorded_before(tmp_path: Path) -> None:
    results = tmp_path / "results"
    record_runs([write(tmp_path / "a", metrics(0, 0.5), metrics(1, 0.6))], results)
    record_runs([write(tmp_path / "b", metrics(1, 0.7))], results)
    recorded = json.loads((results / "xor.json").read_text())
    assert [(run["seed"], run["test_accuracy"]) for run in recorded] == [(0, 0.5), (1, 0.7)]
    assert {run["dataset_source"] for run in recorded} == {"archives"}, "without a local path"


def test_runs_on_own_data_have_a_record_of_their_own(tmp_path: Path) -> None:
    results = tmp_path / "results"
    own = write(tmp_path / "own", metrics(0, 0.9))
    (own / "0" / "config.yaml").write_text("debug: null\ndata: {name: image_folder}\n")
    record_runs([own, write(tmp_path / "a", metrics(0, 0.5))], results)
    names = {path.name: json.loads(path.read_text())[0]["test_accuracy"] for path in results.iterdir()}
    assert names == {"xor_own.json": 0.9, "xor.json": 0.5}


@pytest.mark.parametrize(
    ("changes", "config", "reason"),
    [
        ({"status": "diverged"}, "debug: null\n", "its status is diverged"),
        ({"git": {"commit": "0", "dirty": True}}, "debug: null\n", "uncommitted changes"),
        ({}, "debug: smoke\n", "made with debug=smoke"),
        (None, "", r"no metrics\.json below"),
    ],
)
def test_only_complete_runs_of_committed_code_are_recorded(
    changes: dict[str, Any] | None, config: str, reason: str, tmp_path: Path
) -> None:
    if changes is not None:
        write(tmp_path, metrics(0, 0.5, **changes))
        (tmp_path / "0" / "config.yaml").write_text(config)
    with pytest.raises(ConfigError, match=reason):
        record_runs([tmp_path], tmp_path / "results")
    assert not (tmp_path / "results").exists()


def comparison_metrics() -> dict[str, Any]:
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


def test_a_comparison_becomes_a_table_by_number_of_images(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", comparison_metrics()) / "0"
    with pytest.raises(ConfigError, match=r"no comparison\.png"):
        record_comparison(folder, tmp_path / "results")
    (folder / "comparison.png").write_bytes(b"a picture")
    record_comparison(folder, tmp_path / "results")
    assert (tmp_path / "results" / "xor_comparison.png").read_bytes() == b"a picture"
    text = fill("comparison: xor", tmp_path / "results")
    assert "| 50 | 72.00 % ± 1.41 | 70.00 % ± 0.00 | 62.00 % ± 2.83 | 10.00 points ± 1.41 |" in text
    assert "| all | 90.00 % ± 0.00 | 80.00 % ± 0.00 | 90.50 % ± 0.71 | -0.50 points ± 0.71 |" in text
    fifty = {name: cell for name, cell in comparison_metrics()["comparison"].items() if "50" in name}
    (folder / "metrics.json").write_text(json.dumps(comparison_metrics() | {"comparison": fifty}))
    record_comparison(folder, tmp_path / "results")
    text = fill("comparison: xor_50", tmp_path / "results")
    assert "| 50 | 72.00 %" in text
    assert "| all |" not in text
    (folder / "metrics.json").write_text(json.dumps(comparison_metrics() | {"weights": "imagenet"}))
    record_comparison(folder, tmp_path / "results")
    assert "`imagenet`" in fill("comparison: xor_imagenet_2_classes", tmp_path / "results")
    with pytest.raises(ConfigError, match="a comparison is not a run of one network"):
        record_runs([folder], tmp_path / "results")


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


def test_every_picture_of_the_documents_is_from_a_recorded_run() -> None:
    recorded = {*json.loads((RESULTS / "pictures.json").read_text()), "imdb_gradients.png"}  # of two runs
    recorded |= {
        path.with_suffix(".png").name for path in RESULTS.glob("*") if path.suffix in (".txt", ".json")
    }
    assert shown_pictures(documents()) <= recorded & {path.name for path in RESULTS.glob("*.png")}


def test_pictures_of_a_run_are_used_where_a_document_shows_them(tmp_path: Path) -> None:
    run, results, document = tmp_path / "run", tmp_path / "results", tmp_path / "README.md"
    run.mkdir()
    (run / "config.yaml").write_text(json.dumps(compose("xor", ("seed=3",))))  # JSON is YAML
    (run / "decision.png").write_bytes(b"a picture")
    document.write_text("![x](../../docs/results/xor_decision.png) ![y](docs/results/xor_lost.png)")
    record = metrics(3, 1.0)
    assert record_pictures(run, record, results, [document]) == ["xor_decision.png"]
    assert (results / "xor_decision.png").read_bytes() == b"a picture"
    text = fill("pictures: xor", results)
    assert "decision.png: drawn by `.venv/bin/python -m apps.xor" in text
    assert " seed=3" in text
    assert "commit 0123456789" in text
    document.write_text("no picture")
    with pytest.raises(ConfigError, match="no document shows"):
        record_pictures(run, record, results, [document])


def test_a_changed_number_in_a_document_is_noticed(tmp_path: Path) -> None:
    record_runs([write(tmp_path / "a", metrics(0, 0.5))], tmp_path)
    text = fill("results: xor", tmp_path)
    assert fill_tables(text, tmp_path) == text
    assert fill_tables(text.replace("50.00", "60.00"), tmp_path) == text


def test_best_network_of_each_application_and_data_set(tmp_path: Path) -> None:
    runs = [metrics(seed, 0.9 + seed / 100, model="better") for seed in (0, 2)]
    runs += [metrics(0, 0.905), metrics(0, 0.3, dataset="e"), metrics(0, 0.99, app="no_such_app")]
    record_runs([write(tmp_path / "a", *runs)], tmp_path)
    rows = fill("applications", tmp_path).splitlines()[4:6]
    assert rows == [
        "| [XOR](./apps/xor/README.md) | d | 91.00 % | `better` in torch | 3.0 s |",
        "| [XOR](./apps/xor/README.md) | e | 30.00 % | `m` in torch | 2.0 s |",
    ]


def test_an_experiment_is_recognized_by_all_its_keys_but_the_seed() -> None:
    words = ("+experiment=a12", "seed=3", "trainer.threads=1")
    assert experiment_of(compose("mnist_cnn", words)) == "a12"
    with pytest.raises(
        ConfigError, match=r"not an experiment of conf/experiment: optimizer.lr=0.002 \(there 0.001\)"
    ):
        experiment_of(compose("mnist_cnn", (*words, "optimizer.lr=0.002")))


def test_a_table_of_experiments_has_a_row_for_each(tmp_path: Path) -> None:
    for path in (CONF / "experiment").glob("*.yaml"):
        assert path.stem in EXPERIMENTS
    runs = [metrics(seed, accuracy) for seed, accuracy in ((1, 0.5), (2, 0.7))]
    (tmp_path / "experiments.json").write_text(json.dumps([{"experiment": "a7"} | run for run in runs]))
    for app in ("xor", "mnist_cnn", "imdb_rnn", "resnet_transfer"):
        (tmp_path / f"{app}.json").write_text("[]")
    rows = [line for line in fill("experiments", tmp_path).splitlines() if line.startswith("| `")]
    assert len(rows) == len(EXPERIMENTS)
    assert rows[0].startswith("| `a7` | 60.00 % ± 14.14 | 2 | 3.5 s | `two_layer` in numpy | not recorded |")
    assert all("| not recorded | - |" in row for row in rows[1:])
