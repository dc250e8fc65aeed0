"""What `auto` in a configuration means on this machine."""

from shared.config import AnyAppConfig
from shared.processor import processor_flags

# Instructions that multiply bfloat16 (Intel's manual, volume 1, chapters 15 and 18). Processors
# without them convert back and forth, which is slower than float32 (docs/performance.md).
BFLOAT16_INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}


def without_auto(config: AnyAppConfig) -> AnyAppConfig:
    """Return the configuration with each `auto` but that of the device replaced by what it means.

    `trainer.precision` is bfloat16 where that is fast.
    """
    if config.trainer.precision != "auto":
        return config
    fast = config.framework != "numpy" and BFLOAT16_INSTRUCTIONS & processor_flags()
    precision = "bfloat16" if fast else "float32"
    trainer = config.trainer.model_copy(update={"precision": precision})
    return config.model_copy(update={"trainer": trainer})
