"""Class probabilities of logits, for predictions and charts; training needs none."""

import numpy as np
from numpy.typing import NDArray

from shared.backprop.activations import sigmoid, softmax
from shared.training.losses import Loss


def class_probabilities(loss: Loss, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each class, shape (N, classes)."""
    if loss == "cross_entropy":
        return softmax(logits)
    second = sigmoid(logits)
    return np.concatenate([1 - second, second], axis=1)
