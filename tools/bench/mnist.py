"""MNIST beside pytorch/examples' mnist/main.py and Keras's own example, and Keras beside torch.

Both examples run as they are. That of PyTorch does so in a folder of its own with the files of
MNIST where it looks for them; its lines are read as they come. It trains with 60,000 images an
epoch and scores 10,000; ours trains with 51,000 and scores 9,000: our seconds are scaled up to
60,000 (and 10,588). That of Keras trains for three epochs and says once what it reaches.
"""

import math
import re
import sys
import tempfile
from pathlib import Path

from shared.runs.environment import ROOT
from tools.bench.process import DATA, BenchmarkError, lines_in_time, trained
from tools.bench.rows import Measured, Row, times

SCALE = 60_000 / 51_000
EPOCHS_TIMED = "trainer.epochs=3"
SEEDS, KERAS_SEEDS, EPOCHS = 10, 3, 14
BEGUN, ENDED = "training begins", "training has ended"  # lines of benchmarks/keras_example.py
SCORE = re.compile(r"Accuracy: (\d+)/10000")
ENOUGH = 9_900  # of 10,000
FILES = [
    f"{part}-{kind}-idx{rank}-ubyte"
    for part in ("train", "t10k")
    for kind, rank in (("images", 3), ("labels", 1))
]


def example(peers: Path, epochs: int) -> tuple[list[float], float | None]:
    """Return the seconds of each epoch of the example, and those to 99.0 % of the test images.

    Args:
        peers: a folder with a checkout of pytorch/examples in `examples`.
        epochs: stop after so many, or when 99.0 % are reached.

    Raises:
        BenchmarkError: it is not there, or does not run.
    """
    program = peers / "examples" / "mnist" / "main.py"
    if not program.is_file():
        raise BenchmarkError(f"{program} is missing: clone pytorch/examples into {peers}")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "data", "MNIST", "raw")
        raw.mkdir(parents=True)
        for name in FILES:
            (raw / name).symlink_to((DATA / "mnist" / name).resolve())
        place = Path(folder, "mnist")  # it reads ../data
        place.mkdir()
        begun: float | None = None
        ends: list[float] = []
        command = [sys.executable, "-u", str(program.resolve()), "--no-accel"]
        for moment, line in lines_in_time(command, place):
            if begun is None and line.startswith("Train Epoch: 1"):
                begun = moment
            if begun is not None and (found := SCORE.search(line)):
                ends.append(moment - begun)
                print(f"example, epoch {len(ends)}: {line.strip()}, {ends[-1]:.1f} s", flush=True)
                if int(found[1]) >= ENOUGH or len(ends) == epochs:
                    reached = ends[-1] if int(found[1]) >= ENOUGH else None
                    return [end - start for start, end in zip([0.0, *ends], ends, strict=False)], reached
    raise BenchmarkError(f"{program} has printed no accuracy")


def keras_example(peers: Path) -> tuple[float, float]:
    """Return the seconds of training of Keras's example and its test accuracy.

    Raises:
        BenchmarkError: it is not there, or does not run.
    """
    program = peers / "keras" / "examples" / "demo_mnist_convnet.py"
    if not program.is_file():
        raise BenchmarkError(f"{program} is missing: clone keras-team/keras into {peers}")
    words = ["-u", "-m", "benchmarks.keras_example", str(program.resolve()), str(DATA.resolve())]
    begun, seconds = math.nan, math.nan
    for moment, line in lines_in_time([sys.executable, *words], ROOT):
        if line.startswith(BEGUN):
            begun = moment
        elif line.startswith(ENDED):
            seconds = moment - begun
        elif found := re.match(r"Test accuracy: (\S+)", line):
            print(f"example of Keras: {line.strip()}, {seconds:.1f} s", flush=True)
            return seconds, float(found[1])
    raise BenchmarkError(f"{program} has printed no accuracy")


def epoch_seconds(folder: Path, *overrides: str) -> list[float]:
    """Return the seconds of the epochs of one training but the first, in which much is set up."""
    trained("mnist_cnn", folder, EPOCHS_TIMED, *overrides)
    return seconds_of_epochs(folder)


def seconds_of_epochs(folder: Path) -> list[float]:
    """Return the seconds of the epochs in a run folder, but the first."""
    lines = (folder / "history.csv").read_text().splitlines()
    column = lines[0].split(",").index("seconds")
    return [float(line.split(",")[column]) for line in lines[2:]]


def fast_cnn(folder: Path, seeds: int, *overrides: str) -> tuple[list[float], list[float]]:
    """Return seconds of training and test accuracy of `fast_cnn`, by seed."""
    words = ["model=fast_cnn", *overrides]
    runs = [trained("mnist_cnn", folder / str(seed), *words, f"seed={seed}") for seed in range(seeds)]
    return [run["train_seconds"] for run in runs], [run["test_accuracy"] for run in runs]


def measure(peers: Path | None, quick: bool) -> Measured:
    """Return the rows; those beside the example only where `peers` has it."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch = epoch_seconds(folder / "torch")
        keras = epoch_seconds(folder / "keras", "framework=keras")
        what = "MNIST in Keras, `cnn`, an epoch"
        rows.append(times(what, keras, "the same in torch", torch, 1 / 1.5))
        if peers is not None and (peers / "examples").is_dir():
            rows += beside_pytorch(peers, folder, torch, 2 if quick else EPOCHS)
        if peers is not None and (peers / "keras").is_dir():
            rows.append(beside_keras(peers, folder, 1 if quick else KERAS_SEEDS))
    return rows, []


def beside_pytorch(peers: Path, folder: Path, own: list[float], most: int) -> list[Row]:
    """Return the rows of PyTorch's example; `own` are the seconds of our epochs."""
    epochs, reached = example(peers, most)
    against = "pytorch/examples mnist/main.py"
    scaled = [SCALE * seconds for seconds in own]
    rows = [times("MNIST, the same CNN, an epoch", scaled, against, epochs, 4)]
    if reached is not None:
        seconds, accuracies = fast_cnn(folder / "to_99", SEEDS)
        mean = sum(accuracies) / len(accuracies)
        assert mean >= ENOUGH / 10_000, f"{mean:.2%} are not 99.0 %"
        note = f"`fast_cnn`, {len(seconds)} seeds: {mean:.2%}, at worst {min(accuracies):.2%}"
        what = "MNIST to 99.0 % of the test images"
        rows.append(times(what, seconds, against, [reached], 30, note))
    return rows


def beside_keras(peers: Path, folder: Path, seeds: int) -> Row:
    """Return the row of Keras's example; ours must be at least as good."""
    theirs, reached = keras_example(peers)
    seconds, accuracies = fast_cnn(folder / "keras_99", seeds, "framework=keras")
    mean = sum(accuracies) / seeds
    assert mean >= reached, f"{mean:.2%} are less than the example's {reached:.2%}"
    note = f"`fast_cnn`: {mean:.2%}; the example: {reached:.2%}"
    what, against = "MNIST in Keras, seconds of training", "keras-team/keras demo_mnist_convnet.py"
    return times(what, seconds, against, [theirs], None, note)
