"""A convolution by hand beside torch's: x (64, 32, 26, 26), 64 filters of 3 x 3, float32.

Forward and backward pass, all in one run with the same threads, in turns; medians. The four nested
loops that tutorials print are timed once, forward alone.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import threadpoolctl
import torch
from numpy.lib.stride_tricks import sliding_window_view

from shared.backprop import Array, Conv2d
from shared.runs.environment import available_cores
from shared.training.memory import keep_freed_memory
from tools.bench.rows import Details, Measured, in_turns, seconds, times

BATCH, CHANNELS, SIDE, FILTERS, KERNEL = 64, 32, 26, 64, 3
OUT = SIDE - KERNEL + 1
TURNS, UNCOUNTED, COUNTED = 5, 3, 6
OURS, TORCH = "shared/backprop Conv2d", "torch"
GOAL = 1 / 2

Arrays = tuple[Array, ...]


def nested_loops(x: Array, weight: Array, bias: Array) -> Array:
    """Return y as tutorials compute it: over images, filters, rows and columns."""
    y = np.empty((BATCH, FILTERS, OUT, OUT), x.dtype)
    for n in range(BATCH):
        for f in range(FILTERS):
            for r in range(OUT):
                for c in range(OUT):
                    window = x[n, :, r : r + KERNEL, c : c + KERNEL]
                    y[n, f, r, c] = (window * weight[f]).sum() + bias[f]
    return y


def plain_im2col(x: Array, weight: Array, bias: Array, dy: Array) -> Arrays:
    """Return y, dx, dweight, dbias: one row of a matrix for each window."""
    windows = sliding_window_view(x, (KERNEL, KERNEL), axis=(2, 3))
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(BATCH * OUT * OUT, -1)
    filters = weight.reshape(FILTERS, -1)
    y = (rows @ filters.T + bias).reshape(BATCH, OUT, OUT, FILTERS).transpose(0, 3, 1, 2)
    dy_rows = dy.transpose(0, 2, 3, 1).reshape(-1, FILTERS)
    drows = (dy_rows @ filters).reshape(BATCH, OUT, OUT, CHANNELS, KERNEL, KERNEL)
    dx = np.zeros_like(x)
    for i in range(KERNEL):
        for j in range(KERNEL):
            dx[:, :, i : i + OUT, j : j + OUT] += drows[..., i, j].transpose(0, 3, 1, 2)
    return y, dx, (dy_rows.T @ rows).reshape(weight.shape), dy_rows.sum(axis=0)


def shifted_products(x: Array, weight: Array, bias: Array, dy: Array) -> Arrays:
    """Return y, dx, dweight, dbias: one product for each of the nine positions in the window."""
    pixels = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    dy_rows = dy.transpose(0, 2, 3, 1).reshape(-1, FILTERS)
    y = np.tile(bias, (BATCH * OUT * OUT, 1))
    dx, dweight = np.zeros_like(pixels), np.empty_like(weight)
    for i in range(KERNEL):
        for j in range(KERNEL):
            shifted = pixels[:, i : i + OUT, j : j + OUT].reshape(-1, CHANNELS)
            y += shifted @ weight[:, :, i, j].T
            dweight[:, :, i, j] = dy_rows.T @ shifted
            back = (dy_rows @ weight[:, :, i, j]).reshape(BATCH, OUT, OUT, CHANNELS)
            dx[:, i : i + OUT, j : j + OUT] += back
    y = y.reshape(BATCH, OUT, OUT, FILTERS).transpose(0, 3, 1, 2)
    return y, dx.transpose(0, 3, 1, 2), dweight, dy_rows.sum(axis=0)


def by_hand(layer: Conv2d, x: Array, dy: Array) -> Arrays:
    """Return y, dx, dweight, dbias of shared/backprop."""
    y = layer.forward(x)
    dx = layer.backward(dy)
    return y, dx, layer.grads["weight"], layer.grads["bias"]


def in_torch(x: Array, weight: Array, bias: Array, dy: Array) -> Arrays:
    """Return y, dx, dweight, dbias of torch's autograd."""
    leaves = [torch.from_numpy(array).requires_grad_() for array in (x, weight, bias)]
    y = torch.nn.functional.conv2d(leaves[0], leaves[1], leaves[2])
    gradients = torch.autograd.grad(y, leaves, torch.from_numpy(dy))
    return (y.detach().numpy(), *(gradient.numpy() for gradient in gradients))


def measure(peers: Path | None, quick: bool) -> Measured:
    """Return the row of the convolution, and a table of other ways to write it.

    Raises:
        AssertionError: one of them computes something else.
    """
    keep_freed_memory()  # as every training does
    threads = available_cores()
    torch.set_num_threads(threads)
    random = np.random.default_rng(0)
    layer = Conv2d(CHANNELS, FILTERS, KERNEL, rng=random)
    weight, bias = layer.params["weight"], layer.params["bias"]
    x = random.standard_normal((BATCH, CHANNELS, SIDE, SIDE), np.float32)
    dy = random.standard_normal((BATCH, FILTERS, OUT, OUT), np.float32)
    contenders: dict[str, Callable[[], Arrays]] = {
        "im2col, written down plainly": lambda: plain_im2col(x, weight, bias, dy),
        "nine shifted products": lambda: shifted_products(x, weight, bias, dy),
        OURS: lambda: by_hand(layer, x, dy),
        TORCH: lambda: in_torch(x, weight, bias, dy),
    }
    check(contenders)
    with threadpoolctl.threadpool_limits(threads, "blas"):
        found = in_turns(contenders, 1 if quick else TURNS, UNCOUNTED, COUNTED)
        if not quick:
            loops = seconds(lambda: nested_loops(x, weight, bias))
            found["four nested loops, forward alone"] = [loops]
    what = "NumPy convolution, forward and backward, (64, 32, 26, 26) to 64 filters"
    row = times(what, found[OURS], "torch on the CPU", found[TORCH], GOAL)
    return [row], beside_torch(found)


def check(contenders: Mapping[str, Callable[[], Arrays]]) -> None:
    """Make sure that all compute the same."""
    expected = contenders[TORCH]()
    for name, contender in contenders.items():
        for own, other in zip(contender(), expected, strict=True):
            difference = np.abs(own - other).max() / np.abs(other).max()
            # float32, sums of up to 36,864 products
            assert difference < 1e-4, f"{name} computes something else: {difference:.1e}"


def beside_torch(found: Mapping[str, Sequence[float]]) -> Details:
    """Return each median and how many times torch's it is, the slowest first."""
    medians = {name: statistics.median(values) for name, values in found.items()}
    return [
        {"what": name, "seconds": f"{value:.4f}", "times torch": f"{value / medians[TORCH]:.2f}"}
        for name, value in sorted(medians.items(), key=lambda item: -item[1])
    ]
