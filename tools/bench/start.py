"""How long one waits: for `--help`, for a refused command, for the first step.

Each is a command of its own, started anew; the files that it reads have been read before.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shared.runs.environment import ROOT
from tools.bench.process import BenchmarkError
from tools.bench.rows import Measured, within

RUNS = 5
PATIENCE = 120.0  # seconds


def command_seconds(status: int, *words: str) -> float:
    """Return how long a command takes that ends with this status."""
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True)
    seconds = time.perf_counter() - start
    if result.returncode != status:
        raise BenchmarkError(f"{' '.join(words)} ended with status {result.returncode}")
    return seconds


def first_step_seconds(framework: str) -> float:
    """Return how long it takes until the checkpoint after the first step is there."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"framework={framework}", "trainer.checkpoint_seconds=0", f"hydra.run.dir={folder}"]
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "apps.mnist_cnn", *words],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not any(Path(folder).glob("checkpoint_*")):
                if process.poll() is not None or time.perf_counter() - start > PATIENCE:
                    raise BenchmarkError(f"apps.mnist_cnn {' '.join(words)}: no first step")
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


def measure(peers: Path | None, quick: bool) -> Measured:
    """Return the rows, medians of several starts after one that is not counted."""
    runs = 1 if quick else RUNS
    app = "apps.mnist_cnn"
    waits = {
        f"python -m {app} --help": (0.7, lambda: command_seconds(0, app, "--help")),
        "a refused configuration": (1, lambda: command_seconds(2, app, "optimizer.lr=-1")),
        "start to first step, torch": (4, lambda: first_step_seconds("torch")),
        "start to first step, Keras": (4, lambda: first_step_seconds("keras")),
        "start to first step, NumPy": (4, lambda: first_step_seconds("numpy")),
    }
    rows = []
    for what, (goal, wait) in waits.items():
        wait()
        rows.append(within(what, [wait() for _ in range(runs)], "s", goal))
    return rows, []
