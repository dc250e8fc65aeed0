"""trainer.precision=auto depends on the processor; for model.pooling=auto see test_conv_pool_compiler.py."""

from pathlib import Path

import pytest

from shared.runs.environment import processor_flags
from shared.training import frameworks as auto
from tests.helpers import mnist_config


@pytest.mark.parametrize(
    ("flags", "meaning"),
    [
        ("fpu avx2 avx512_bf16", "bfloat16"),
        ("fpu avx512f amx_tile amx_bf16", "bfloat16"),
        ("fpu avx2 avx512f", "float32"),
    ],
)
def test_auto_is_bfloat16_if_the_processor_multiplies_it(
    flags: str, meaning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    found = processor_flags(cpuinfo)
    assert found == set(flags.split())
    monkeypatch.setattr(auto, "processor_flags", lambda: found)
    config = auto.resolve_auto(mnist_config(tmp_path, "trainer.precision=auto"))
    assert config.trainer.precision == meaning


def test_a_system_without_cpuinfo_has_no_flags(tmp_path: Path) -> None:
    assert processor_flags(tmp_path / "missing") == set()


@pytest.mark.parametrize("given", ["float32", "bfloat16", "float64"])
def test_an_explicit_precision_is_kept(given: str, tmp_path: Path) -> None:
    config = mnist_config(tmp_path, f"trainer.precision={given}", "model.pooling=plain")
    assert auto.resolve_auto(config) is config
