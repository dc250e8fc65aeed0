"""A torch module or `autograd.Function` as a layer of arrays, so that its backward pass can be checked."""

from collections.abc import Sequence
from typing import Any

import torch

from shared.backprop.module import Array


class TorchLayer:
    """Runs a module or a Function on float64 tensors."""

    def __init__(self, function: Any) -> None:
        self.module = function if isinstance(function, torch.nn.Module) else None
        self.call = function.double() if self.module is not None else function.apply
        named = self.module.named_parameters() if self.module is not None else ()
        self.params: dict[str, Array] = {name: value.detach().numpy().copy() for name, value in named}
        self.grads: dict[str, Array | None] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "TorchLayer":
        copied = TorchLayer.__new__(TorchLayer)
        copied.module, copied.call, copied.grads = self.module, self.call, {}
        copied.params = {name: value.copy() for name, value in self.params.items()}
        return copied

    def forward(self, *inputs: Array) -> Array:
        """Return y."""
        self.inputs = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
        self.weights = {name: torch.tensor(value, requires_grad=True) for name, value in self.params.items()}
        torch.manual_seed(0)
        with torch.enable_grad():
            if self.module is None:
                self.y = self.call(*self.inputs)
            else:
                self.y = torch.func.functional_call(self.module, self.weights, tuple(self.inputs))
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


def adapt(layer: Any, inputs: Sequence[Any]) -> tuple[str, TorchLayer, list[Array]]:
    """Return name, layer and inputs of a module or a Function, as arrays."""
    name = layer.__name__ if isinstance(layer, type) else type(layer).__name__
    arrays = [value.detach().numpy() if isinstance(value, torch.Tensor) else value for value in inputs]
    return name, TorchLayer(layer), arrays
