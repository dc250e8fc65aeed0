"""Everything the next step of a TorchLearner depends on, for checkpoints."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from shared.training.checkpoint import strip_prefix

if TYPE_CHECKING:
    from shared.training.torch_learner import TorchLearner


def state(learner: "TorchLearner") -> dict[str, NDArray[Any]]:
    """Return weights, optimizer state and the state of the random generator by name."""
    names: dict[Any, str] = {w: name for name, w in learner.model.named_parameters()}
    slots = {
        f"optimizer/{names[weight]}/{slot}": value.cpu().numpy()
        for weight, slots in learner.optimizer.state.items()
        for slot, value in slots.items()
        if value is not None
    }
    weights = {f"weights/{name}": value for name, value in learner.weights().items()}
    generator = {_random_key(learner.device): _generator(learner.device).get_rng_state().numpy()}
    return weights | slots | generator


def load_state(learner: "TorchLearner", arrays: Mapping[str, NDArray[Any]]) -> None:
    """Restore what `state` returned."""
    learner.load_weights(strip_prefix("weights/", arrays))
    weights = dict(learner.model.named_parameters())
    for key, array in strip_prefix("optimizer/", arrays).items():
        name, _, slot = key.rpartition("/")
        value = torch.tensor(array)
        if value.shape == weights[name].shape:
            # A fused step expects weight and state in the same memory format.
            value = torch.empty_like(weights[name], dtype=value.dtype).copy_(value)
        learner.optimizer.state[weights[name]][slot] = value
    if (key := _random_key(learner.device)) in arrays:  # missing if the run continues on another device
        _generator(learner.device).set_rng_state(torch.tensor(arrays[key]))


def _random_key(device: torch.device) -> str:
    return "random" if device.type == "cpu" else f"random_{device.type}"


def _generator(device: torch.device) -> Any:
    """Return the module with the functions of the device's random generator."""
    return torch if device.type == "cpu" else torch.get_device_module(device)
