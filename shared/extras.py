"""The extras of pyproject.toml: what is installed only when it is needed, and how."""

import re
import shlex
import sys
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

from shared import CONF
from shared.errors import ConfigError

MODULES = {
    "torch": ("torch", "torchvision"),
    "keras": ("keras", "tensorflow"),
    "tools": ("mlflow", "onnx", "onnxruntime", "onnxscript", "optuna", "psycopg", "tensorboard"),
}


def check_framework(framework: str) -> None:
    """Check, without importing it, that a framework is installed.

    Raises:
        ConfigError: it is not.
    """
    for module in MODULES.get(framework, ())[:1]:
        if find_spec(module) is None:
            raise ConfigError(f"framework={framework} is not installed; run {install_command(framework)}")


def check_module(error: ModuleNotFoundError) -> None:
    """Check whether what an import has not found belongs to an extra.

    Raises:
        ConfigError: it does; the message says how to install it.
    """
    for extra, modules in MODULES.items():
        if error.name in modules:
            raise ConfigError(f"{error.name} is not installed; run {install_command(extra)}") from error


def install_command(extra: str) -> str:
    """Return the shell command that installs an extra where this process runs."""
    repository = CONF.parent
    if Path(sys.prefix) == repository / ".venv":
        return f"make install extra={extra}"
    packages = [f"{repository}[{extra}]"]
    if not (repository / "pyproject.toml").exists():  # installed from a wheel
        lines = (re.split(" *; *extra == ", line) for line in requires("torch-keras-suite") or ())
        packages = [name for name, *extras in lines if extras and extras[0].strip("'\"") == extra]
    return shlex.join(["python", "-m", "pip", "install", *packages])
