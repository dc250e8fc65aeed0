"""Processes of one training, forked from an interpreter that has imported PyTorch already.

They get the environment that torchrun would set. Tests of torchrun itself start it.
"""

import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.data.examples import Examples
from shared.torch_distributed import join_processes
from shared.training.loop import evaluate

CLASSES = 3


@dataclass(frozen=True)
class Ended:
    """How a process ended, and its output."""

    status: int | None
    output: str


def server() -> ForkServerContext:
    """Return a context that starts a process in a fraction of a second."""
    context = multiprocessing.get_context("forkserver")
    modules = ["shared.parity", "shared.training.torch_learner", "shared.charts", "apps.mnist_cnn.train"]
    context.set_forkserver_preload([*modules, "tests.training.members"])
    return context


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def together(
    context: ForkServerContext, count: int, folder: Path, action: Callable[..., None], *words: Any
) -> list[Ended]:
    """Call `action(*words)` in `count` processes at once; return how each ended, by rank."""
    port = free_port()
    outputs = [folder / f"output_{count}_{rank}" for rank in range(count)]
    started = [
        context.Process(target=member, args=(rank, count, port, outputs[rank], action, words))
        for rank in range(count)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return [
        Ended(process.exitcode, output.read_text()) for process, output in zip(started, outputs, strict=True)
    ]


def member(rank: int, count: int, port: int, output: Path, action: Callable[..., None], words: Any) -> None:
    """Be one of several processes."""
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with open(output, "w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        action(*words)


def run(app: str, words: Sequence[str]) -> None:
    """Do what `python -m apps.APP WORDS` does."""
    sys.argv = [app, *words]
    runpy.run_module(f"apps.{app}", run_name="__main__", alter_sys=True)


class Counting:
    """A network that records which examples it scores; its logits are a function of the example."""

    loss = "cross_entropy"

    def __init__(self) -> None:
        self.scored: list[int] = []

    def logits(self, inputs: NDArray[np.int64]) -> NDArray[np.float64]:
        self.scored += inputs.tolist()
        return np.cos(inputs[:, None] + np.arange(CLASSES))


def examples(size: int) -> Examples:
    return Examples(np.arange(size), np.arange(size) % CLASSES)


def score(folder: Path, sizes: Sequence[int]) -> None:
    """Evaluate; save what this process scored and the result it got."""
    join_processes(torch.device("cpu"))
    for size in sizes:
        learner: Any = Counting()
        result = evaluate(learner, examples(size))
        np.savez(folder / f"{size}_{os.environ['RANK']}", scored=learner.scored, **vars(result))
