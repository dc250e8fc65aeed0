"""A torch module or `autograd.Function` as a layer of arrays, so that its backward pass can be checked."""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from shared.backprop.module import Array


class TorchLayer:
    """Runs a module or a Function on float64 tensors."""

    def __init__(self, function: Any) -> None:
        self.function, self.params, self.grads = function, dict[str, Array](), dict[str, Array | None]()
        if isinstance(function, torch.nn.Module):
            self.function = copy.deepcopy(function).double()
            self.params = {name: value.detach().numpy() for name, value in self.function.named_parameters()}

    def __deepcopy__(self, memo: dict[int, Any]) -> "TorchLayer":
        copied = object.__new__(type(self))
        copied.function, copied.grads = self.function, {}
        copied.params = {name: value.copy() for name, value in self.params.items()}
        return copied

    def forward(self, *inputs: Array) -> Array:
        """Return y."""
        self.inputs = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
        self.weights = {name: torch.tensor(value, requires_grad=True) for name, value in self.params.items()}
        torch.manual_seed(0)
        with torch.enable_grad():
            if isinstance(self.function, torch.nn.Module):
                self.y = torch.func.functional_call(self.function, self.weights, tuple(self.inputs))
            else:
                self.y = self.function.apply(*self.inputs)
        return self.y.detach().numpy().copy()

    def backward(self, dy: Array) -> tuple[Array | None, ...]:
        """Return the gradients of the inputs."""
        sources = [*self.inputs, *self.weights.values()]
        needed = [one for one in sources if one.requires_grad]
        found = iter(
            torch.autograd.grad(self.y, needed, torch.tensor(dy), retain_graph=True, allow_unused=True)
        )
        values = [next(found) if one.requires_grad else None for one in sources]
        arrays = [None if value is None else value.numpy() for value in values]
        self.grads = dict(zip(self.weights, arrays[len(self.inputs) :], strict=True))
        return tuple(arrays[: len(self.inputs)])


def adapt(layer: Any, inputs: Sequence[Any]) -> tuple[TorchLayer, tuple[Array, ...]]:
    """Return a module or a Function as a layer with the same name, and its inputs as arrays."""
    name = layer.__name__ if isinstance(layer, type) else type(layer).__name__
    arrays = (value.detach().numpy() if isinstance(value, torch.Tensor) else value for value in inputs)
    return type(name, (TorchLayer,), {})(layer), tuple(arrays)
