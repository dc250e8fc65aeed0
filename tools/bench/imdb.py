"""Benchmark of film reviews against the usual Keras example: seconds of training, and the accuracy.

The programs run one after the other with the same threads: first the example (keras_example_imdb.py), read
after each of its five epochs, then our recipes, seed by seed. All are scored on the 25,000 test
reviews, outside of the measured time. Needs IMDB.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shared.runs.environment import ROOT
from tools.bench.process import DATA, timed_lines, train_app
from tools.bench.rows import Measured, comparison_row

GOAL = 20
SHORT = ["model=lstm", "trainer.epochs=1", "data.longest=200"]
RECIPES: dict[str, tuple[list[str], int | None]] = {  # overrides and goal, by name
    "`lstm`": (["model=lstm"], None),
    "`lstm`, trainer.epochs=1 data.longest=200": (SHORT, GOAL),
    "`bow`": (["model=bow"], None),
}
SEEDS = 5


def imdb(peers: Path | None, quick: bool) -> Measured:
    """Measure all recipes; a recipe no more accurate than the example gets no row."""
    epochs = []
    for _, line in timed_lines([sys.executable, "-m", "tools.bench.keras_example_imdb", str(DATA)], ROOT):
        if line.startswith("{"):  # not a message of TensorFlow
            epochs.append(json.loads(line))
            print(f"example, epoch {len(epochs)}: {epochs[-1]}", flush=True)
    best, total = max(epoch["accuracy"] for epoch in epochs), epochs[-1]["seconds"]
    rows, details = [], []
    for number, epoch in enumerate(epochs, start=1):
        name = f"the example, {number} epoch{'s' * (number > 1)}"
        details.append(detail(name, epoch["seconds"], [epoch["accuracy"]], total))
    for name, (overrides, goal) in RECIPES.items():
        runs = []
        for seed in range(1 if quick else SEEDS):
            with tempfile.TemporaryDirectory() as folder:
                words = [*overrides, f"seed={seed}", "data.fallback=null"]
                runs.append(train_app("imdb_rnn", Path(folder, "run"), *words))
            accuracy, duration = runs[-1]["test_accuracy"], runs[-1]["train_seconds"]
            print(f"{name}, seed {seed}: {accuracy:.2%} in {duration:.1f} s", flush=True)
        seconds = [run["train_seconds"] for run in runs]
        accuracies = [run["test_accuracy"] for run in runs]
        details.append(detail(name, statistics.median(seconds), accuracies, total))
        mean = statistics.mean(accuracies)
        if mean >= best:
            what = f"IMDB, {name}: seconds to more than the example's best accuracy"
            note = f"{mean:.2%}; the example's best of {len(epochs)} epochs: {best:.2%}"
            against = "the usual Keras LSTM, five epochs"
            rows.append(comparison_row(what, seconds, against, [total], goal, note))
    return rows, details


def detail(name: str, seconds: float, accuracies: Sequence[float], reference: float) -> dict[str, str]:
    """Return a row of the table of details."""
    spread = f" ± {100 * statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    return {
        "measured": name,
        "seconds of training": f"{seconds:.1f}",
        "share of the example's five epochs": f"1 / {reference / seconds:.1f}",
        "test accuracy": f"{100 * statistics.mean(accuracies):.2f} %{spread}",
        "seeds": str(len(accuracies)),
    }
