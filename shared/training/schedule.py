"""The learning rate of every step, the same for all frameworks."""

import numpy as np
from numpy.typing import NDArray

WARM_UP = 0.3  # share of the steps in which one_cycle rises
START = 1 / 25  # where it starts, as a share of the peak
END = 1 / 10_000  # where it ends


def learning_rates(schedule: str, peak: float, steps: int) -> NDArray[np.float64]:
    """Return the learning rate of each step, shape (steps,).

    `constant` is `peak` throughout. `one_cycle` goes up to `peak` and down again, half a cosine
    each way (Smith and Topin 2018, arXiv:1708.07120; the shares above are those of
    torch.optim.lr_scheduler.OneCycleLR).
    """
    if schedule == "constant":
        return np.full(steps, peak)
    rising = max(1, round(WARM_UP * steps))
    up = _half_cosine(START, 1.0, rising)
    down = _half_cosine(1.0, END, steps - rising + 1)[1:]
    return peak * np.concatenate([up, down])[:steps]


def _half_cosine(start: float, end: float, points: int) -> NDArray[np.float64]:
    """Return `points` values from `start` to `end`, both included, along half a cosine."""
    position = np.linspace(0.0, 1.0, points)
    return end + (start - end) * (1 + np.cos(np.pi * position)) / 2
