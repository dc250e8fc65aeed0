"""The device that PyTorch uses."""

import torch

from shared import distributed
from shared.config import Trainer
from shared.errors import ConfigError


def device_of(trainer: Trainer) -> torch.device:
    """Return the device that `trainer.device` names; each process of a training has its own GPU.

    Raises:
        ConfigError: this machine does not have it.
    """
    enough = torch.cuda.is_available() and torch.cuda.device_count() >= distributed.local_world_size()
    kind = trainer.device
    if kind == "auto":
        kind = "cuda" if enough else "cpu"
    match kind:
        case "cuda" if not enough:
            raise ConfigError(
                f"trainer.device=cuda: PyTorch finds {torch.cuda.device_count()} CUDA devices for "
                f"{distributed.local_world_size()} processes; use trainer.device=cpu"
            )
        case "mps" if not torch.backends.mps.is_available():
            raise ConfigError(
                "trainer.device=mps: PyTorch finds no Apple GPU on this machine; use trainer.device=cpu"
            )
        case "mps" if distributed.world_size() > 1:
            raise ConfigError("trainer.device=mps runs in one process: start it without torchrun")
        case "cuda":
            return torch.device("cuda", distributed.local_rank())
    return torch.device(kind)
