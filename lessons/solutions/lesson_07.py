"""Solutions of lesson 7. Running this file checks them."""

import numpy as np


class MySiLU:
    """Exercise 1: by the product rule, the slope is s + x s (1 - s), where s is the sigmoid."""

    def forward(self, x):
        self.x, self.s = x, 1 / (1 + np.exp(-x))
        return self.x * self.s

    def backward(self, dy):
        return dy * (self.s + self.x * self.s * (1 - self.s))


# 2. Half of every weight: the signs, and with them the ReLUs that are active, stay the same, and the backward pass
#    multiplies by ten matrices that are half as large.
PREDICTION = 0.5**10


def input_gradient(deviation):
    """Return the gradient of the input of ten ReLU layers."""
    rng, layers = np.random.default_rng(0), []
    for _ in range(10):
        layers.append(deviation * rng.standard_normal((50, 50)))
    x, active = rng.standard_normal(50), []
    for weight in layers:
        x = weight @ x
        active.append(x > 0)
        x = np.maximum(x, 0)
    dx = np.ones(50)
    for weight, mask in zip(reversed(layers), reversed(active), strict=True):
        dx = (dx * mask) @ weight
    return dx


SHRUNK = np.linalg.norm(input_gradient(0.1)) / np.linalg.norm(input_gradient(0.2))
np.testing.assert_allclose(PREDICTION, SHRUNK, rtol=1e-9)


def clip(gradients, limit):
    """Exercise 3: each was scaled by a factor of its own, which turns the direction; one norm, one factor."""
    length = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    if length > limit:
        for gradient in gradients:
            gradient *= limit / length


MINE = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
clip(MINE, 2.0)
np.testing.assert_allclose(np.linalg.norm(np.concatenate(MINE)), 2)
np.testing.assert_allclose(MINE[1] / MINE[0], [3, 2])
