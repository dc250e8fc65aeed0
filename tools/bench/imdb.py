"""Benchmark of film reviews against the usual Keras example: seconds of training, and the accuracy.

The programs run one after the other with the same threads: first the example (keras_example_imdb.py), read
after each of its five epochs, then our recipes, seed by seed. All are scored on the 25,000 test
reviews, outside of the measured time. The example's accuracy jumps from epoch to epoch, so it runs with
three seeds, and its best is the median of theirs. Needs IMDB.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shared.runs.environment import ROOT
from tools.bench.process import DATA, timed_lines, train_app
from tools.bench.rows import Measured, Options, comparison_row

ONE_EPOCH = ["model=lstm", "model.hidden=32", "model.dropout=0", "model.embedding_dropout=0.2"]
ONE_EPOCH += ["optimizer.lr=0.01", "trainer.epochs=1", "data.longest=280"]
RECIPES: dict[str, tuple[list[str], int]] = {  # overrides and number of seeds, by name
    "`lstm`": (["model=lstm"], 5),
    "`lstm`, one epoch": (ONE_EPOCH, 10),
    "`bow`": (["model=bow"], 5),
}
EXAMPLE_SEEDS = 3

Scores = dict[str, float]  # seconds of training and test accuracy


def imdb(options: Options) -> Measured:
    """Measure all recipes; a recipe no more accurate than the example gets no row."""
    example = [run_example(seed) for seed in range(1 if options.quick else EXAMPLE_SEEDS)]
    best = statistics.median(max(epoch["accuracy"] for epoch in epochs) for epochs in example)
    totals = [epochs[-1]["seconds"] for epochs in example]
    rows, details = [], []
    for number, epochs in enumerate(zip(*example, strict=True), start=1):
        name = f"the example, {number} epoch{'s' * (number > 1)}"
        details.append(detail(name, epochs, totals))
    for name, (overrides, seeds) in RECIPES.items():
        runs = [run_recipe(name, overrides, seed) for seed in range(1 if options.quick else seeds)]
        details.append(detail(name, runs, totals))
        accuracies = [run["accuracy"] for run in runs]
        if (mean := statistics.mean(accuracies)) > best:
            what = f"IMDB, {name}: seconds to more than the example's best accuracy"
            note = f"{mean:.2%}; the example's best of {number} epochs: {best:.2%}"
            against = "the usual Keras LSTM, five epochs"
            rows.append(comparison_row(what, [run["seconds"] for run in runs], against, totals, note))
            what, lowest = f"IMDB, {name}: lowest test accuracy", [100 * min(accuracies)]
            note = f"of {len(runs)} seeds"
            against = "the usual Keras LSTM, its best epoch"
            rows.append(comparison_row(what, lowest, against, [100 * best], note, "%"))
    return rows, details


def run_example(seed: int) -> list[Scores]:
    """Return the seconds so far and the test accuracy of the example after each epoch."""
    epochs: list[Scores] = []
    command = [sys.executable, "-m", "tools.bench.keras_example_imdb", str(DATA), str(seed)]
    for _, line in timed_lines(command, ROOT):
        if line.startswith("{"):  # not a message of TensorFlow
            epochs.append(json.loads(line))
            print(f"example, seed {seed}, epoch {len(epochs)}: {epochs[-1]}", flush=True)
    return epochs


def run_recipe(name: str, overrides: Sequence[str], seed: int) -> Scores:
    """Return the seconds of one of our trainings and its test accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*overrides, f"seed={seed}", "data.fallback=null"]
        run = train_app("imdb_rnn", Path(folder, "run"), *words)
    print(f"{name}, seed {seed}: {run['test_accuracy']:.2%} in {run['train_seconds']:.1f} s", flush=True)
    return {"seconds": run["train_seconds"], "accuracy": run["test_accuracy"]}


def detail(name: str, runs: Sequence[Scores], totals: Sequence[float]) -> dict[str, str]:
    """Return a row of the table of details; `totals` are the seconds of the example."""
    accuracies = [run["accuracy"] for run in runs]
    seconds = statistics.median(run["seconds"] for run in runs)
    spread = f" ± {100 * statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    return {
        "measured": name,
        "seconds of training": f"{seconds:.1f}",
        "share of the example's five epochs": f"1 / {statistics.median(totals) / seconds:.1f}",
        "test accuracy": f"{100 * statistics.mean(accuracies):.2f} %{spread}",
        "seeds": str(len(accuracies)),
    }
