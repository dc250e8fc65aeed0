"""A convolution by hand beside torch's: x (64, 32, 26, 26), 64 filters of 3 x 3, float32.

    python -m benchmarks.convolution                 (make bench)
    python -m benchmarks.convolution --print-only    (leaves the recorded figures alone)

Forward and backward pass, all in one run with the same threads; medians and ratios to torch. They
take turns, so that a busy moment of the machine meets all of them, and each turn is several calls
of which the first are not counted: the threads of NumPy's library go on waiting for a moment after
a call, at the cost of whoever comes next. The four nested loops that tutorials print are timed
once, forward alone.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import threadpoolctl
import torch
from numpy.lib.stride_tricks import sliding_window_view

from shared.backprop import Array, Conv2d
from shared.files import write_atomically
from shared.runs.record import ROOT, available_cores, environment
from shared.training.memory import keep_freed_memory

BATCH, CHANNELS, SIDE, FILTERS, KERNEL = 64, 32, 26, 64, 3
OUT = SIDE - KERNEL + 1
TURNS, UNCOUNTED, COUNTED = 5, 3, 6
REPORT = ROOT / "docs" / "results" / "convolution.json"

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


def seconds(action: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure() -> list[dict[str, str]]:
    """Return name, median seconds and ratio to torch of each, as they are to be shown."""
    random = np.random.default_rng(0)
    layer = Conv2d(CHANNELS, FILTERS, KERNEL, rng=random)
    weight, bias = layer.params["weight"], layer.params["bias"]
    x = random.standard_normal((BATCH, CHANNELS, SIDE, SIDE), np.float32)
    dy = random.standard_normal((BATCH, FILTERS, OUT, OUT), np.float32)
    contenders: dict[str, Callable[[], Arrays]] = {
        "im2col, written down plainly": lambda: plain_im2col(x, weight, bias, dy),
        "nine shifted products": lambda: shifted_products(x, weight, bias, dy),
        "shared/backprop Conv2d": lambda: by_hand(layer, x, dy),
        "torch": lambda: in_torch(x, weight, bias, dy),
    }
    expected = contenders["torch"]()
    for name, contender in contenders.items():
        for own, other in zip(contender(), expected, strict=True):
            difference = np.abs(own - other).max() / np.abs(other).max()
            if difference > 1e-4:  # float32, sums of up to 36,864 products
                raise AssertionError(f"{name} computes something else: {difference:.1e}")
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(TURNS):
        for name, contender in contenders.items():
            turn = [seconds(contender) for _ in range(UNCOUNTED + COUNTED)]
            times[name] += turn[UNCOUNTED:]
    medians = {name: statistics.median(values) for name, values in times.items()}
    loops = seconds(lambda: nested_loops(x, weight, bias))
    rows = {"four nested loops, forward alone": loops} | medians
    return [
        {
            "what": name,
            "seconds": f"{value:.4f}",
            "times torch": f"{value / medians['torch']:.2f}",
        }
        for name, value in rows.items()
    ]


def main(arguments: Sequence[str]) -> None:
    """Measure, print the table and write it to docs/results/convolution.json."""
    keep_freed_memory()  # as every training does
    threads = available_cores()
    torch.set_num_threads(threads)
    with threadpoolctl.threadpool_limits(threads, "blas"):
        rows = measure()
    print(f"{'convolution, forward and backward':<36}{'seconds':>10}{'times torch':>14}")
    for row in rows:
        print(f"{row['what']:<36}{row['seconds']:>10}{row['times torch']:>14}")
    report = {"calls": TURNS * COUNTED, "rows": rows, **environment("torch", threads)}
    if "--print-only" not in arguments:
        write_atomically(REPORT, (json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1:])
