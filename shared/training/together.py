"""What processes that train together tell each other; one that trains alone talks to itself."""

from collections.abc import Callable
from typing import TypeVar

from shared import distributed

T = TypeVar("T")


def broadcast_from_rank0(decide: Callable[[], T]) -> T:
    """Return what the first process decides, in all of them; the others do not ask.

    Raises:
        LostProcess: a process has ended.
    """
    if distributed.world_size() == 1:
        return decide()
    from shared.training import torch_distributed

    return torch_distributed.from_first(decide() if distributed.rank() == 0 else None)


def all_gather(own: T) -> list[T]:
    """Return what each process has, by their ranks, in all of them.

    Raises:
        LostProcess: a process has ended.
    """
    if distributed.world_size() == 1:
        return [own]
    from shared.training import torch_distributed

    return torch_distributed.from_all(own)


def any_rank(flag: bool) -> bool:
    """Return whether a flag is set in any process, in all of them.

    Raises:
        LostProcess: a process has ended.
    """
    if distributed.world_size() == 1:
        return flag
    from shared.training import torch_distributed

    return torch_distributed.largest(float(flag)) > 0
