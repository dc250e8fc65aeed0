"""Solutions of lesson 6. Running this file checks them."""

import numpy as np

# 1. Each row is off by 0.5, so the squared error is 0.25; the surprise at each answer is log 2.
PREDICTION = {"squared error": 0.25, "cross-entropy": 0.6931}
assert abs(PREDICTION["cross-entropy"] - np.log(2)) < 5e-5


def fit(network, loss, optimizer, steps, inputs, targets):
    """Exercise 2: forward, loss, backward, step."""
    losses = []
    for _ in range(steps):
        losses.append(loss.forward(network.forward(inputs), targets))
        network.backward(loss.backward())
        optimizer.step(network.grads)
    return losses


# 3. `plain.zero_grad()` before `error.backward()`. Without it the gradients of all steps add up, which is
#    momentum without any friction: the weight swings around its target and does not come to rest.
def loss_after(reset, steps=30, rate=0.1):
    """Return the loss (w - 3)² after some steps from 0, with or without resetting the gradient."""
    w = gradient = 0.0
    for _ in range(steps):
        gradient = (0.0 if reset else gradient) + 2 * (w - 3)
        w -= rate * gradient
    return (w - 3) ** 2


assert loss_after(reset=True) < 1e-4 < 0.01 < loss_after(reset=False)
