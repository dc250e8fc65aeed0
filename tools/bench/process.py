"""Programs that are measured from outside: started, timed, and their memory read."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shared.errors import SuiteError
from shared.runs.environment import ROOT

DATA = ROOT / "data"
# Linux counts the memory of whoever starts a program as the program's: a small process does it.
LAUNCHER = """
import resource, subprocess, sys
quiet = subprocess.DEVNULL
status = subprocess.call(sys.argv[1:], stdout=quiet, stderr=quiet)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


class BenchmarkError(SuiteError):
    """A program that is to be measured does not run."""

    status = 3


def trained(app: str, folder: Path, *overrides: str) -> dict[str, Any]:
    """Train with an application in a process of its own; return its metrics.

    Raises:
        BenchmarkError: it ended with another status than 0.
    """
    words = [*overrides, f"hydra.run.dir={folder}"]
    result = subprocess.run(
        [sys.executable, "-m", f"apps.{app}", *words], cwd=ROOT, capture_output=True, text=True
    )
    if result.returncode:
        raise BenchmarkError(f"apps.{app} {' '.join(words)}: {result.stderr.strip()}")
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def lines_in_time(command: Sequence[str], folder: Path) -> Iterator[tuple[float, str]]:
    """Run a program in `folder`; yield each line that it prints and when, in seconds.

    Raises:
        BenchmarkError: it ended with another status than 0.
    """
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    last = ""
    try:
        for line in process.stdout:
            yield time.perf_counter(), line
            last = line.strip() or last
        if process.wait():
            status = process.returncode
            raise BenchmarkError(f"{' '.join(command)} ended with status {status}: {last}")
    finally:  # whoever has seen enough does not wait for its end
        process.kill()
        process.wait()


def peak_memory(command: Sequence[str]) -> float:
    """Run a program of ours; return the most memory that it held at a time, in MiB.

    Raises:
        BenchmarkError: it ended with another status than 0.
    """
    result = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], cwd=ROOT, capture_output=True, text=True
    )
    if result.returncode:
        raise BenchmarkError(f"{' '.join(command)} ended with status {result.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return float(result.stdout) * unit / 2**20
