"""What processes that train together tell each other; one that trains alone talks to itself."""

from collections.abc import Callable
from typing import TypeVar

from shared import processes

T = TypeVar("T")


def agreed(decide: Callable[[], T]) -> T:
    """Return what the first process decides, in all of them; the others do not ask.

    Raises:
        LostProcess: a process has ended.
    """
    if processes.count() == 1:
        return decide()
    from shared.training import torch_processes

    return torch_processes.from_first(decide() if processes.rank() == 0 else None)


def gathered(own: T) -> list[T]:
    """Return what each process has, by their ranks, in all of them.

    Raises:
        LostProcess: a process has ended.
    """
    if processes.count() == 1:
        return [own]
    from shared.training import torch_processes

    return torch_processes.from_all(own)


def anywhere(flag: bool) -> bool:
    """Return whether a flag is set in any process, in all of them.

    Raises:
        LostProcess: a process has ended.
    """
    if processes.count() == 1:
        return flag
    from shared.training import torch_processes

    return torch_processes.largest(float(flag)) > 0
