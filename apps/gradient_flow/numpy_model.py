"""The networks in NumPy, with the backward pass by hand (shared/backprop)."""

from collections.abc import Sequence

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from apps.gradient_flow.networks import CLASSES, Dense, Gradients, Network, Recurrent, Weights
from shared.backprop import (
    LSTM,
    RNN,
    Array,
    BatchNorm1d,
    CrossEntropyLoss,
    Dropout,
    Linear,
    Module,
    ReLU,
    Sigmoid,
    Tanh,
)

ACTIVATIONS: dict[str, type[Module]] = {"sigmoid": Sigmoid, "tanh": Tanh, "ReLU": ReLU}


class NumpyDense(Module):
    """`Dense`; after `backward`, `flow` holds the gradient of each hidden layer's output."""

    def __init__(self, network: Dense) -> None:
        super().__init__()
        self.network = network
        self.flow: list[Array] = []
        rng = np.random.default_rng(0)  # nobody sees these weights: each call brings its own
        inputs = network.inputs
        for layer in range(1, network.depth + 1):
            bias = not network.norm
            self._add(**{f"linear{layer}": Linear(inputs, network.width, bias, dtype=float, rng=rng)})
            if network.norm:
                self._add(**{f"norm{layer}": BatchNorm1d(network.width, dtype=float)})
            if network.activation != "none":
                self._add(**{f"activation{layer}": ACTIVATIONS[network.activation]()})
            if network.dropout:
                self._add(**{f"dropout{layer}": Dropout(network.dropout)})
            inputs = network.width
        self._add(output=Linear(inputs, CLASSES, dtype=float, rng=rng))

    def forward(self, x: Array, masks: Sequence[Array] = ()) -> Array:
        for layer in range(1, self.network.depth + 1):
            y = x
            for child in self._inside(layer):
                if isinstance(child, Dropout):
                    child.training = bool(masks)
                    y = child.forward(y, masks[layer - 1] if masks else None)
                else:
                    y = child.forward(y)
            x = x + y if self._adds(layer) else y
        return self.children["output"].forward(x)

    def backward(self, dlogits: Array) -> Array:
        dx = self.children["output"].backward(dlogits)
        self.flow = []
        for layer in range(self.network.depth, 0, -1):
            self.flow.insert(0, dx)
            dy = dx
            for child in reversed(self._inside(layer)):
                dy = child.backward(dy)
            dx = dx + dy if self._adds(layer) else dy
        self._collect()
        return np.asarray(dx)

    def _inside(self, layer: int) -> list[Module]:
        """Return what a hidden layer consists of, in its order."""
        kinds = ("linear", "norm", "activation", "dropout")
        return [self.children[f"{k}{layer}"] for k in kinds if f"{k}{layer}" in self.children]

    def _adds(self, layer: int) -> bool:
        """Whether a layer adds its input; the first one's has another width."""
        return self.network.residual and layer > 1


class NumpyRecurrent(Module):
    """`Recurrent`; `backward` returns the gradient of the inputs (N, T, inputs)."""

    def __init__(self, network: Recurrent) -> None:
        super().__init__()
        kind = LSTM if network.cell == "lstm" else RNN
        rng = np.random.default_rng(0)
        cell = kind(network.inputs, network.hidden, batch_first=True, dtype=float, rng=rng)
        self._add(cell=cell, output=Linear(network.hidden, CLASSES, dtype=float, rng=rng))
        self._steps: tuple[int, ...] = ()

    def forward(self, x: Array) -> Array:
        states, _ = self.children["cell"].forward(x)
        self._steps = states.shape
        return self.children["output"].forward(np.ascontiguousarray(states[:, -1]))

    def backward(self, dlogits: Array) -> Array:
        dstates = np.zeros(self._steps)
        dstates[:, -1] = self.children["output"].backward(dlogits)
        dx = self.children["cell"].backward(dstates)
        self._collect()
        return np.asarray(dx)


def prepare(threads: int) -> None:
    """Let the matrix products use so many threads."""
    threadpoolctl.threadpool_limits(threads, "blas")


def build_model(network: Network) -> NumpyDense | NumpyRecurrent:
    """Return the network in NumPy, float64."""
    return NumpyDense(network) if isinstance(network, Dense) else NumpyRecurrent(network)


def gradients(
    model: NumpyDense | NumpyRecurrent,
    weights: Weights,
    inputs: Array,
    labels: NDArray[np.int64],
    masks: Sequence[NDArray[np.bool_]] = (),
) -> Gradients:
    """Return loss and gradients of one batch; see `networks.Engine`."""
    loss = CrossEntropyLoss()
    _load(model, weights)
    if isinstance(model, NumpyDense):
        value = loss.forward(model.forward(inputs, masks), labels)
        model.backward(loss.backward())
        flow = np.stack(model.flow)
    else:
        value = loss.forward(model.forward(inputs), labels)
        flow = model.backward(loss.backward()).swapaxes(0, 1)
    return Gradients(float(value), {name: model.grads[name] for name in weights}, flow)


def logits(model: NumpyDense | NumpyRecurrent, weights: Weights, inputs: Array) -> Array:
    """Return the logits (N, 10), without dropout."""
    _load(model, weights)
    return model.forward(inputs)


def _load(model: Module, weights: Weights) -> None:
    for name, value in weights.items():
        model.params[name][...] = value
