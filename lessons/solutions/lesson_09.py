"""Solutions of lesson 9. Running this file checks the second; `tools.check` checks the others."""

import numpy as np

from shared.backprop import Conv2d


class MyAverage:
    """Exercise 1: every pixel of a block gets a quarter of the block's gradient."""

    def forward(self, x):
        n, channels, height, width = x.shape
        return x.reshape(n, channels, height // 2, 2, width // 2, 2).mean(axis=(3, 5))

    def backward(self, dy):
        return dy.repeat(2, axis=2).repeat(2, axis=3) / 4


# 2. (28 + 2 * 2 - 5) // 2 + 1 rows; each kernel has 3 * 5 * 5 weights and a bias.
PREDICTION = {"rows": 14, "parameters": 16 * (75 + 1)}
LAYER = Conv2d(3, 16, 5, stride=2, padding=2)
assert PREDICTION["rows"] == LAYER.forward(np.zeros((1, 3, 28, 28), np.float32)).shape[2]
assert PREDICTION["parameters"] == sum(w.size for w in LAYER.params.values())


class Overlap:
    """Exercise 3: windows overlap in all pixels but the corners, so their gradients must be added: +=."""

    def __init__(self):
        self.W = np.array([[0.5, -1.0], [2.0, 1.5]])

    def forward(self, x):
        self.x = x
        return sum(self.W[i, j] * x[:, i : i + 2, j : j + 2] for i in range(2) for j in range(2))

    def backward(self, dy):
        self.dW, dx = np.zeros_like(self.W), np.zeros_like(self.x)
        for i, j in np.ndindex(2, 2):
            self.dW[i, j] = (dy * self.x[:, i : i + 2, j : j + 2]).sum()
            dx[:, i : i + 2, j : j + 2] += dy * self.W[i, j]
        return dx
