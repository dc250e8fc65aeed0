"""What share of the machine's arithmetic a training step uses.

The limit is measured, not read from a data sheet: the fastest product of two large matrices that
torch makes here, in the same precision with the same threads. The operations of a step are those of
its products and convolutions, forward and backward, counted by torch; a multiplication with its
addition is two.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.train import build_learner
from benchmarks.rows import Measured, Row, in_turns, seconds, within
from shared.command import configuration
from shared.training.automatic import without_auto
from shared.training.fit import Examples

SIZE = 2048  # rows and columns of the matrices, which together leave every cache
BATCHES, TURNS, UNCOUNTED, COUNTED = 16, 5, 1, 2
MODELS = ("cnn", "fast_cnn")


def learner(model: str) -> tuple[Any, Config]:
    """Return a learner as `make train-mnist model=MODEL` makes it, and its configuration."""
    words = [f"model={model}", "run_dir=unused"]
    config = without_auto(configuration("mnist_cnn", Config, words))
    return build_learner(config), config


def peak(dtype: torch.dtype) -> float:
    """Return the operations a second of the fastest product of two matrices."""
    left, right = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    fastest = min(seconds(lambda: left @ right) for _ in range(10))
    return 2 * SIZE**3 / fastest


def share(model: str, turns: int) -> Row:
    """Return the row of a model's training step."""
    trained, config = learner(model)
    random, batch = np.random.default_rng(0), config.trainer.batch_size
    examples = Examples(
        random.standard_normal((BATCHES * batch, 28, 28), np.float32),
        random.integers(0, 10, BATCHES * batch),
    )
    steps = [(part, 1e-3) for part in np.split(np.arange(BATCHES * batch), BATCHES)]
    with FlopCounterMode(display=False) as counter:
        list(trained.train(examples, steps[:1]))
    operations = counter.get_total_flops()
    found = in_turns(
        {model: lambda: list(trained.train(examples, steps))}, turns, UNCOUNTED, COUNTED
    )
    step = float(np.median(found[model])) / BATCHES
    low = config.trainer.precision == "bfloat16"
    limit = peak(torch.bfloat16 if low else torch.float32)
    percents = [100 * operations * BATCHES / seconds / limit for seconds in found[model]]
    note = (
        f"{operations / 1e9:.2f} thousand million operations in {1000 * step:.1f} ms; "
        f"{config.trainer.precision} peak {limit / 1e9:,.0f} thousand million a second"
    )
    what = f"a training step of `{model}`, of the peak of a matrix product"
    return within(what, percents, "%", None, note)


def measure(peers: Path | None, quick: bool) -> Measured:
    """Return a row for each model."""
    return [share(model, 1 if quick else TURNS) for model in MODELS], []
