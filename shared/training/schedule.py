"""The examples and the learning rates of every step, the same for all frameworks."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.config import AppConfig

Indices = NDArray[np.int64]
Batches = Callable[[int], list[Indices]]  # the batches of an epoch, counted from 1; as many in each

# Factors of the learning rate by parameter group: {"": 0.1, "fc": 1.0} trains `fc` at the full rate and
# everything else at a tenth of it; 0 freezes a group. A group is a prefix of its parameters' names; the
# longest prefix that fits counts.
LrScales = Mapping[str, float]
ALL: LrScales = {"": 1.0}

WARM_UP = 0.3  # fraction of the steps in which one_cycle rises
START = 1 / 25  # learning rate of one_cycle's first step, as a fraction of the peak
END = 1 / 10_000  # that of its last step


class Plan:
    """The batches and learning rates of a training run.

    Args:
        config: epochs, max_steps, schedule and learning rate are taken from here.
        batches: returns the batches of an epoch.

    Attributes:
        epochs: number of epochs; the last one may be cut short.
        total_steps: number of steps.
    """

    def __init__(self, config: AppConfig, batches: Batches) -> None:
        self._config, self._batches = config, batches
        self._steps_per_epoch = len(batches(1))
        steps = config.trainer.epochs * self._steps_per_epoch
        self.total_steps = min(steps, config.trainer.max_steps or steps)
        self.epochs = math.ceil(self.total_steps / self._steps_per_epoch)

    def steps(self, epoch: int, done: int = 0) -> list[tuple[Indices, float]]:
        """Return (batch, learning rate) of the steps of an epoch.

        Args:
            epoch: counted from 1.
            done: steps of the whole run that have been taken; those of this epoch are left out.
        """
        first = (epoch - 1) * self._steps_per_epoch
        numbers = np.arange(first, min(first + self._steps_per_epoch, self.total_steps))
        trainer = self._config.trainer
        rates = learning_rates(trainer.schedule, self._config.optimizer.lr, self.total_steps, numbers)
        steps = list(zip(self._batches(epoch), rates, strict=False))  # max_steps may end the epoch early
        return steps[max(0, done - first) :]


def shuffled_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[Indices]:
    """Return the shuffled batches of an epoch: every example once; the last batch may be smaller.

    The order depends only on `seed` and `epoch`, so that all frameworks see the same batches.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


def learning_rates(schedule: str, peak: float, total: int, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the learning rates of `steps`, counted from 0, in a run of `total` steps.

    `constant` is `peak` throughout. `one_cycle` rises to `peak` and falls again, half a cosine each
    way (Smith and Topin 2018, arXiv:1708.07120), like torch.optim.lr_scheduler.OneCycleLR with
    final_div_factor=400.
    """
    if schedule == "constant":
        return np.full(len(steps), peak)
    top = max(1.0, WARM_UP * total - 1)  # the step with the peak rate
    rising = _half_cosine(START, 1.0, steps / top)
    falling = _half_cosine(1.0, END, (steps - top) / max(1.0, total - 1 - top))
    return peak * np.where(steps <= top, rising, falling)


def _half_cosine(start: float, end: float, position: NDArray[Any]) -> NDArray[np.float64]:
    """Go from `start` at position 0 to `end` at position 1 along half a cosine."""
    return np.asarray(end + (start - end) * (1 + np.cos(np.pi * position)) / 2)


def parameter_group(name: str, lr_scales: LrScales) -> str:
    """Return the group that the layer or parameter of this name belongs to.

    Raises:
        ValueError: it belongs to none.
    """
    groups = [group for group in lr_scales if group in ("", name) or name.startswith(f"{group}.")]
    if not groups:
        raise ValueError(f"no learning rate for {name}: {', '.join(lr_scales)}")
    return max(groups, key=len)


def lr_scale(name: str, lr_scales: LrScales) -> float:
    """Return the factor of the learning rate of the layer or parameter of this name."""
    return lr_scales[parameter_group(name, lr_scales)]
