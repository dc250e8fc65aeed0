"""Chooses what computes a run, and imports only the framework that was asked for."""

import contextlib
import ctypes
import gc
import importlib
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from shared import distributed
from shared.config import AnyAppConfig, AppConfig
from shared.errors import INCOMPLETE, ConfigError
from shared.runs.environment import processor_flags
from shared.training.loop import Learner
from shared.training.losses import Loss
from shared.training.schedule import ALL, LrScales

# Instructions that multiply bfloat16 (Intel's manual, volume 1, chapters 15 and 18). Processors
# without them convert back and forth, which is slower than float32 (docs/performance.md).
BFLOAT16_INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}

# Parameters of glibc's mallopt (malloc.h), and the largest values they take, in bytes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER_TRIM = 2**31 - 1
LARGEST_MMAP_THRESHOLDS = (2**30, 32 * 2**20)  # older versions refuse the first


def resolve_auto(config: AnyAppConfig) -> AnyAppConfig:
    """Return the configuration with `auto` replaced in `trainer.precision` and `model.pooling`.

    Raises:
        ConfigError: `model.pooling=sparse` is not possible with this configuration or machine.
    """
    if not isinstance(config, AppConfig):
        raise ConfigError(INCOMPLETE)
    if config.trainer.precision == "auto":
        fast = config.framework != "numpy" and BFLOAT16_INSTRUCTIONS & processor_flags()
        update = {"precision": "bfloat16" if fast else "float32"}
        config = config.model_copy(update={"trainer": config.trainer.model_copy(update=update)})
    if getattr(config.model, "pooling", "plain") != "plain":
        from shared.training.conv_pool import resolve_pooling

        model = config.model.model_copy(update={"pooling": resolve_pooling(config)})
        config = config.model_copy(update={"model": model})
    return config


def build_learner(
    package: str, config: AppConfig, loss: Loss = "cross_entropy", lr_scales: LrScales = ALL, **sizes: Any
) -> Learner:
    """Return the network of an application with its optimizer, in `config.framework`.

    Args:
        package: the application, such as "apps.mnist_cnn".
        config: the configuration.
        loss: name of the loss.
        lr_scales: factors of the learning rate by parameter group.
        sizes: arguments of `build_model` in addition to `config.model`.
    """
    new_learner = learner_class(config.framework)
    build_model = partial(network_module(package, config).build_model, **sizes)
    learner = new_learner(build_model, config, loss, lr_scales)
    if (init := getattr(config.model, "init", "torch")) != "torch":
        from shared.training.initial_weights import draw_weights

        learner.load_weights(draw_weights(learner.weights(), init, config.seed))
    return learner


def network_module(package: str, config: AppConfig) -> Any:
    """Return an application's module with the networks of `config.framework`."""
    return importlib.import_module(f"{package}.{config.framework}_model")


def learner_class(framework: str) -> Callable[..., Learner]:
    """Return the learner of `torch`, `keras` or `numpy`; its arguments are those of TorchLearner."""
    keep_freed_memory()
    match framework:
        case "torch":
            with undisturbed_import():
                if distributed.world_size() > 1:
                    from shared.training.torch_ddp import DistributedTorchLearner

                    return DistributedTorchLearner
                from shared.training.torch_learner import TorchLearner

            return TorchLearner
        case "keras":
            with undisturbed_import():
                import shared.training.keras_quiet  # noqa: F401  (before Keras is imported)
                from shared.training.keras_learner import KerasLearner

            return KerasLearner
        case "numpy":
            from shared.training.numpy_learner import NumpyLearner

            return NumpyLearner
    raise ValueError(f"unknown framework {framework}")


@contextlib.contextmanager
def undisturbed_import() -> Iterator[None]:
    """Pause garbage collection, a sixth of the time, and defer Ctrl-C, which an import may swallow."""
    enabled = gc.isenabled()
    gc.disable()
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        # Later collections would visit half a million imported objects, which stay. Frozen once, and without
        # Triton, which would print leaks at exit.
        if not gc.get_freeze_count() and "triton" not in sys.modules:
            gc.freeze()
        if enabled:
            gc.enable()


def keep_freed_memory() -> None:
    """Tell glibc not to return freed blocks of up to 1 GiB to the system.

    By default, every step requests and returns them: page faults, a fifth of the CNN's step.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_TRIM_THRESHOLD, NEVER_TRIM)
        any(libc.mallopt(M_MMAP_THRESHOLD, size) for size in LARGEST_MMAP_THRESHOLDS)
