"""Benchmark of MNIST against pytorch/examples' mnist/main.py, Keras's own example, and flax.

Both examples run unchanged. PyTorch's runs in a folder of its own, with MNIST's files where it looks
for them; its lines are read as they come. It trains on 60,000 images per epoch and scores 10,000,
ours trains on 51,000 and scores 9,000: our seconds are scaled up to 60,000 (and 10,588). Keras's
trains for three epochs and prints its accuracy once. When each reaches which accuracy depends on its
seed, so it runs three times. The program in flax (flax_mnist.py) trains and scores as PyTorch's.
"""

import functools
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypeGuard

from shared.runs.environment import ROOT
from tools.bench.commands import epoch_seconds
from tools.bench.process import DATA, BenchmarkError, timed_lines, train_app
from tools.bench.rows import Measured, Options, Row, comparison_row

SCALE = 60_000 / 51_000
SEEDS, KERAS_SEEDS, EPOCHS = 10, 3, 14
ONE_EPOCH = ["model=fast_cnn", "trainer.epochs=1", "optimizer.lr=0.008"]
PEER_SEEDS = 3
FLAX_EPOCHS = 2  # the first is not counted, because it compiles
BEGIN, END = "training begins", "training ends"  # lines of keras_example_mnist.py
PYTORCH_ACCURACY = re.compile(r"Accuracy: (\d+)/10000")
ENOUGH = 9_900  # of 10,000


def mnist(options: Options) -> Measured:
    """Measure an epoch against other programs, where they can be run; says which are left out."""
    peers, quick = options.peers, options.quick
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), list[Row]()

        @functools.cache
        def epochs() -> list[float]:
            return [SCALE * seconds for seconds in epoch_seconds(folder / "torch")]

        if has_checkout(peers, "examples"):
            rows += pytorch_rows(peers, folder, epochs(), 2 if quick else EPOCHS, 1 if quick else PEER_SEEDS)
        if has_checkout(peers, "keras"):
            rows.append(keras_row(peers, folder, 1 if quick else KERAS_SEEDS))
        if can_import_flax(options.peer_python):
            rows.append(flax_row(options.peer_python, epochs()))
    return rows, []


def has_checkout(peers: Path | None, name: str) -> TypeGuard[Path]:
    """Return whether there is a checkout with an example in `peers`; if not, say how to add it."""
    found = peers is not None and (peers / name).is_dir()
    if not found:
        where = "give peers=FOLDER" if peers is None else f"{peers} has no folder of that name"
        print(f"left out: the example in the checkout `{name}`: {where} (docs/performance.md)", flush=True)
    return found


def pytorch_rows(peers: Path, folder: Path, epochs: list[float], most: int, seeds: int) -> list[Row]:
    """Return the rows against PyTorch's example; `epochs` are the seconds of ours on 60,000 images."""
    runs = [run_pytorch_example(peers, most, seed) for seed in range(1, seeds + 1)]
    against = "pytorch/examples mnist/main.py"
    theirs = [seconds for run, _ in runs for seconds in run]
    rows = [comparison_row("MNIST, the same CNN, an epoch", epochs, against, theirs)]
    reached = [math.inf if moment is None else moment for _, moment in runs]
    if statistics.median(reached) < math.inf:
        seconds, accuracies = train_fast_cnn(folder / "to_99", SEEDS)
        mean = sum(accuracies) / len(accuracies)
        assert mean >= ENOUGH / 10_000, f"{mean:.2%} is less than 99.0 %"
        note = f"`fast_cnn`, one epoch, {len(seconds)} seeds: {mean:.2%}, lowest {min(accuracies):.2%}"
        what = "MNIST to 99.0 % of the test images"
        rows.append(comparison_row(what, seconds, against, reached, note))
    return rows


def keras_row(peers: Path, folder: Path, seeds: int) -> Row:
    """Return the row against Keras's example; ours must be at least as accurate."""
    runs = [run_keras_example(peers) for _ in range(seeds)]
    theirs, reached = [seconds for seconds, _ in runs], statistics.median(score for _, score in runs)
    seconds, accuracies = train_fast_cnn(folder / "keras_99", seeds, "framework=keras")
    mean = sum(accuracies) / seeds
    assert mean >= reached, f"{mean:.2%} is less than the example's {reached:.2%}"
    note = f"`fast_cnn`, one epoch: {mean:.2%}; the example: {reached:.2%}"
    against = "keras-team/keras demo_mnist_convnet.py"
    return comparison_row("MNIST in Keras, seconds of training", seconds, against, theirs, note)


