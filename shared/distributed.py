"""The processes of one training that torchrun started; a process started without torchrun is rank 0 of 1.

Functions that communicate raise LostProcess if another process has ended.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def world_size() -> int:
    """Return the number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the rank of this process; rank 0 writes the run folder and prints."""
    return int(os.environ.get("RANK", "0"))


def local_world_size() -> int:
    """Return the number of these processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return the rank of this process among those on this machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def available_cores() -> int:
    """Return the number of cores for this process; processes on one machine share them equally."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // local_world_size())


@functools.cache
def print_once(message: str) -> None:
    """Print a message to stderr, once and on rank 0 only."""
    if rank() == 0:
        print(message, file=sys.stderr)


def broadcast_from_rank0(decide: Callable[[], T]) -> T:
    """Return in every process what `decide` returns on rank 0; the others do not call it."""
    if world_size() == 1:
        return decide()
    from shared import torch_distributed

    return torch_distributed.broadcast_object(decide() if rank() == 0 else None)


def all_gather(value: T) -> list[T]:
    """Return the values of all processes, ordered by rank."""
    if world_size() == 1:
        return [value]
    from shared import torch_distributed

    return torch_distributed.all_gather_object(value)


def any_rank(flag: bool) -> bool:
    """Return whether `flag` is true in any process."""
    if world_size() == 1:
        return flag
    from shared import torch_distributed

    return torch_distributed.any_rank(flag)
