"""The confidence interval of a counted share."""

import math
from collections.abc import Callable


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share (Clopper and Pearson 1934, Biometrika 26).

    It holds the true share with at least the given confidence, whatever that share is.
    """
    rare = (1 - confidence) / 2
    low = 0.0 if count == 0 else _bisect(lambda share: 1 - _binomial_cdf(count - 1, total, share) > rare)
    high = 1.0 if count == total else _bisect(lambda share: _binomial_cdf(count, total, share) < rare)
    return low, high


def _binomial_cdf(count: int, total: int, share: float) -> float:
    """Return P(at most `count` of `total`), for 0 < share < 1."""

    def log_probability(k: int) -> float:
        ways = math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        return ways + k * math.log(share) + (total - k) * math.log1p(-share)

    return math.fsum(math.exp(log_probability(k)) for k in range(count + 1))


def _bisect(is_above: Callable[[float], bool]) -> float:
    """Return the share from which on a condition holds."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if is_above(middle) else (middle, high)
    return high
