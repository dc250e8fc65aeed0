"""A batch in parts, a thread each: NumPy lets go of Python's lock while it computes."""

import contextvars
import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import threadpoolctl

Part = TypeVar("Part")
Result = TypeVar("Result")

# Below so many numbers a thread costs more (a tenth of a millisecond) than it saves.
WORTH_A_THREAD = 2**18

_blas = threadpoolctl.ThreadpoolController().select(user_api="blas")


def parts_of(count: int, numbers: int) -> list[slice]:
    """Return a batch's examples in equal parts, as many as NumPy's products have threads.

    Args:
        count: how many examples.
        numbers: how many numbers are computed of them all; few of them stay in one part.
    """
    threads: int = max((library.num_threads for library in _blas.lib_controllers), default=1)
    threads = max(1, min(threads, count, numbers // WORTH_A_THREAD))
    ends = [count * number // threads for number in range(threads + 1)]
    return [slice(*both) for both in itertools.pairwise(ends)]


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return what the work gives for each part; several parts have a thread each.

    The products inside have one thread then. `np.errstate` holds in all of them.
    """
    if len(parts) == 1:
        return [work(parts[0])]

    def run(both: tuple[contextvars.Context, Part]) -> Result:
        return both[0].run(work, both[1])

    given: Iterable[Any] = [(contextvars.copy_context(), part) for part in parts]
    with _blas.limit(limits=1), ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(run, given))
