"""How long IMDB takes to become numbers: the first time, and every time after it. Needs IMDB."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from shared.data.fetch import archives_folder
from shared.runs.environment import ROOT
from tools.bench.process import DATA, BenchmarkError
from tools.bench.rows import Measured, within

FIRST, LATER = 20.0, 2.0  # seconds
RUNS = 3
PROGRAM = """
import sys, time
from pathlib import Path
from shared.data import imdb
from shared.data.text import Settings
start = time.perf_counter()
imdb.load(Path(sys.argv[1]), Settings(20_000, 2), download=False, fallback=None)
print(time.perf_counter() - start)
"""


def load_seconds(root: str, archives: Path) -> float:
    """Return how long it takes in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, root],
        cwd=ROOT,
        env={**os.environ, "DATA_ARCHIVES": str(archives)},
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise BenchmarkError(result.stderr.strip().splitlines()[-1])
    return float(result.stdout.split()[-1])


def measure(peers: Path | None, quick: bool) -> Measured:
    """Return the rows of the first and of later starts."""
    first, later = [], []
    for _ in range(1 if quick else RUNS):
        with tempfile.TemporaryDirectory() as root:
            archives = archives_folder() or DATA
            first.append(load_seconds(root, archives))
            later += [load_seconds(root, archives) for _ in range(2)]
    return [
        within("encoding IMDB, the first time", first, "s", FIRST),
        within("encoding IMDB, later", later, "s", LATER),
    ], []
