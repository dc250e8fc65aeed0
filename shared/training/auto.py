"""What `auto` in a configuration means on this machine."""

from shared.config import AnyAppConfig
from shared.runs.environment import processor_flags

# Instructions that multiply bfloat16 (Intel's manual, volume 1, chapters 15 and 18). Processors
# without them convert back and forth, which is slower than float32 (docs/performance.md).
BFLOAT16_INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}


def resolve_auto(config: AnyAppConfig) -> AnyAppConfig:
    """Return the configuration with `auto` replaced in `trainer.precision` and `model.pooling`.

    Raises:
        ConfigError: `model.pooling=sparse` is not possible with this configuration or machine.
    """
    if config.trainer.precision == "auto":
        fast = config.framework != "numpy" and BFLOAT16_INSTRUCTIONS & processor_flags()
        update = {"precision": "bfloat16" if fast else "float32"}
        config = config.model_copy(update={"trainer": config.trainer.model_copy(update=update)})
    if getattr(config.model, "pooling", "plain") != "plain":
        from shared.training.conv_pool import resolve_pooling

        model = config.model.model_copy(update={"pooling": resolve_pooling(config)})
        config = config.model_copy(update={"model": model})
    return config
