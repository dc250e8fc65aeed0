"""Split a batch over threads. NumPy releases the GIL while it computes."""

import contextvars
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import threadpoolctl

Part = TypeVar("Part")
Result = TypeVar("Result")

# Below this many numbers, starting a thread (0.1 ms) costs more than it saves.
WORTH_A_THREAD = 2**18

IN_CACHE = 2**17  # numbers: 512 KiB in float32, about half of the L2 cache of a core

_blas = threadpoolctl.ThreadpoolController().select(user_api="blas")


def parts_of(count: int, numbers: int) -> list[slice]:
    """Split a batch into equal slices, one for each thread of NumPy's BLAS.

    Args:
        count: the number of examples.
        numbers: how many numbers are computed for all of them; a small batch is not split.
    """
    threads: int = max((library.num_threads for library in _blas.lib_controllers), default=1)
    threads = max(1, min(threads, count, numbers // WORTH_A_THREAD))
    ends = [count * number // threads for number in range(threads + 1)]
    return [slice(*both) for both in itertools.pairwise(ends)]


def blocks_of(images: slice, numbers: int) -> Iterator[slice]:
    """Yield slices of the images, so small that what is computed for each stays in the cache of a core.

    Args:
        images: a part of a batch.
        numbers: how many are used at once for one image.
    """
    size = max(1, IN_CACHE // max(1, numbers))
    for start in range(images.start, images.stop, size):
        yield slice(start, min(start + size, images.stop))


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return `work(part)` of every part, computed in one thread each if there are several.

    BLAS is then limited to one thread. `np.errstate` of the caller applies in all threads.
    """
    if len(parts) == 1:
        return [work(parts[0])]

    contexts = [contextvars.copy_context() for _ in parts]
    with _blas.limit(limits=1), ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(lambda context, part: context.run(work, part), contexts, parts))
