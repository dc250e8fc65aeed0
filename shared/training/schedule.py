"""The learning rate of every step, the same for all frameworks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WARM_UP = 0.3  # share of the steps in which one_cycle rises
START = 1 / 25  # where it starts, as a share of the peak
END = 1 / 10_000  # where it ends


def learning_rates(schedule: str, peak: float, total: int, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the learning rate of each of `steps`, counted from 0, of a training of `total` steps.

    `constant` is `peak` throughout. `one_cycle` goes up to `peak` and down again, half a cosine
    each way (Smith and Topin 2018, arXiv:1708.07120); torch.optim.lr_scheduler.OneCycleLR does
    the same with final_div_factor=400.
    """
    if schedule == "constant":
        return np.full(len(steps), peak)
    top = max(1.0, WARM_UP * total - 1)  # the step that has the peak, on the scale of steps
    rising = _half_cosine(START, 1.0, steps / top)
    falling = _half_cosine(1.0, END, (steps - top) / max(1.0, total - 1 - top))
    return peak * np.where(steps <= top, rising, falling)


def _half_cosine(start: float, end: float, position: NDArray[Any]) -> NDArray[np.float64]:
    """Go from `start` at position 0 to `end` at position 1 along half a cosine."""
    return np.asarray(end + (start - end) * (1 + np.cos(np.pi * position)) / 2)
