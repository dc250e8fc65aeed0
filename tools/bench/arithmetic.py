"""How long a training step on MNIST takes, and what share of the machine's arithmetic it uses.

The limit is measured, not read from a data sheet: the fastest product of two large matrices that
torch makes here, in the same precision with the same threads. The operations of a step are those of
its products and convolutions, forward and backward, counted by torch, and by ourselves where
`model.pooling=sparse` leaves zeros out; a multiplication with its addition is two. The images are
real ones: how many zeros there are depends on them.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.train import build_learner, load_images, split
from shared.compose import config_from_overrides
from shared.native import conv_pool
from shared.training.auto import resolve_auto
from tools.bench.rows import Measured, Row, in_turns, seconds, times, within

SIZE = 2048  # rows and columns of the matrices, which together leave every cache
BATCHES, TURNS, UNCOUNTED, COUNTED = 32, 5, 1, 2
STEPS = (["model=cnn"], ["model=fast_cnn"], ["model=cnn", "trainer.precision=float32"])


class Step:
    """A learner as `make train-mnist WORDS` makes it, which trains with MNIST, some batches a time.

    Attributes:
        config: its configuration.
        batches: how many.
    """

    def __init__(self, *words: str) -> None:
        config = config_from_overrides("mnist_cnn", Config, [*words, "run_dir=unused"])
        self.config = resolve_auto(config)
        self._learner = build_learner(self.config)
        self._examples, _, _ = split(load_images(self.config), self.config)
        size = self.config.trainer.batch_size
        whole = len(self._examples) // size
        self.batches = min(BATCHES, whole)  # few where MNIST cannot be had
        # A network that sees the same images again and again has other zeros.
        self._steps = itertools.cycle([(batch, 1e-3) for batch in np.split(np.arange(whole * size), whole)])

    def take_all(self) -> None:
        """Take a step with each of the next batches."""
        list(self._learner.train(self._examples, list(itertools.islice(self._steps, self.batches))))

    def operations(self) -> float:
        """Return how many operations a step takes, the mean of all batches."""
        left = 0

        def counted(x: Any, weight: Any, dy: Any, *others: Any) -> Any:
            nonlocal left
            bits = dy if dy.dtype == np.float32 else dy & 0x7FFF  # of bfloat16, without the sign
            left += 4 * np.count_nonzero(bits) * weight[0].size  # two products for each of them
            return gradients(x, weight, dy, *others)

        gradients = conv_pool.gradients
        with mock.patch.object(conv_pool, "gradients", counted), FlopCounterMode(display=False) as counter:
            self.take_all()
        return (counter.get_total_flops() + left) / self.batches


def peak(dtype: torch.dtype) -> float:
    """Return the operations a second of the fastest product of two matrices."""
    left, right = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    fastest = min(seconds(lambda: left @ right) for _ in range(10))
    return 2 * SIZE**3 / fastest


def rows(words: list[str], turns: int) -> Iterator[Row]:
    """Yield a step beside the one that multiplies zeros, and its share of the peak."""
    steps = {pooling: Step(*words, f"model.pooling={pooling}") for pooling in ("sparse", "plain")}
    for step in steps.values():
        step.take_all()  # the first steps are slow, and have other zeros than later ones
    taken = {pooling: step.take_all for pooling, step in steps.items()}
    found = {
        pooling: [duration / steps[pooling].batches for duration in durations]
        for pooling, durations in in_turns(taken, turns, UNCOUNTED, COUNTED).items()
    }
    trainer = steps["sparse"].config.trainer
    what = f"a training step of `{steps['sparse'].config.model.name}` in {trainer.precision}"
    yield times(what, found["sparse"], "model.pooling=plain", found["plain"], None)
    limit = peak(torch.bfloat16 if trainer.precision == "bfloat16" else torch.float32)
    operations = {pooling: step.operations() for pooling, step in steps.items()}
    percents = [100 * operations["sparse"] / duration / limit for duration in found["sparse"]]
    note = (
        f"{operations['sparse'] / 1e9:.2f} thousand million operations, with the zeros "
        f"{operations['plain'] / 1e9:.2f}; {limit / 1e9:,.0f} a second at the peak"
    )
    yield within(f"{what}, of the peak of a matrix product", percents, "%", None, note)


def measure(peers: Path | None, quick: bool) -> Measured:
    """Return two rows for each model and precision."""
    return [row for words in STEPS for row in rows(words, 1 if quick else TURNS)], []
