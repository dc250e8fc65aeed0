"""Which arithmetic `trainer.precision=auto` means on this machine."""

from pathlib import Path

from shared.config import AnyAppConfig

# Instructions that multiply bfloat16 (Intel's manual, volume 1, chapters 15 and 18). Processors
# without them convert back and forth, which is slower than float32 (docs/performance.md).
BFLOAT16_INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}


def with_precision(config: AnyAppConfig) -> AnyAppConfig:
    """Return the configuration with `auto` replaced: bfloat16 where that is fast."""
    if config.trainer.precision != "auto":
        return config
    fast = config.framework != "numpy" and BFLOAT16_INSTRUCTIONS & processor_flags()
    precision = "bfloat16" if fast else "float32"
    trainer = config.trainer.model_copy(update={"precision": precision})
    return config.model_copy(update={"trainer": trainer})


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the names of the processor's features; none where the system does not tell."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    flags = [line.partition(":")[2] for line in lines if line.startswith("flags")]
    return set(flags[0].split()) if flags else set()
