"""The networks whose gradients are looked at, and their initial weights; no framework in here.

A network is described by `Dense` or `Recurrent`. The weights are NumPy arrays under torch's names,
drawn here and handed to whichever framework computes: all of them start from the same numbers.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from shared.training.frameworks import learner_class

Array = NDArray[np.float64]
Weights = dict[str, Array]  # by torch's names

CLASSES = 10
INITIALISATIONS = ("normal", "Glorot", "He", "orthogonal")
ACTIVATIONS = ("sigmoid", "tanh", "ReLU")  # those that are compared; "none" is there too


@dataclass(frozen=True)
class Dense:
    """`depth` hidden layers h_l = activation(norm(W_l h_(l-1) + b_l)), then a linear layer.

    With `residual` every layer from the second on adds its input: h_l = h_(l-1) + ... With `norm`
    batch normalization takes the place of the bias. Inputs (N, inputs) to logits (N, 10).

    Attributes:
        activation: "sigmoid", "tanh", "ReLU" or "none".
        dropout: share of zeros after each activation, where masks are given.
    """

    inputs: int
    width: int
    depth: int
    activation: str
    norm: bool = False
    residual: bool = False
    dropout: float = 0.0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        inputs = self.inputs
        for layer in range(1, self.depth + 1):
            shapes[f"linear{layer}.weight"] = (self.width, inputs)
            if self.norm:
                shapes[f"norm{layer}.weight"] = shapes[f"norm{layer}.bias"] = (self.width,)
            else:
                shapes[f"linear{layer}.bias"] = (self.width,)
            inputs = self.width
        return shapes | {"output.weight": (CLASSES, inputs), "output.bias": (CLASSES,)}


@dataclass(frozen=True)
class Recurrent:
    """An RNN or an LSTM, a linear layer on its last state; inputs (N, T, inputs) to (N, 10).

    Attributes:
        cell: "rnn" (tanh) or "lstm".
    """

    cell: str
    inputs: int
    hidden: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight by name."""
        rows = self.hidden * (4 if self.cell == "lstm" else 1)
        return {
            "cell.weight_ih_l0": (rows, self.inputs),
            "cell.weight_hh_l0": (rows, self.hidden),
            "cell.bias_ih_l0": (rows,),
            "cell.bias_hh_l0": (rows,),
            "output.weight": (CLASSES, self.hidden),
            "output.bias": (CLASSES,),
        }


Network = Dense | Recurrent


@dataclass(frozen=True)
class Gradients:
    """What one backward pass gives.

    Attributes:
        loss: mean cross-entropy over the batch, in nats.
        parameters: its gradient with respect to every weight, by name.
        flow: of a `Dense`, the gradient with respect to the output of each hidden layer
            (depth, N, width); of a `Recurrent`, with respect to the input of each step
            (T, N, inputs).
    """

    loss: float
    parameters: Weights
    flow: Array


class Engine(Protocol):
    """What numpy_model.py, torch_model.py and keras_model.py have."""

    def prepare(self, threads: int) -> None:
        """Set the number of threads."""

    def build_model(self, network: Network) -> Any:
        """Return the network in this framework, float64; its weights are given with each call."""

    def gradients(
        self,
        model: Any,
        weights: Weights,
        inputs: Array,
        labels: NDArray[np.int64],
        masks: Sequence[NDArray[np.bool_]] = (),
    ) -> Gradients:
        """Return loss and gradients; `masks` (N, width), one a layer, True keeps: dropout."""

    def logits(self, model: Any, weights: Weights, inputs: Array) -> Array:
        """Return the logits (N, 10), without dropout."""


def engine(framework: str) -> Engine:
    """Return the module that computes in `torch`, `keras` or `numpy`; the others stay away.

    Raises:
        ConfigError: torch is asked for in a process in which TensorFlow runs.
    """
    learner_class(framework)  # imports Keras quietly, and torch only where it may be
    return cast(Engine, importlib.import_module(f"apps.gradient_flow.{framework}_model"))


def initial_weights(
    network: Network, initialization: str, deviation: float, rng: np.random.Generator
) -> Weights:
    """Return weights: matrices as `initialization` says, biases 0, batch norm's gamma 1."""
    weights = {}
    for name, shape in network.shapes().items():
        if len(shape) == 2:
            weights[name] = matrix(shape, initialization, deviation, rng)
        else:
            value = 1.0 if name.startswith("norm") and name.endswith("weight") else 0.0
            weights[name] = np.full(shape, value)
    return weights


def matrix(shape: tuple[int, ...], initialization: str, deviation: float, rng: np.random.Generator) -> Array:
    """Return a matrix (outputs, inputs) of random weights.

    normal: N(0, deviation^2).
    Glorot: N(0, 2 / (inputs + outputs)) (Glorot and Bengio 2010, equation 12).
    He: N(0, 2 / inputs) (He et al. 2015, arXiv:1502.01852, equation 10).
    orthogonal: its rows, or its columns where these are fewer, are orthonormal (Saxe et al. 2014,
    arXiv:1312.6120, section 3); uniformly distributed thanks to the signs (Mezzadri 2007).

    Raises:
        ValueError: there is no initialization of this name.
    """
    outputs, inputs = shape
    random = rng.standard_normal((outputs, inputs))
    match initialization:
        case "normal":
            return deviation * random
        case "Glorot":
            return np.asarray((2 / (inputs + outputs)) ** 0.5 * random)
        case "He":
            return np.asarray((2 / inputs) ** 0.5 * random)
        case "orthogonal":
            tall = random if outputs >= inputs else random.T
            q, r = np.linalg.qr(tall)
            q = q * np.sign(np.diag(r))
            return np.ascontiguousarray(q if outputs >= inputs else q.T)
    raise ValueError(f"expected an initialization of {INITIALISATIONS}, given {initialization}")


def recurrent_weights(
    network: Recurrent, rng: np.random.Generator, forget_bias: float = 0.0, gain: float | None = None
) -> Weights:
    """Return weights from U(-1/sqrt(hidden), 1/sqrt(hidden)), torch's range; biases 0.

    Args:
        network: what they are for.
        rng: where they are drawn from.
        forget_bias: added to the forget gate of an LSTM (Gers et al. 2000, section 4).
        gain: the recurrent weights are `gain` times an orthogonal matrix instead.
    """
    bound = network.hidden**-0.5
    weights: Weights = {
        name: rng.uniform(-bound, bound, shape) if len(shape) == 2 else np.zeros(shape)
        for name, shape in network.shapes().items()
    }
    if gain is not None:
        square = (network.hidden, network.hidden)
        weights["cell.weight_hh_l0"] = gain * matrix(square, "orthogonal", 1.0, rng)
    if forget_bias:  # the gates lie in the order i, f, g, o
        weights["cell.bias_ih_l0"][network.hidden : 2 * network.hidden] = forget_bias
    return weights


def norm(values: NDArray[Any]) -> float:
    """Return the square root of the sum of squares of all numbers.

    The largest is taken out first: squares of numbers below 1e-162 would be 0, and the gradients
    that vanish are what this is for.
    """
    largest = float(np.abs(values).max())
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.square(values / largest).sum()))


def total_norm(gradients: Mapping[str, Array]) -> float:
    """Return the norm of all gradients together."""
    return norm(np.array([norm(gradient) for gradient in gradients.values()]))
