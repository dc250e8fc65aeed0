"""The networks in NumPy, with their backward passes by hand (shared/backprop)."""

import numpy as np
import threadpoolctl

from apps.gradient_flow.networks import CLASSES, Array, Dense, Gradients, Masks, Network, Recurrent, Weights
from shared.backprop import (
    LSTM,
    RNN,
    BatchNorm1d,
    CrossEntropyLoss,
    Linear,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from shared.data.examples import Examples

ACTIVATIONS: dict[str, type[Module]] = {"sigmoid": Sigmoid, "tanh": Tanh, "ReLU": ReLU}


class NumpyDense(Module):
    """`Dense`; after `backward`, `flow` has the gradient of each hidden layer's output."""

    def __init__(self, network: Dense) -> None:
        super().__init__()
        self.network = network
        self.dropout: list[Array] = []  # factors for each hidden layer's output, (N, width)
        self.flow: list[Array] = []
        self.hidden: list[Sequential] = []
        inputs = network.inputs
        for layer in range(1, network.depth + 1):
            bias = not network.norm
            parts: dict[str, Module] = {"linear": Linear(inputs, network.width, bias, dtype=float)}
            if network.norm:
                parts["norm"] = BatchNorm1d(network.width, dtype=float)
            if network.activation != "none":
                parts["activation"] = ACTIVATIONS[network.activation]()
            self._add(**{f"{name}{layer}": part for name, part in parts.items()})
            self.hidden.append(Sequential(*parts.values()))
            inputs = network.width
        self._add(output=Linear(inputs, CLASSES, dtype=float))

    def forward(self, x: Array) -> Array:
        for layer, parts in enumerate(self.hidden):
            y = parts.forward(x)
            if self.dropout:
                y = y * self.dropout[layer]
            x = x + y if self.network.residual and layer else y
        return self.children["output"].forward(x)

    def backward(self, dlogits: Array) -> Array:
        dx = self.children["output"].backward(dlogits)
        self.flow = []
        for layer, parts in reversed(list(enumerate(self.hidden))):
            self.flow.insert(0, dx)
            dy = parts.backward(dx * self.dropout[layer] if self.dropout else dx)
            dx = dx + dy if self.network.residual and layer else dy
        self._collect()
        return np.asarray(dx)


class NumpyRecurrent(Module):
    """`Recurrent`; after `backward`, `flow` has the gradient of each step's input."""

    def __init__(self, network: Recurrent) -> None:
        super().__init__()
        kind = LSTM if network.cell == "lstm" else RNN
        cell = kind(network.inputs, network.hidden, batch_first=True, dtype=float)
        self._add(cell=cell, output=Linear(network.hidden, CLASSES, dtype=float))
        self.flow: Array = np.empty(0)
        self._states_shape: tuple[int, ...] = ()

    def forward(self, x: Array) -> Array:
        states, _ = self.children["cell"].forward(x)
        self._states_shape = states.shape
        return self.children["output"].forward(np.ascontiguousarray(states[:, -1]))

    def backward(self, dlogits: Array) -> Array:
        dstates = np.zeros(self._states_shape)
        dstates[:, -1] = self.children["output"].backward(dlogits)
        dx = self.children["cell"].backward(dstates)
        self._collect()
        self.flow = dx.swapaxes(0, 1)
        return np.asarray(dx)


Model = NumpyDense | NumpyRecurrent


def prepare(threads: int) -> None:
    """Set the number of threads, and allow only operations that give the same bits each time."""
    threadpoolctl.threadpool_limits(threads, "blas")


def build_model(network: Network) -> Model:
    """Return the network, float64; each call below gives it its weights."""
    return NumpyDense(network) if isinstance(network, Dense) else NumpyRecurrent(network)


def load_weights(model: Module, weights: Weights) -> None:
    """Copy the weights into the network; running statistics stay as they are."""
    for name, value in weights.items():
        model.params[name][...] = value


def gradients(model: Model, weights: Weights, batch: Examples, masks: Masks = ()) -> Gradients:
    """Return loss and gradients of a batch; dropout needs masks."""
    load_weights(model, weights)
    model.train()
    if isinstance(model, NumpyDense):
        model.dropout = [mask * np.float64(1 / (1 - model.network.dropout)) for mask in masks]
    criterion = CrossEntropyLoss()
    logits = model.forward(batch.inputs)
    loss = criterion.forward(logits, batch.labels)
    model.backward(criterion.backward())
    parameters = {name: model.grads[name] for name in weights}
    return Gradients(float(loss), logits, parameters, np.asarray(model.flow))


def logits(model: NumpyDense, weights: Weights, inputs: Array) -> Array:
    """Return the logits (N, 10) in evaluation mode."""
    load_weights(model, weights)
    model.dropout = []
    return model.eval().forward(inputs)
