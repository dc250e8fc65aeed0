"""The networks whose gradients are shown, and what computes their gradients.

`Dense` and `Recurrent` describe a network without any framework. Its weights are NumPy arrays under
PyTorch's names (weights.py), so that every framework computes with the same numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Masks = Sequence[NDArray[np.bool_]]  # of dropout, one (N, width) for each hidden layer: True keeps a value
Weights = dict[str, Array]  # by PyTorch's names

CLASSES = 10
ACTIVATIONS = ("sigmoid", "tanh", "ReLU")  # those that are compared; "none" is also possible


@dataclass(frozen=True)
class Dense:
    """`depth` hidden layers h_l = activation(norm(W_l h_(l-1) + b_l)), then a linear layer.

    Inputs (N, inputs) to logits (N, 10).
    """

    inputs: int
    width: int
    depth: int
    activation: str  # "sigmoid", "tanh", "ReLU" or "none"
    norm: bool = False  # batch normalization, which replaces the bias
    residual: bool = False  # add its input to every layer but the first: h_l = h_(l-1) + ...
    dropout: float = 0.0  # probability of a zero after each activation, when masks are given


@dataclass(frozen=True)
class Recurrent:
    """An RNN (tanh) or an LSTM, then a linear layer on its last state.

    Inputs (N, T, inputs) to logits (N, 10).
    """

    cell: str  # "rnn" or "lstm"
    inputs: int
    hidden: int


Network = Dense | Recurrent


@dataclass(frozen=True)
class Gradients:
    """The result of one backward pass.

    `flow` is the gradient with respect to the output of each hidden layer of a `Dense`,
    (depth, N, width), or to the input of each step of a `Recurrent`, (T, N, inputs).
    """

    loss: float  # mean cross-entropy of the batch, in nats
    logits: Array  # (N, 10), those that the loss was computed from
    parameters: Weights  # the gradient with respect to every weight
    flow: Array


def norm(values: NDArray[Any]) -> float:
    """Return the square root of the sum of squares of all numbers.

    The largest number is factored out, because squares of vanishing gradients (below 1e-162) are 0.
    """
    largest = float(np.abs(values).max())
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.square(values / largest).sum()))


def total_norm(gradients: Mapping[str, Array]) -> float:
    """Return the norm of all gradients together."""
    return norm(np.array([norm(gradient) for gradient in gradients.values()]))
