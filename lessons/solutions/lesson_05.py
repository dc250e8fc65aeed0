"""Solutions of lesson 5. Running this file checks them."""

import numpy as np

# 1. A step multiplies x by 1 - 6 rate, which is below -1 from a rate of 1/3 on.
LIMIT = 1 / 3


def factor(rate):
    return 1 - 6 * rate


assert abs(factor(LIMIT - 1e-6)) < 1 < abs(factor(LIMIT + 1e-6))


class Momentum:
    """Exercise 2: the velocity is an attribute, so it is kept."""

    def __init__(self, w, rate, mu):
        self.w, self.rate, self.mu, self.v = w, rate, mu, np.zeros_like(w)

    def step(self, g):
        self.v = self.mu * self.v + g
        self.w = self.w - self.rate * self.v


MINE = Momentum(np.zeros(1), 0.01, 0.9)
for _ in range(10):
    MINE.step(np.ones(1))
assert abs(MINE.w[0] + 0.4138) < 5e-5


def rmsprop(w, slope, steps, rate=0.05):
    """Exercise 3: g @ g is one number for all weights; each needs its own average, g * g."""
    v = np.zeros_like(w)
    for _ in range(steps):
        g = slope(w)
        v = 0.9 * v + 0.1 * g * g
        w = w - rate * g / (np.sqrt(v) + 1e-8)
    return w


MOVED = rmsprop(np.array([1.0, 1.0]), lambda w: w * [1000, 1], 10)
np.testing.assert_allclose(MOVED[0], MOVED[1], rtol=1e-6)
