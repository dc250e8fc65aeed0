"""Copy weights between PyTorch, Keras and NumPy without loss.

torch and shared/backprop use the same names and layouts; shared/training/keras_weights.py converts Keras's.
"""

import keras
import torch
from torch import nn

from shared.backprop import Module
from shared.training.keras_weights import Array, keras_state, layer_state, state_to_keras, to_keras

__all__ = ["keras_to_torch", "numpy_to_keras", "numpy_to_torch", "torch_to_keras", "torch_to_numpy"]
__all__ += ["keras_state", "keras_to_numpy", "layer_state", "state_to_keras", "to_keras", "torch_state"]


def torch_to_keras(source: nn.Module, target: keras.Model) -> None:
    """Copy every weight of `source` into `target`.

    Raises:
        ValueError: a layer is missing on one side, or a shape does not fit.
    """
    state_to_keras(torch_state(source), target)


def keras_to_torch(source: keras.Model, target: nn.Module) -> None:
    """Copy every weight of `source` into `target`; raises as `torch_to_keras`."""
    state = keras_state(source, torch_state(target))
    target.load_state_dict({name: torch.tensor(value) for name, value in state.items()})


def torch_to_numpy(source: nn.Module, target: Module) -> None:
    """Copy every weight of `source` into `target`; raises as `torch_to_keras`."""
    target.load_state_dict(torch_state(source))


def numpy_to_torch(source: Module, target: nn.Module) -> None:
    """Copy every weight of `source` into `target`; torch raises a RuntimeError if they do not fit."""
    target.load_state_dict({name: torch.tensor(value) for name, value in source.state_dict().items()})


def numpy_to_keras(source: Module, target: keras.Model) -> None:
    """Copy every weight of `source` into `target`; raises as `torch_to_keras`."""
    state_to_keras(source.state_dict(), target)


def keras_to_numpy(source: keras.Model, target: Module) -> None:
    """Copy every weight of `source` into `target`; raises as `torch_to_keras`."""
    target.load_state_dict(keras_state(source, target.state_dict()))


def torch_state(module: nn.Module) -> dict[str, Array]:
    """Return copies of a torch module's parameters and buffers as arrays."""
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}
