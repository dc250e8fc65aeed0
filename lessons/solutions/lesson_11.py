"""Solutions of lesson 11. Running this file checks them."""

import numpy as np

# 1. 512 weights and one bias for each of the ten classes.
TRAINED = (512 + 1) * 10
assert TRAINED == 5_130


class FrozenNorm:
    """Exercise 2: mean and variance are constants, so that no gradient passes through them."""

    def __init__(self):
        self.gamma, self.beta = np.array([0.5, 1.0, 2.0]), np.array([0.1, 0.2, 0.3])
        self.statistics = [0.2, -0.1, 0.4], [1.5, 0.5, 1.0]

    def forward(self, x):
        mean, var = self.statistics
        self.scale = 1 / np.sqrt(np.array(var) + 1e-5)
        self.xhat = (x - mean) * self.scale
        return self.gamma * self.xhat + self.beta

    def backward(self, dy):
        self.dgamma, self.dbeta = (dy * self.xhat).sum(axis=0), dy.sum(axis=0)
        return dy * self.gamma * self.scale


# 3. The optimizer was created before the head was replaced, so it still holds the weights of the old head, which
#    are in no network any more and have no gradient. Replace the head first, then create the optimizer.
def head_learns(replace_first):
    """Return whether the new head is among the parameters that the optimizer updates."""
    network = {"head": np.zeros(2)}
    if replace_first:
        network["head"] = np.zeros(2)
    held = network["head"]  # what an optimizer keeps: the array, not its name
    if not replace_first:
        network["head"] = np.zeros(2)
    held -= 1.0
    return bool((network["head"] == -1).all())


assert head_learns(replace_first=True)
assert not head_learns(replace_first=False)
