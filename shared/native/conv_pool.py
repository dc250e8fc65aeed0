"""A convolution followed by 2x2 max pooling: the pooling and the backward pass, in C.

The gradient that comes back through max pooling is zero in three places of four. `conv_pool.c` says
how the zeros are left out. Arrays in, arrays out, in float32 or in bfloat16, of which NumPy knows
the bits alone (uint16); tests/native/test_conv_pool.py holds it against torch's own.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.native.library import library


class Sizes(ctypes.Structure):
    """The sizes of a convolution, in the order of conv_pool.c."""

    _fields_ = (
        ("images", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("filters", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("bfloat16", ctypes.c_int64),
    )


def max_pool(y: NDArray[Any], threads: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return the maxima of 2x2 windows, and in which of its four places each is.

    Args:
        y: (N, H, W, K), float32 or the bits of bfloat16, contiguous. A last odd row or column
            belongs to no window.
        threads: how many share the images.

    Returns:
        Two arrays (N, K, H // 2, W // 2): maxima of y's dtype, places 0 to 3, row by row. Of equal
        numbers the first is the maximum; a NaN is one before all.
    """
    images, height, width, filters = y.shape
    sizes = Sizes(images, height, width, 0, filters, 1, 1, y.dtype == np.uint16)
    shape = images, filters, height // 2, width // 2
    pooled, where = np.empty(shape, y.dtype), np.empty(shape, np.uint8)
    given = [_pointer(array) for array in (y, pooled, where)]
    _check(library().pool(ctypes.byref(sizes), *given, threads))
    return pooled, where


def gradients(
    x: NDArray[Any], weight: NDArray[np.float32], dy: NDArray[Any], where: NDArray[np.uint8], threads: int
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
    """Return dX, dW and db of a convolution without padding, in steps of one, and 2x2 max pooling.

    Args:
        x: (N, H, W, C), float32 or the bits of bfloat16, contiguous.
        weight: (K, R, S, C).
        dy: (N, K, P, Q), the gradient at the maxima, of x's dtype, contiguous.
        where: (N, K, P, Q), what `max_pool` has returned.
        threads: how many share the images; what is returned does not depend on it.

    Returns:
        dX of x's shape and dtype; dW (K, R, S, C) and db (K,) in float32.
    """
    images, height, width, channels = x.shape
    filters, rows, columns, _ = weight.shape
    pooled = images, filters, (height - rows + 1) // 2, (width - columns + 1) // 2
    if not (dy.shape == where.shape == pooled and dy.dtype == x.dtype):
        raise ValueError(f"expected gradients {pooled} in {x.dtype}, given {dy.shape} {dy.dtype}")
    bits = x.dtype == np.uint16
    sizes = Sizes(images, height, width, channels, filters, rows, columns, bits)
    length = columns * channels
    lanes, images_a_block = _constant("lanes"), _constant("images_a_block")
    run = -(-length // lanes) * lanes
    padded = np.zeros((rows, filters, run), np.float32)
    padded[:, :, :length] = weight.transpose(1, 0, 2, 3).reshape(rows, filters, length)
    blocks = -(-images // images_a_block)
    dw = np.zeros((blocks, filters, rows, run), np.float32)
    db = np.zeros((blocks, filters), np.float32)
    dx = np.empty_like(x)
    given = [_pointer(array) for array in (x, padded, dy, where, dx, dw, db)]
    _check(library().backward(ctypes.byref(sizes), *given, threads))
    return dx, dw.sum(0)[:, :, :length].reshape(weight.shape), db.sum(0)


def _constant(name: str) -> int:
    return ctypes.c_int64.in_dll(library(), name).value


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    if array.dtype not in (np.float32, np.uint16, np.uint8) or not array.flags.c_contiguous:
        raise ValueError(f"expected contiguous float32 or bits of bfloat16, given {array.dtype}")
    return ctypes.c_void_p(array.ctypes.data)


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for the gradients of a convolution")
