"""A training in a process of its own, which kills itself where nothing can be tidied up.

WHERE it does is a thing and how often it happens before:
step:N:SECONDS    N steps are taken, and then so much time passes
fsync:N           the Nth checkpoint is written, but not known to be on the disk
replace:N         it is on the disk, but does not have its name
unlink:N          it has its name, but the one before the last is still there
"""

import contextlib
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.mnist_cnn.train import train
from shared.runs.progress import TrainingProgress
from shared.training.checkpoint import Checkpoints
from tests.helpers import mnist_config

PLACES: dict[str, Any] = {"fsync": os, "replace": os, "unlink": Path}  # whose function it is


def training(overrides: Sequence[str], run_dir: Path, output: Path, where: str | None) -> None:
    """Train in `run_dir`, killed somewhere or to the end; what is said goes to a file."""
    if where is not None:
        kind, number, *more = where.split(":")
        if kind == "step":
            after_steps(int(number), float(more[0]))
        else:
            in_checkpoint(int(number), PLACES[kind], kind)
    with (
        open(output, "w", buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        train(mnist_config(run_dir, *overrides))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after_steps(count: int, seconds: float) -> None:
    show, taken = TrainingProgress.step, 0

    def step(*arguments: Any) -> None:
        nonlocal taken
        show(*arguments)
        taken += 1
        if taken == count:
            threading.Timer(seconds, die).start()

    TrainingProgress.step = step  # type: ignore[method-assign,assignment]


def in_checkpoint(count: int, place: Any, name: str) -> None:
    write, call = Checkpoints.write, getattr(place, name)
    begun, inside = 0, False

    def writes(*arguments: Any) -> None:
        nonlocal begun, inside
        begun, inside = begun + 1, True
        write(*arguments)
        inside = False

    def calls(*arguments: Any, **options: Any) -> Any:
        if inside and begun >= count:
            die()
        return call(*arguments, **options)

    Checkpoints.write = writes  # type: ignore[method-assign,assignment]
    setattr(place, name, calls)
