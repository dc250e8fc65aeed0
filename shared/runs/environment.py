"""What a result depends on besides the configuration: data, versions, hardware, commit."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shared import distributed
from shared.config import AppConfig

ROOT = Path(__file__).parents[2]
CPUINFO = Path("/proc/cpuinfo")
PACKAGES = {"torch": ["torch"], "keras": ["keras", "tensorflow"], "numpy": []}


def initial_metrics(
    config: AppConfig, data: Any, train: Any, validation: Any = None, test: Any = None
) -> dict[str, Any]:
    """Return what metrics.json holds before training starts.

    Args:
        data: the run's data set, with `name`, `source`, `sha256`, `embedded` and `classes`.
        train, validation, test: its examples.
    """
    sets = {"train": train, "validation": validation, "test": test}
    return {
        "app": config.app,
        "framework": config.framework,
        "model": config.model.name,  # type: ignore[attr-defined]  # every application's model has one
        "precision": config.trainer.precision,
        **({"pooling": config.model.pooling} if hasattr(config.model, "pooling") else {}),
        "dataset": data.name,
        "dataset_source": data.source,
        "dataset_sha256": data.sha256,
        "embedded": data.embedded,
        "classes": list(data.classes),
        "preprocessing": {"shape": [*train.inputs[:1].shape[1:]], "dtype": str(train.inputs[:1].dtype)},
        "seed": config.seed,
        **{f"{name}_examples": len(one) for name, one in sets.items() if one is not None and len(one)},
        **environment(config.framework, config.trainer.threads or distributed.available_cores()),
    }


def environment(framework: str, threads: int) -> dict[str, Any]:
    """Return `versions`, `hardware` and `git` for metrics.json; imports no framework."""
    packages = ["numpy", *PACKAGES[framework]]
    processes = distributed.world_size()
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "hardware": {
            "cpu": _cpuinfo("model name", CPUINFO) or platform.processor() or platform.machine(),
            "cores": distributed.available_cores(),
            "threads": threads,
            **({"processes": processes} if processes > 1 else {}),
            "memory_gib": memory_gib(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "git": {
            "commit": git("rev-parse", "HEAD"),
            "dirty": None if (changes := git("status", "--porcelain")) is None else bool(changes),
        },
    }


def memory_gib() -> float | None:
    """Return the machine's memory in GiB, or None if the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):  # not a POSIX system
        return None


def git(*arguments: str) -> str | None:
    """Return what a git command says about this code, or None if it fails or this is no clone."""
    if not (ROOT / ".git").exists():  # installed, maybe somewhere inside another repository
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def processor_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Return the names of the processor's features; an empty set if the system does not tell."""
    return set((_cpuinfo("flags", cpuinfo) or _cpuinfo("Features", cpuinfo)).split())


def _cpuinfo(key: str, cpuinfo: Path) -> str:
    """Return the value of a key for the first core; an empty string if there is none."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
