"""How well a share is known that was counted."""

import math
from collections.abc import Callable


def interval(count: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share (Clopper and Pearson 1934, Biometrika 26).

    Its ends are the shares with which so many or fewer, and so many or more, are only just not too
    rare; it holds the true share at least as often as `confidence` says, whatever that is.
    """
    rare = (1 - confidence) / 2
    low = 0.0 if count == 0 else _root(lambda share: 1 - _at_most(count - 1, of, share) > rare)
    high = 1.0 if count == of else _root(lambda share: _at_most(count, of, share) < rare)
    return low, high


def _at_most(count: int, of: int, share: float) -> float:
    """Return the probability of `count` or fewer (binomial), 0 < share < 1."""
    return math.fsum(
        math.exp(
            math.lgamma(of + 1)
            - math.lgamma(k + 1)
            - math.lgamma(of - k + 1)
            + k * math.log(share)
            + (of - k) * math.log1p(-share)
        )
        for k in range(count + 1)
    )


def _root(above: Callable[[float], bool]) -> float:
    """Return where a condition that holds for large shares alone begins to hold."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if above(middle) else (middle, high)
    return high
