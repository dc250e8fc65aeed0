"""What `auto` in a configuration means on this machine."""

import sys

from shared.config import AnyAppConfig, AppConfig, Pooling, can_be_sparse
from shared.native.library import NoCompiler, built
from shared.processor import processor_flags

# Instructions that multiply bfloat16 (Intel's manual, volume 1, chapters 15 and 18). Processors
# without them convert back and forth, which is slower than float32 (docs/performance.md).
BFLOAT16_INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}


def resolve_auto(config: AnyAppConfig) -> AnyAppConfig:
    """Return the configuration with each `auto` but that of the device replaced by what it means.

    `trainer.precision` is bfloat16 where that is fast; `model.pooling`, where the model has it, is
    sparse where that is faster and can be compiled.
    """
    if config.trainer.precision == "auto":
        fast = config.framework != "numpy" and BFLOAT16_INSTRUCTIONS & processor_flags()
        update = {"precision": "bfloat16" if fast else "float32"}
        config = config.model_copy(update={"trainer": config.trainer.model_copy(update=update)})
    if getattr(config.model, "pooling", None) == "auto":
        pooling: Pooling = "sparse" if sparse_pays(config) and why_not_sparse() is None else "plain"
        model = config.model.model_copy(update={"pooling": pooling})
        config = config.model_copy(update={"model": model})
    return config


def check_pooling(config: AppConfig) -> None:
    """Check that `model.pooling` can be had; where `auto` would have it and cannot, say so.

    Raises:
        NoCompiler: it is `sparse`, and cannot be compiled.
    """
    match getattr(config.model, "pooling", None):
        case "sparse":
            built()
        case "auto" if sparse_pays(config) and (reason := why_not_sparse()):
            print(
                f"note: {reason}; on the processor training takes longer without "
                "(model.pooling=plain says that this is meant)",
                file=sys.stderr,
            )


def sparse_pays(config: AppConfig) -> bool:
    """Whether sparse gradients are possible, and faster, with this framework and network."""
    return can_be_sparse(config) and config.framework in getattr(config.model, "SPARSE_PAYS", ())


def why_not_sparse() -> str | None:
    """Return why the C code cannot be compiled here; None where it is."""
    try:
        built()
    except NoCompiler as error:
        return str(error)
    return None
