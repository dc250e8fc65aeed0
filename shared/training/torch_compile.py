"""torch.compile: whether this machine can compile a network, and how it is compiled."""

import os
import platform
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from torch import nn

from shared import distributed
from shared.config import Trainer
from shared.errors import ConfigError
from shared.training.torch_learner import device_of


def check_compiler(trainer: Trainer) -> None:
    """Check that torch.compile can be used, and finds a C++ compiler on a CPU.

    Raises:
        ConfigError: it cannot, or there are several processes.
    """
    if trainer.compile and distributed.world_size() > 1:
        raise ConfigError("trainer.compile=true runs in one process: start it without torchrun")
    if trainer.compile and "tensorflow" in sys.modules and "torch._dynamo" not in sys.modules:
        raise ConfigError(  # loading the compiler would abort the process: see shared/parity/__init__.py
            "trainer.compile=true cannot be used after Keras in the same process: train in another one"
        )
    if not trainer.compile or device_of(trainer).type != "cpu":
        return
    default = "clang++" if platform.system() == "Darwin" else "g++"
    compiler = shlex.split(os.environ.get("CXX", default))[0]
    header = Path(sysconfig.get_path("include"), "Python.h")
    for found, what in ((shutil.which(compiler), compiler), (header.exists(), str(header))):
        if not found:
            raise ConfigError(
                f"trainer.compile=true: PyTorch needs a C++ compiler, and there is no {what}\n"
                "install it (the environment variable CXX may name another), or use trainer.compile=false"
            )


def compile_model(model: nn.Module) -> None:
    """Let torch.compile compile the forward and backward pass at the first step.

    The module and the names of its weights stay the same; dropout draws the same numbers.
    """
    import torch._inductor.config as inductor  # the compiler takes seconds to import

    inductor.fallback_random = True
    model.compile()
