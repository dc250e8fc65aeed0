"""Depthwise convolution, the case of Conv2d with as many groups and outputs as input channels.

Each channel c has one kernel W[c] (kh, kw) and is not mixed with others, so that im2col would copy each
pixel kh * kw times for a product with a single row. Here only the columns are unrolled, kw copies, for
a product with all kh rows of the kernel at once:

    X[c, j, r, q] = x[c, r, stride q + dilation j]      (kw, Hp * Wo) for each channel and image
    Z[c] = W[c] X[c]                                    (kh, Hp * Wo)
    y[c, r, q] = sum_i Z[c, i, stride r + dilation i, q]

Backward: dZ spreads dy over the same rows. Then dW[c] = sum_n dZ[c] X[c]^T and dX[c] = W[c]^T dZ[c], and
the dx of a pixel is the sum of its dX.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from shared.backprop.module import Array
from shared.backprop.threads import blocks_of, in_threads, parts_of

Pair = tuple[int, int]


def forward(padded: Array, weight: Array, stride: Pair, dilation: Pair) -> tuple[Array, Array]:
    """Return y without its bias, and X.

    Shapes: padded images (N, C, Hp, Wp), weight (C, 1, kh, kw), y (N, C, Ho, Wo), X (N, C, kw, Hp, Wo).
    """
    count, channels, height, _ = padded.shape
    kh, kw = weight.shape[2:]
    windows = sliding_window_view(padded, dilation[1] * (kw - 1) + 1, axis=3)
    windows = windows[:, :, :, :: stride[1], :: dilation[1]].transpose(0, 1, 4, 2, 3)
    columns = np.empty(windows.shape, padded.dtype)
    width = windows.shape[-1]
    rows = (height - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    y = np.empty((count, channels, rows, width), padded.dtype)

    def compute(images: slice) -> None:
        for block in blocks_of(images, 2 * columns[:1].size):  # X and Z
            columns[block] = windows[block]
            z = weight[:, 0] @ columns[block].reshape(-1, channels, kw, height * width)
            first, *others = _rows(z.reshape(-1, channels, kh, height, width), rows, stride[0], dilation[0])
            y[block] = first
            for other in others:
                y[block] += other

    in_threads(compute, parts_of(count, columns.size))
    return y, columns


def backward(
    dy: Array, columns: Array, weight: Array, padded_shape: tuple[int, ...], stride: Pair, dilation: Pair
) -> tuple[Array, Array]:
    """Return the dx of the padded images, (N, C, Hp, Wp), and dW, (C, 1, kh, kw).

    Shapes: dy (N, C, Ho, Wo); `columns` is the X that `forward` returned.
    """
    count, channels, kw, height, width = columns.shape
    kh, rows = weight.shape[2], dy.shape[2]
    dx = np.zeros(padded_shape, dy.dtype)

    def compute(images: slice) -> Array:
        dweight = np.zeros((channels, kh, kw), dy.dtype)
        for block in blocks_of(images, 2 * columns[:1].size):  # X and Z
            spread = np.zeros((len(dy[block]), channels, kh, height, width), dy.dtype)
            for view in _rows(spread, rows, stride[0], dilation[0]):
                view[...] = dy[block]
            dz = spread.reshape(-1, channels, kh, height * width)
            x = columns[block].reshape(-1, channels, kw, height * width)
            dweight += (dz @ x.swapaxes(2, 3)).sum(axis=0)
            dcolumns = (weight[:, 0].swapaxes(1, 2) @ dz).reshape(-1, channels, kw, height, width)
            for j in range(kw):
                end = dilation[1] * j + stride[1] * (width - 1) + 1
                dx[block][..., dilation[1] * j : end : stride[1]] += dcolumns[:, :, j]
        return dweight

    dweight = np.sum(in_threads(compute, parts_of(count, columns.size)), axis=0)
    return dx, dweight.reshape(weight.shape)


def _rows(z: Array, rows: int, stride: int, dilation: int) -> Iterator[Array]:
    """Yield for each row i of the kernel the rows of Z that it contributes to y: views (N, C, Ho, Wo)."""
    for i in range(z.shape[2]):
        yield z[:, :, i, dilation * i : dilation * i + stride * (rows - 1) + 1 : stride]
