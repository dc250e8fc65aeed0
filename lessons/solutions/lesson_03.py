"""Solutions of lesson 3."""

import numpy as np

# 1. Each class has probability 1/10, and the surprise at any of them is log 10.
PREDICTION = 2.3026


class Huber:
    """Exercise 2: e where |e| <= 1, its sign elsewhere, and 1/N because the loss is a mean."""

    def forward(self, x, t):
        self.e = x - t
        small = abs(self.e) <= 1
        return np.where(small, self.e**2 / 2, abs(self.e) - 0.5).mean()

    def backward(self):
        return np.clip(self.e, -1, 1) / self.e.size


class Entropy:
    """Exercise 3: the loss is a mean over all numbers, so the gradient has a factor 1/N."""

    def forward(self, z, t):
        self.p, self.t = 1 / (1 + np.exp(-z)), t
        return (np.logaddexp(0, z) - z * t).mean()

    def backward(self):
        return (self.p - self.t) / self.p.size


assert abs(PREDICTION - np.log(10)) < 5e-5
