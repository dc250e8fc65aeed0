"""Film reviews beside the usual Keras example: seconds of training, and what they reach.

One program after the other on the same machine with the same threads: first the example
(benchmarks/imdb_example.py), after each of its five epochs; then our recipes, seed by seed. All are
scored on the 25,000 test reviews, outside of the time. Needs IMDB.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.runs.environment import ROOT
from tools.bench.process import DATA, BenchmarkError, trained
from tools.bench.rows import Measured, times

GOAL = 20
SHORT = ["model=lstm", "trainer.epochs=1", "data.longest=200"]
RECIPES: dict[str, tuple[list[str], int, bool]] = {  # name: overrides, seeds, whether for the goal
    "`lstm`": (["model=lstm"], 5, False),
    "`lstm`, trainer.epochs=1 data.longest=200": (SHORT, 5, True),
    "`bow`": (["model=bow"], 5, False),
}


def example() -> Iterator[dict[str, float]]:
    """Yield seconds and accuracy after each epoch of the example."""
    command = [sys.executable, "-m", "benchmarks.imdb_example", str(DATA)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise BenchmarkError(f"the example ended with status {process.returncode}")


def detail(name: str, seconds: float, accuracies: Sequence[float], reference: float) -> dict[str, str]:
    """Return a row of the table."""
    spread = f" ± {100 * statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    return {
        "what": name,
        "seconds of training": f"{seconds:.1f}",
        "share of the example's five epochs": f"1 / {reference / seconds:.1f}",
        "test accuracy": f"{100 * statistics.mean(accuracies):.2f} %{spread}",
        "seeds": str(len(accuracies)),
    }


def measure(peers: Path | None, quick: bool) -> Measured:
    """Run everything, one program after the other; return the row and the table of all of it."""
    epochs = []
    for epoch in example():
        epochs.append(epoch)
        print(f"example, epoch {len(epochs)}: {epoch}", flush=True)
    best, total = max(epoch["accuracy"] for epoch in epochs), epochs[-1]["seconds"]
    details = [
        detail(
            f"the example, {number} epoch{'s' * (number > 1)}", epoch["seconds"], [epoch["accuracy"]], total
        )
        for number, epoch in enumerate(epochs, start=1)
    ]
    rows = []
    for name, (overrides, seeds, for_goal) in RECIPES.items():
        runs = []
        for seed in range(1 if quick else seeds):
            with tempfile.TemporaryDirectory() as folder:
                words = [*overrides, f"seed={seed}", "data.fallback=null"]
                runs.append(trained("imdb_rnn", Path(folder, "run"), *words))
            print(
                f"{name}, seed {seed}: {runs[-1]['test_accuracy']:.2%} in {runs[-1]['train_seconds']:.1f} s",
                flush=True,
            )
        seconds = [run["train_seconds"] for run in runs]
        accuracies = [run["test_accuracy"] for run in runs]
        details.append(detail(name, statistics.median(seconds), accuracies, total))
        mean = statistics.mean(accuracies)
        if mean < best:
            continue
        what = f"IMDB, {name}: seconds to more than the example's best accuracy"
        note = f"{mean:.2%}; the example's best of {len(epochs)} epochs: {best:.2%}"
        against = "the usual Keras LSTM, five epochs"
        goal = GOAL if for_goal else None
        rows.append(times(what, seconds, against, [total], goal, note))
    return rows, details
