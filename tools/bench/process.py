"""Run programs to measure them from outside: their time, their output, their peak memory."""

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
# Linux counts the memory of the parent at the time of the fork as the child's: a small process forks.
LAUNCHER = """
import resource, subprocess, sys
quiet = subprocess.DEVNULL
status = subprocess.call(sys.argv[1:], stdout=quiet, stderr=quiet)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


class BenchmarkError(SuiteError):
    """A program to measure does not run."""

    status = 3


def run_python(*words: str, status: int = 0) -> str:
    """Run `python WORDS` in the repository; return its standard output.

    Raises:
        BenchmarkError: its exit status is not `status`.
    """
    result = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    if result.returncode != status:
        reason = result.stderr.strip()[-500:]
        raise BenchmarkError(f"{' '.join(words)} ended with status {result.returncode}: {reason}")
    return result.stdout


def train_app(app: str, folder: Path, *overrides: str, launcher: Sequence[str] = ()) -> dict[str, Any]:
    """Train an application in processes of its own, in the run folder `folder`; return its metrics."""
    run_python(*launcher, "-m", f"apps.{app}", *overrides, f"hydra.run.dir={folder}")
    return json.loads((folder / "metrics.json").read_text())


def timed_lines(command: Sequence[str], folder: Path) -> Iterator[tuple[float, str]]:
    """Run a program in `folder`; yield each line that it prints and when, in seconds.

    Closing the iterator ends the program.

    Raises:
        BenchmarkError: it ended with a status other than 0.
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
        if status := process.wait():
            raise BenchmarkError(f"{' '.join(command)} ended with status {status}: {last}")
    finally:
        process.kill()
        process.wait()


def peak_memory(*words: str) -> float:
    """Run `python WORDS` in the repository; return its peak memory in MiB.

    Raises:
        BenchmarkError: it ended with a status other than 0.
    """
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return float(run_python("-c", LAUNCHER, sys.executable, *words)) * unit / 2**20
