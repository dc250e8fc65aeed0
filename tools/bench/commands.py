"""Benchmarks of whole commands: start, memory, IMDB's encoding, two processes."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from shared.runs.environment import ROOT
from shared.runs.reader import read_rows
from tools.bench.process import DATA, BenchmarkError, peak_memory, run_python, train_app
from tools.bench.rows import Measured, Options, comparison_row, seconds, single_row

MNIST = "apps.mnist_cnn"
RUNS = 5  # of each command in `start`
TURNS = 5  # of the two trainings in `keras`
TIMEOUT = 120.0  # seconds until the first step
MEMORY_STEPS = 30  # a long training needs no more memory than a short one
MEMORY_RUNS = [
    *("mnist_cnn framework=torch", "mnist_cnn framework=keras", "mnist_cnn framework=numpy"),
    *("imdb_rnn model=lstm", "imdb_rnn model=bow", "attention data=recall"),
    *("resnet_transfer weights=none transfer.mode=scratch", "gradient_flow", "xor"),
]
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


def keras(options: Options) -> Measured:
    """Measure epochs of MNIST's `cnn` in torch and in Keras, in turns."""
    epochs: dict[str, list[float]] = {"torch": [], "keras": []}
    ratios = []
    for turn in range(1 if options.quick else TURNS):
        order = list(epochs) if turn % 2 == 0 else list(epochs)[::-1]
        with tempfile.TemporaryDirectory() as folder:
            found = {name: epoch_seconds(Path(folder, name), f"framework={name}") for name in order}
        for name, times in found.items():
            epochs[name] += times
        ratios.append(sum(found["torch"]) / sum(found["keras"]))
    note = f"{min(ratios):.2f} to {max(ratios):.2f} x in single turns"
    what, against = "MNIST in Keras, `cnn`, an epoch", "the same in torch"
    return [comparison_row(what, epochs["keras"], against, epochs["torch"], note)], []


def start(options: Options) -> Measured:
    """Measure the time of `--help`, of a refused command, and until the first step.

    Each is a new command; a first run, which reads the files from the disk, is not counted.
    """
    waits = {
        f"python -m {MNIST} --help": lambda: run_python("-m", MNIST, "--help"),
        "a refused configuration": lambda: run_python("-m", MNIST, "optimizer.lr=-1", status=2),
        "start to first step, torch": lambda: wait_for_first_step("torch"),
        "start to first step, Keras": lambda: wait_for_first_step("keras"),
        "start to first step, NumPy": lambda: wait_for_first_step("numpy"),
    }
    rows = []
    for what, wait in waits.items():
        if not options.quick:
            wait()
        rows.append(single_row(what, [seconds(wait) for _ in range(1 if options.quick else RUNS)], "s"))
    return rows, []


def wait_for_first_step(framework: str) -> None:
    """Start a training and return when the checkpoint after its first step exists.

    Raises:
        BenchmarkError: the training ends before, or takes too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = [f"framework={framework}", "trainer.checkpoint_seconds=0", f"hydra.run.dir={folder}"]
        begin, quiet = time.perf_counter(), subprocess.DEVNULL
        command = [sys.executable, "-m", MNIST, *words]
        process = subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet)
        try:
            while not any(Path(folder).glob("checkpoint_*")):
                if process.poll() is not None or time.perf_counter() - begin > TIMEOUT:
                    raise BenchmarkError(f"{MNIST} {' '.join(words)}: no first step")
                time.sleep(0.005)
        finally:
            process.kill()
            process.wait()


def memory(options: Options) -> Measured:
    """Measure the peak memory of each application on its real data; `quick`: of xor alone."""
    rows = []
    for run in ["xor"] if options.quick else MEMORY_RUNS:
        app, *words = run.split()
        with tempfile.TemporaryDirectory() as folder:
            short = [f"hydra.run.dir={folder}/run", f"trainer.max_steps={MEMORY_STEPS}"]
            found = peak_memory("-m", f"apps.{app}", *words, *short)
        rows.append(single_row(f"peak memory, {run}", [found], "MiB"))
    return rows, []


def encoding(options: Options) -> Measured:
    """Measure how long IMDB's encoding takes the first time, and from the cache. Needs IMDB."""
    first, later = [], []
    for _ in range(1 if options.quick else ENCODING_RUNS):
        with tempfile.TemporaryDirectory() as root:
            durations = [float(run_python("-c", ENCODE, root, str(DATA)).split()[-1]) for _ in range(3)]
            first.append(durations[0])
            later += durations[1:]
    return [
        single_row("encoding IMDB, the first time", first, "s"),
        single_row("encoding IMDB, later", later, "s"),
    ], []


def processes(options: Options) -> Measured:
    """Measure an epoch on two processes with one thread each against one process with two threads.

    On one machine there is nothing to gain: the same cores do the same work, and add up gradients
    as well. The row shows what that costs.
    """
    data = ["data=digits"] if options.quick else []
    torchrun = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}")
    with tempfile.TemporaryDirectory() as folder:
        one = epoch_seconds(Path(folder, "one"), f"trainer.threads={PROCESSES}", *data)
        two = epoch_seconds(Path(folder, "two"), "trainer.threads=1", *data, launcher=torchrun)
    what = f"MNIST `cnn`, an epoch on {PROCESSES} processes with one thread each"
    return [comparison_row(what, two, f"one process with {PROCESSES} threads", one)], []


def epoch_seconds(folder: Path, *overrides: str, launcher: Sequence[str] = ()) -> list[float]:
    """Train on MNIST; return the seconds of its epochs without the first, which includes setup."""
    train_app("mnist_cnn", folder, "trainer.epochs=3", *overrides, launcher=launcher)
    return [row["seconds"] for row in read_rows(folder)[1:]]
