"""Film reviews beside the usual Keras example: seconds of training, and what they reach.

    python -m benchmarks.imdb                 (make bench case=imdb; ten minutes)
    python -m benchmarks.imdb --print-only    (leaves the recorded figures alone)
    python -m benchmarks.imdb --runs FOLDER   (keeps the folders of our runs)

One program after the other on the same machine with the same threads: first the example
(benchmarks/imdb_example.py), after each of its five epochs; then our recipes, seed by seed. All are
scored on the 25,000 test reviews, outside of the time. Needs IMDB.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shared.files import write_atomically
from shared.runs.record import ROOT, available_cores, environment

REPORT = ROOT / "docs" / "results" / "imdb_benchmark.json"
DATA = "data"
RECIPES = {  # what to call it: overrides, seeds
    "ours: `lstm`": (["model=lstm"], 5),
    "ours: `lstm`, trainer.epochs=1": (["model=lstm", "trainer.epochs=1"], 3),
    "ours: `bow`": (["model=bow"], 5),
}


def example() -> Iterator[dict[str, float]]:
    """Yield seconds and accuracy after each epoch of the example."""
    command = [sys.executable, "-m", "benchmarks.imdb_example", DATA]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise SystemExit(f"error: the example ended with status {process.returncode}")


def ours(overrides: Sequence[str], seed: int, folder: Path) -> dict[str, Any]:
    """Return the metrics of one run of `python -m apps.imdb_rnn`."""
    overrides = [*overrides, f"seed={seed}", f"data.root={DATA}", "data.fallback=null"]
    command = [sys.executable, "-m", "apps.imdb_rnn", *overrides, f"hydra.run.dir={folder}"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def row(name: str, seconds: float, accuracies: Sequence[float], reference: float) -> dict[str, Any]:
    """Return a row of the table."""
    spread = f" ± {100 * statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    return {
        "what": name,
        "seconds of training": f"{seconds:.1f}",
        "share of the example's five epochs": f"1 / {reference / seconds:.1f}",
        "test accuracy": f"{100 * statistics.mean(accuracies):.2f} %{spread}",
        "seeds": str(len(accuracies)),
    }


def measure(runs_folder: Path) -> list[dict[str, Any]]:
    """Run everything, one program after the other; return the rows of the table."""
    epochs = []
    for epoch in example():
        epochs.append(epoch)
        print(f"example, epoch {len(epochs)}: {epoch}", flush=True)
    all_seconds = epochs[-1]["seconds"]
    rows = [
        row(f"the example, {number} epoch{'s' * (number > 1)}", epoch["seconds"],
            [epoch["accuracy"]], all_seconds)
        for number, epoch in enumerate(epochs, start=1)
    ]  # fmt: skip
    for number, (name, (overrides, seeds)) in enumerate(RECIPES.items()):
        runs = []
        for seed in range(seeds):
            runs.append(ours(overrides, seed, runs_folder / f"{number}_{seed}"))
            print(f"{name}, seed {seed}: {runs[-1]['test_accuracy']:.2%} in "
                  f"{runs[-1]['train_seconds']:.1f} s", flush=True)  # fmt: skip
        seconds = statistics.median(run["train_seconds"] for run in runs)
        rows.append(row(name, seconds, [run["test_accuracy"] for run in runs], all_seconds))
    return rows


def main() -> None:
    """Measure, print the table and write it to docs/results/imdb_benchmark.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imdb")
    parser.add_argument("--print-only", action="store_true", help="change no recorded figure")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="keep our run folders there")
    arguments = parser.parse_args()
    if arguments.runs and arguments.runs.exists() and any(arguments.runs.iterdir()):
        parser.error(f"{arguments.runs} is not empty")
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments.runs or Path(folder))
    report = {"rows": rows, **environment("torch", available_cores())}
    report["versions"] |= environment("keras", available_cores())["versions"]
    for line in rows:
        print("  ".join(line.values()))
    if not arguments.print_only:
        write_atomically(REPORT, (json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
