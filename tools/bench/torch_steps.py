"""Benchmark of a training step on MNIST: its time, and its share of the machine's peak FLOP/s.

The peak is measured, not read from a data sheet: the fastest product of two large matrices in torch,
in the same precision with the same threads. The operations of a step are those of its products and
convolutions, forward and backward, counted by torch, and by us where `model.pooling=sparse` skips
zeros; a multiplication with its addition counts as two. The images are real: the number of zeros
depends on them.
"""

import itertools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.data import load_data, split
from apps.mnist_cnn.train import build_learner
from shared.compose import config_from_overrides
from shared.training import conv_pool
from shared.training.frameworks import resolve_auto
from tools.bench.rows import Measured, Options, Row, comparison_row, seconds, single_row, time_in_turns

SIZE = 2048  # rows and columns of the matrices, which together exceed every cache
BATCHES, TURNS, WARMUP, TIMED = 32, 5, 1, 2
MODELS = (["model=cnn"], ["model=fast_cnn"], ["model=cnn", "trainer.precision=float32"])


class Steps:
    """The training steps of `make train-mnist WORDS`, some batches at a time.

    Attributes:
        config: the configuration.
        batches: steps in each `take`.
    """

    def __init__(self, words: list[str], most: int) -> None:
        self.config = resolved_config(words)
        self._learner = build_learner(self.config)
        self._examples, _, _ = split(load_data(self.config), self.config)
        size = self.config.trainer.batch_size
        whole = len(self._examples) // size
        self.batches = min(most, whole)  # the embedded digits have few
        # New images each time: a network that sees the same ones again and again has other zeros.
        self._steps = itertools.cycle([(batch, 1e-3) for batch in np.split(np.arange(whole * size), whole)])

    def take(self) -> None:
        """Take a step with each of the next batches."""
        steps = list(itertools.islice(self._steps, self.batches))
        batches = self._learner.start_epoch([batch for batch, _ in steps])
        for batch, (_, lr) in zip(batches, steps, strict=True):
            float(self._learner.step(self._examples, batch, lr)[0])

    def operations(self) -> float:
        """Return the mean number of floating-point operations of a step."""
        sparse = 0

        def counting(x: Any, weight: Any, dy: Any, *others: Any) -> Any:
            nonlocal sparse
            bits = dy if dy.dtype == np.float32 else dy & 0x7FFF  # bfloat16 without the sign
            sparse += 4 * np.count_nonzero(bits) * weight[0].size  # two products for each
            return gradients(x, weight, dy, *others)

        gradients = conv_pool.gradients
        with mock.patch.object(conv_pool, "gradients", counting), FlopCounterMode(display=False) as counter:
            self.take()
        return (counter.get_total_flops() + sparse) / self.batches


def resolved_config(words: list[str]) -> Config:
    return resolve_auto(config_from_overrides("mnist_cnn", Config, [*words, "run_dir=unused"]))


def peak_flops(dtype: torch.dtype) -> float:
    """Return the operations per second of the fastest product of two matrices."""
    left, right = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    return 2 * SIZE**3 / min(seconds(lambda: left @ right) for _ in range(10))


def step_rows(words: list[str], batches: int, turns: int) -> Iterator[Row]:
    """Yield the time of a step with the pooling that `auto` chooses against the other, and its share."""
    steps = {pooling: Steps([*words, f"model.pooling={pooling}"], batches) for pooling in ("sparse", "plain")}
    for each in steps.values():
        each.take()  # the first steps are slow, and have other zeros than later ones
    found = time_in_turns({pooling: each.take for pooling, each in steps.items()}, turns, WARMUP, TIMED)
    times = {pooling: [one / steps[pooling].batches for one in found[pooling]] for pooling in steps}
    config = resolved_config([*words, "model.pooling=auto"])
    chosen: str = config.model.pooling  # type: ignore[union-attr]  # each of MODELS has one
    other = "plain" if chosen == "sparse" else "sparse"
    precision = config.trainer.precision
    what = f"a training step of `{config.model.name}` in {precision}"
    yield comparison_row(what, times[chosen], f"model.pooling={other}", times[other])
    peak = peak_flops(torch.bfloat16 if precision == "bfloat16" else torch.float32)
    operations = {pooling: each.operations() for pooling, each in steps.items()}
    percents = [100 * operations[chosen] / duration / peak for duration in times[chosen]]
    sparse, plain = (operations[pooling] / 1e9 for pooling in ("sparse", "plain"))
    note = f"{sparse:.2f} GFLOP, {plain:.2f} with the zeros; peak {peak / 1e9:,.0f} GFLOP/s"
    yield single_row(f"{what}, share of the peak of a matrix product", percents, "%", note)


def arithmetic(options: Options) -> Measured:
    """Measure two rows for each model and precision."""
    batches, turns = (2, 1) if options.quick else (BATCHES, TURNS)
    return [row for words in MODELS for row in step_rows(words, batches, turns)], []
