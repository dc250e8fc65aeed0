"""What the processor is called and what it can do, where the system tells."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def cpu_name() -> str:
    """Return the processor's name, or its architecture where the system does not tell."""
    return _first("model name", CPUINFO) or platform.processor() or platform.machine()


def processor_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Return the names of the processor's features; none where the system does not tell."""
    return set((_first("flags", cpuinfo) or _first("Features", cpuinfo)).split())


def _first(key: str, cpuinfo: Path) -> str:
    """Return what stands behind a key for the first core, nothing where it is not there."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
