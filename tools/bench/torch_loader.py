"""Benchmark of reading MNIST in batches: this suite's arrays against torchvision's data set.

Both yield every training image once, shuffled, standardized, as torch tensors. The usual program of
the tutorials gives torchvision's data set to a `DataLoader`, which converts one image at a time.
"""

import statistics
import tempfile
from collections import deque
from pathlib import Path

import torch
from torchvision.datasets import MNIST  # type: ignore[import-untyped]
from torchvision.transforms import Compose, Normalize, ToTensor  # type: ignore[import-untyped]

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.data import load_data, split
from shared.compose import config_from_overrides
from shared.data.examples import Examples
from shared.training.schedule import shuffled_batches
from tools.bench.process import DATA, BenchmarkError
from tools.bench.rows import Measured, Options, comparison_row, three_digits, time_in_turns

BATCH_SIZE, TURNS = 64, 5


def torchvision_mnist(folder: Path, files: Path, train: bool) -> MNIST:
    """Return torchvision's MNIST as the tutorials load it.

    Args:
        folder: an empty folder, where `files` is linked to the place that torchvision expects.
        files: a folder with the decompressed files of MNIST.
        train: whether to return the training images or the test images.
    """
    (folder / "MNIST").mkdir(exist_ok=True)
    (folder / "MNIST" / "raw").symlink_to(files.resolve())
    return MNIST(folder, train, Compose([ToTensor(), Normalize((0.1307,), (0.3081,))]))


def read_epoch(examples: Examples) -> None:
    """Read every batch of an epoch as the training loop does."""
    for rows in shuffled_batches(len(examples), BATCH_SIZE, seed=0, epoch=1):
        torch.from_numpy(examples.inputs[rows])
        torch.from_numpy(examples.labels[rows])


def loader(options: Options) -> Measured:
    """Measure an epoch of batches.

    Raises:
        BenchmarkError: MNIST is not available.
    """
    words = ["data.validation_fraction=0", "run_dir=unused"]
    config = config_from_overrides("mnist_cnn", Config, words)
    images = load_data(config)
    if images.embedded:
        raise BenchmarkError("MNIST is not available: set DATA_ARCHIVES (docs/usage.md, Data)")
    examples, _, _ = split(images, config)
    with tempfile.TemporaryDirectory() as folder:
        theirs = torchvision_mnist(Path(folder), DATA / "mnist", train=True)
        batches = torch.utils.data.DataLoader(theirs, BATCH_SIZE, shuffle=True)
        contenders = {"ours": lambda: read_epoch(examples), "theirs": lambda: deque(batches, maxlen=0)}
        found = time_in_turns(contenders, 1 if options.quick else TURNS, 0, 1)
    what = "the batches of an epoch of MNIST, 60,000 images"
    against = "torchvision.datasets.MNIST in a DataLoader"
    row = comparison_row(what, found["ours"], against, found["theirs"])
    details = [
        {"60,000 images in batches of 64": name, "seconds": text}
        for name, text in (
            ("this suite's loader", three_digits(row.ours)),
            (against, three_digits(statistics.median(found["theirs"]))),
        )
    ]
    return [row], details
