"""Benchmarks of whole commands: start, memory, IMDB's encoding, two processes."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shared.runs.environment import ROOT
from shared.runs.reader import read_rows
from tools.bench.process import DATA, BenchmarkError, peak_memory, run_python, train_app
from tools.bench.rows import Measured, compared, limited, seconds

MNIST = "apps.mnist_cnn"
RUNS = 5  # of each command in `start`
TIMEOUT = 120.0  # seconds until the first step
MEMORY_GOAL = 1536.0  # MiB
MEMORY_STEPS = 30  # a long training needs no more memory than a short one
MEMORY_APPS: dict[str, list[list[str]]] = {
    "mnist_cnn": [[f"framework={name}"] for name in ("torch", "keras", "numpy")],
    "imdb_rnn": [["model=lstm"], ["model=bow"]],
    "attention": [["data=recall"]],
    "resnet_transfer": [["weights=none", "transfer.mode=scratch"]],
    "gradient_flow": [[]],
    "xor": [[]],
}
ENCODING_RUNS = 3
ENCODE = """
import os, sys, time
from pathlib import Path
from shared.data import imdb
from shared.data.text import Settings
os.environ.setdefault("DATA_ARCHIVES", sys.argv[2])
start = time.perf_counter()
imdb.load(Path(sys.argv[1]), Settings(20_000, 2), download=False, fallback=None)
print(time.perf_counter() - start)
"""
PROCESSES = 2
EPOCHS_TIMED = "trainer.epochs=3"


def start(peers: Path | None, quick: bool) -> Measured:
    """Measure the time of `--help`, of a refused command, and until the first step.

    Each is a new command; a first run, which reads the files from the disk, is not counted.
    """
    waits = {
        f"python -m {MNIST} --help": (0.7, lambda: run_python("-m", MNIST, "--help")),
        "a refused configuration": (1, lambda: run_python("-m", MNIST, "optimizer.lr=-1", status=2)),
        "start to first step, torch": (4, lambda: wait_for_first_step("torch")),
        "start to first step, Keras": (4, lambda: wait_for_first_step("keras")),
        "start to first step, NumPy": (4, lambda: wait_for_first_step("numpy")),
    }
    rows = []
    for what, (goal, wait) in waits.items():
        if not quick:
            wait()
        rows.append(limited(what, [seconds(wait) for _ in range(1 if quick else RUNS)], "s", goal))
    return rows, []


def wait_for_first_step(framework: str) -> None:
    """Start a training and return when the checkpoint after its first step exists.

    Raises:
        BenchmarkError: the training ends before, or takes too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = [f"framework={framework}", "trainer.checkpoint_seconds=0", f"hydra.run.dir={folder}"]
        begin, quiet = time.perf_counter(), subprocess.DEVNULL
        process = subprocess.Popen(
            [sys.executable, "-m", MNIST, *words], cwd=ROOT, stdout=quiet, stderr=quiet
        )
        try:
            while not any(Path(folder).glob("checkpoint_*")):
                if process.poll() is not None or time.perf_counter() - begin > TIMEOUT:
                    raise BenchmarkError(f"{MNIST} {' '.join(words)}: no first step")
                time.sleep(0.005)
        finally:
            process.kill()
            process.wait()


def memory(peers: Path | None, quick: bool) -> Measured:
    """Measure the peak memory of each application on its real data; `quick`: of xor alone."""
    rows = []
    for app, choices in MEMORY_APPS.items():
        for words in choices:
            if quick and app != "xor":
                continue
            with tempfile.TemporaryDirectory() as folder:
                options = [f"hydra.run.dir={folder}/run", f"trainer.max_steps={MEMORY_STEPS}"]
                found = peak_memory("-m", f"apps.{app}", *words, *options)
            goal = MEMORY_GOAL if app == "mnist_cnn" else None
            rows.append(limited(f"peak memory, {' '.join([app, *words])}", [found], "MiB", goal))
    return rows, []


def encoding(peers: Path | None, quick: bool) -> Measured:
    """Measure how long IMDB's encoding takes the first time, and from the cache. Needs IMDB."""
    first, later = [], []
    for _ in range(1 if quick else ENCODING_RUNS):
        with tempfile.TemporaryDirectory() as root:
            durations = [float(run_python("-c", ENCODE, root, str(DATA)).split()[-1]) for _ in range(3)]
            first.append(durations[0])
            later += durations[1:]
    return [
        limited("encoding IMDB, the first time", first, "s", 20.0),
        limited("encoding IMDB, later", later, "s", 2.0),
    ], []


def processes(peers: Path | None, quick: bool) -> Measured:
    """Measure an epoch on two processes with one thread each against one process with two threads.

    On one machine there is nothing to gain: the same cores do the same work, and add up gradients
    as well. The row shows what that costs.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = ["data=digits"] if quick else []
        one = epoch_seconds(folder / "one", f"trainer.threads={PROCESSES}", *data)
        torchrun = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}")
        words = ["trainer.threads=1", EPOCHS_TIMED, f"hydra.run.dir={folder}/two", *data]
        run_python(*torchrun, "-m", MNIST, *words)
        two = read_epoch_seconds(folder / "two")
    what = f"MNIST `cnn`, an epoch on {PROCESSES} processes with one thread each"
    return [compared(what, two, f"one process with {PROCESSES} threads", one, None)], []


def epoch_seconds(folder: Path, *overrides: str) -> list[float]:
    """Train on MNIST; return the seconds of its epochs without the first, which includes setup."""
    train_app("mnist_cnn", folder, EPOCHS_TIMED, *overrides)
    return read_epoch_seconds(folder)


def read_epoch_seconds(folder: Path) -> list[float]:
    """Return the seconds of the epochs in a run folder without the first."""
    return [row["seconds"] for row in read_rows(folder)[1:]]
