"""Which learner trains in which framework; the others are not imported."""

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator

from shared.errors import ConfigError
from shared.training.loop import Learner


def learner_class(framework: str) -> Callable[..., Learner]:
    """Return the learner of `torch`, `keras` or `numpy`.

    Call it with the network's `build_model`, the configuration, and the name of the loss.

    Raises:
        ConfigError: torch is asked for in a process in which TensorFlow runs.
    """
    match framework:
        case "torch":
            # In this order the two abort the process: shared/parity/__init__.py tells why.
            if "tensorflow" in sys.modules and "torch._dynamo" not in sys.modules:
                raise ConfigError("Keras runs in this process: start one command for each framework")
            with uncollected():
                from shared.training.torch_learner import TorchLearner

            return TorchLearner
        case "keras":
            with uncollected():
                import shared.training.keras_quiet  # noqa: F401  (before Keras is imported)
                from shared.training.keras_learner import KerasLearner

            return KerasLearner
        case "numpy":
            from shared.training.numpy_learner import NumpyLearner

            return NumpyLearner
    raise ValueError(f"no framework is called {framework}")


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Let the collector of garbage rest meanwhile.

    An import makes a hundred thousand objects that stay, and the collector goes through all of them
    again and again: a sixth of the time that it takes.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
