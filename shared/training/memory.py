"""Memory that a step frees is kept for the next step."""

import ctypes
import platform

# Parameters of glibc's mallopt (malloc.h), and the largest values that they take.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER_TRIM = 2**31 - 1  # bytes
LARGEST_MMAP_THRESHOLDS = (2**30, 32 * 2**20)  # bytes; older versions refuse the first


def keep_freed_memory() -> None:
    """Tell glibc not to give freed blocks of up to 1 GiB back to the system; elsewhere do nothing.

    By default each large activation is fetched from the system in every step and given back: on
    Linux that is a page fault for every 4 KiB, a fifth of the CNN's step (docs/performance.md).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_TRIM_THRESHOLD, NEVER_TRIM)
        any(libc.mallopt(M_MMAP_THRESHOLD, size) for size in LARGEST_MMAP_THRESHOLDS)
