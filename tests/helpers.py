"""What several tests need: configurations, and applications run as a user runs them."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import hydra
from omegaconf import OmegaConf

from apps.mnist_cnn.config import Config
from shared.command import CONF, HYDRA_VERSION_BASE
from shared.config import validate

ROOT = Path(__file__).parents[1]
TIMEOUT = 120  # seconds; far more than any of the commands needs


def mnist_config(run_dir: Path, *overrides: str) -> Config:
    """Compose and validate a configuration of apps/mnist_cnn, on the embedded digits."""
    with hydra.initialize_config_dir(str(CONF), version_base=HYDRA_VERSION_BASE):
        composed = hydra.compose(
            "mnist_cnn", overrides=["data=digits", f"run_dir={run_dir}", *overrides]
        )
    return validate(Config, OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]


def run_mnist(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    preexec: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m apps.mnist_cnn` and wait for it."""
    return subprocess.run(
        [sys.executable, "-m", "apps.mnist_cnn", *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        preexec_fn=preexec,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
