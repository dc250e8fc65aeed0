"""Measures which way through max pooling is faster on this machine (model.pooling=auto).

    python -m shared.training.pooling_speed FRAMEWORK PRECISION SIDE KERNEL CHANNELS FILTERS

prints the seconds of a forward and backward pass, plain and sparse, through a convolution of CHANNELS x
SIDE x SIDE to FILTERS with a KERNEL x KERNEL kernel. It is a process of its own, so that
nothing of it (threads, a second framework) stays in the process that trains. It counts processor time on
one thread, which other programs hardly change: threads that wait for each other would count their waits.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time
from typing import Any, cast

import numpy as np

from shared import distributed
from shared.config import AppConfig, Pooling
from shared.runs.environment import ROOT
from shared.training.frameworks import learner_class

# Sparse must be faster by this factor. Measured again, a machine thus rarely chooses the other.
MARGIN = 1.1
IMAGES, TURNS = 32, 9
NON_ZEROS = 0.25  # share of the gradients at the maxima in a training (docs/performance.md)


def measure(config: AppConfig, record: Path) -> Pooling:
    """Return which pooling is faster, keep it in the file `record`, and print it.

    If another process has written the file in the meantime, its choice holds for all. Sparse, which was
    faster on most machines, is the choice where it cannot be kept: measured again it could be another, and
    the same seed gives the same bits. Where the measurement crashes it is plain.
    """
    model = cast(Any, config.model)
    if not os.access(record.parent, os.W_OK):
        return "sparse"
    words = [config.framework, config.trainer.precision, *map(str, model.SPARSE_CAN_PAY[config.framework])]
    command = [sys.executable, "-m", "shared.training.pooling_speed", *words]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
        distributed.print_once(f"note: model.pooling=auto is plain, because it cannot be measured: {reason}")
        return "plain"
    seconds = json.loads(result.stdout.splitlines()[-1])
    share = seconds["sparse"] / seconds["plain"]
    choice = "sparse" if share * MARGIN < 1 else "plain"
    keep(record, choice)
    distributed.print_once(
        f"note: model.pooling=auto is {record.read_text()} on this machine: sparse takes {share:.0%} of "
        f"the time of plain in `{model.name}`, measured once (kept in {record})"
    )
    return cast(Pooling, record.read_text())


def keep(record: Path, choice: str) -> None:
    """Write `choice` to the file in one step, unless it exists."""
    with tempfile.NamedTemporaryFile("w", dir=record.parent) as file:
        file.write(choice)
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, record)


def main(framework: str, precision: str, *numbers: str) -> None:
    """Time both ways in turns and print the shortest time of each, which other programs disturb least."""
    side, kernel, channels, filters = map(int, numbers)
    learner_class(framework)  # imports it as a training does
    random = np.random.default_rng(0)
    x = random.standard_normal((IMAGES, side, side, channels), np.float32)
    pooled = (side - kernel + 1) // 2
    dy = random.standard_normal((IMAGES, pooled, pooled, filters), np.float32)
    dy *= random.random(dy.shape) < NON_ZEROS
    build_step = importlib.import_module(f"shared.training.{framework}_pooling_speed").build_step
    steps = {pooling: build_step(pooling, precision, kernel, x, dy) for pooling in ("plain", "sparse")}
    seconds: dict[str, list[float]] = {pooling: [] for pooling in steps}
    for _ in range(TURNS):
        for pooling, step in steps.items():
            start = process_time()
            step()
            seconds[pooling].append(process_time() - start)
    print(json.dumps({pooling: min(times) for pooling, times in seconds.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