def can_import_flax(python: str) -> bool:
    """Return whether the interpreter `python` has flax; if not, say how to add it."""
    found = subprocess.run([python, "-c", "import flax, jax, optax"], capture_output=True).returncode == 0
    if not found:
        print(
            f"left out: the program in flax, because {python} cannot import flax, jax and optax. Install "
            "them into an environment of their own and give peer_python=ENVIRONMENT/bin/python",
            flush=True,
        )
    return found


def flax_row(python: str, epochs: list[float]) -> Row:
    """Return the row against the program in flax."""
    theirs = run_flax_example(python, FLAX_EPOCHS)[1:]
    what = "MNIST, the same CNN, an epoch, against flax"
    return comparison_row(what, epochs, "flax (nnx), jitted, Adam, batches of 128", theirs)


def train_fast_cnn(folder: Path, seeds: int, *overrides: str) -> tuple[list[float], list[float]]:
    """Return the seconds of training and the test accuracy of one epoch of `fast_cnn` for each seed."""
    words = [*ONE_EPOCH, *overrides]
    runs = [train_app("mnist_cnn", folder / str(seed), *words, f"seed={seed}") for seed in range(seeds)]
    return [run["train_seconds"] for run in runs], [run["test_accuracy"] for run in runs]


def find_example(peers: Path, file: str, repository: str) -> Path:
    """Return the path of an example in the folder of checkouts.

    Raises:
        BenchmarkError: it does not exist.
    """
    program = peers / file
    if not program.is_file():
        raise BenchmarkError(f"{program} is missing: clone {repository} into {peers}")
    return program.resolve()


def run_pytorch_example(peers: Path, epochs: int, seed: int = 1) -> tuple[list[float], float | None]:
    """Return the seconds of each epoch of PyTorch's example, and those to 99.0 % of the test images.

    Args:
        peers: a folder with a checkout of pytorch/examples in `examples`.
        epochs: stop after this number of epochs, or when 99.0 % are reached.
        seed: its seed; the example's own default is 1.

    Raises:
        BenchmarkError: it is missing, or does not run.
    """
    program = find_example(peers, "examples/mnist/main.py", "pytorch/examples")
    with tempfile.TemporaryDirectory() as folder:
        place, data = Path(folder, "mnist"), Path(folder, "data", "MNIST")  # it reads ../data
        place.mkdir()
        data.mkdir(parents=True)
        (data / "raw").symlink_to((DATA / "mnist").resolve())
        begin: float | None = None
        ends: list[float] = []
        command = [sys.executable, "-u", str(program), "--no-accel", "--seed", str(seed)]
        for moment, line in timed_lines(command, place):
            if begin is None and line.startswith("Train Epoch: 1"):
                begin = moment
            if begin is not None and (found := PYTORCH_ACCURACY.search(line)):
                ends.append(moment - begin)
                print(
                    f"example, seed {seed}, epoch {len(ends)}: {line.strip()}, {ends[-1]:.1f} s", flush=True
                )
                if int(found[1]) >= ENOUGH or len(ends) == epochs:
                    reached = ends[-1] if int(found[1]) >= ENOUGH else None
                    return [end - start for start, end in zip([0.0, *ends], ends, strict=False)], reached
    raise BenchmarkError(f"{program} printed no accuracy")


def run_keras_example(peers: Path) -> tuple[float, float]:
    """Return the seconds of training of Keras's example and its test accuracy.

    Raises:
        BenchmarkError: it is missing, or does not run.
    """
    program = find_example(peers, "keras/examples/demo_mnist_convnet.py", "keras-team/keras")
    words = ["-u", "-m", "tools.bench.keras_example_mnist", str(program), str(DATA.resolve())]
    begin, seconds = math.nan, math.nan
    for moment, line in timed_lines([sys.executable, *words], ROOT):
        if line.startswith(BEGIN):
            begin = moment
        elif line.startswith(END):
            seconds = moment - begin
        elif found := re.match(r"Test accuracy: (\S+)", line):
            print(f"example of Keras: {line.strip()}, {seconds:.1f} s", flush=True)
            return seconds, float(found[1])
    raise BenchmarkError(f"{program} printed no accuracy")


def run_flax_example(python: str, epochs: int) -> list[float]:
    """Return the seconds of each epoch of the program in flax.

    Raises:
        BenchmarkError: it does not run.
    """
    seconds = []
    words = ["-m", "tools.bench.flax_mnist", str((DATA / "mnist").resolve()), str(epochs)]
    for _, line in timed_lines([python, *words], ROOT):
        if line.startswith("{"):  # not a message of JAX
            result = json.loads(line)
            seconds.append(result["seconds"])
            print(f"flax, epoch {len(seconds)}: {result['accuracy']:.2%} in {seconds[-1]:.1f} s", flush=True)
    return seconds
