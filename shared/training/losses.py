"""The losses that networks train on, by name, and their values in NumPy for evaluation.

`cross_entropy`: logits (N, classes), softmax in the loss. `binary_cross_entropy`: logits (N, 1),
sigmoid in the loss. `squared_error`: logits (N, 1), the mean of (sigmoid(logit) - label)^2.
Labels are int64 (N,). Each learner has the same three; a test compares them.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Loss = Literal["cross_entropy", "binary_cross_entropy", "squared_error"]


def example_losses(loss: Loss, logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the loss of each example, shape (N,)."""
    if loss == "cross_entropy":
        return cross_entropy(logits, labels)
    logit = logits[:, 0]
    if loss == "binary_cross_entropy":
        # -log sigmoid of the signed logit, in a form that cannot overflow
        return np.logaddexp(0, np.where(labels == 1, -logit, logit))
    from shared.backprop.activations import sigmoid  # a package that few runs need

    return np.asarray((sigmoid(logit) - labels) ** 2)


def predicted_classes(loss: Loss, logits: NDArray[Any]) -> NDArray[np.int64]:
    """Return the predicted class of each example, int64 (N,)."""
    if loss == "cross_entropy":
        return np.asarray(logits.argmax(axis=1))
    return (logits[:, 0] > 0).astype(np.int64)


def cross_entropy(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return -log softmax(logits)[label] of each example, shape (N,), in nats.

    The largest logit is subtracted first, so that no exponential overflows.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    picked = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
    return np.asarray(log_sum - picked)
