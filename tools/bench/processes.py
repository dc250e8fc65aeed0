"""Two processes of a thread each that train together, beside one with two threads: `cnn` on MNIST.

On one machine there is nothing to win: the same cores compute the same, and add up gradients
besides. The row says what that costs.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from shared.runs.environment import ROOT
from tools.bench.mnist import EPOCHS_TIMED, epoch_seconds, seconds_of_epochs
from tools.bench.process import BenchmarkError
from tools.bench.rows import Measured, times

COUNT = 2


def seconds_together(folder: Path, *overrides: str) -> list[float]:
    """Return the seconds of the epochs of one training in two processes, but the first.

    Raises:
        BenchmarkError: it ended with another status than 0.
    """
    words = ["trainer.threads=1", EPOCHS_TIMED, *overrides, f"hydra.run.dir={folder}"]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={COUNT}",
        "-m",
        "apps.mnist_cnn",
        *words,
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        raise BenchmarkError(f"{' '.join(command)}: {result.stderr.strip()[-500:]}")
    return seconds_of_epochs(folder)


def measure(peers: Path | None, quick: bool) -> Measured:
    """Return the row."""
    with tempfile.TemporaryDirectory() as folder:
        alone = epoch_seconds(Path(folder, "alone"), f"trainer.threads={COUNT}")
        together = seconds_together(Path(folder, "together"))
    what = f"MNIST `cnn`, an epoch in {COUNT} processes of a thread each"
    return [times(what, together, f"one process with {COUNT} threads", alone, None)], []
