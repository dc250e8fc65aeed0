"""Benchmarks of layers in NumPy against torch: forward and backward pass in float32, in turns."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import threadpoolctl
import torch
from numpy.lib.stride_tricks import sliding_window_view

from shared.backprop import LSTM, Array, Conv2d
from shared.distributed import available_cores
from shared.training.frameworks import keep_freed_memory
from tools.bench.rows import Measured, Options, comparison_row, seconds, time_in_turns

BATCH, CHANNELS, SIDE, FILTERS, KERNEL = 64, 32, 26, 64, 3
OUT = SIDE - KERNEL + 1
STEPS, INPUTS, HIDDEN = 200, 128, 64
TURNS = 5

Arrays = tuple[Array, ...]
Contenders = Mapping[str, Callable[[], Arrays]]


def race(contenders: Contenders, tolerance: float, turns: int, warmup: int, timed: int) -> dict[str, Any]:
    """Return the seconds of each contender, in turns, all with the same threads.

    Raises:
        AssertionError: an array of one differs from torch's, relative to its largest number.
    """
    keep_freed_memory()  # as every training does
    threads = available_cores()
    torch.set_num_threads(threads)
    expected = contenders["torch"]()
    for name, contender in contenders.items():
        for own, other in zip(contender(), expected, strict=True):
            difference = np.abs(own - other).max() / np.abs(other).max()
            assert difference < tolerance, f"{name} differs from torch by {difference:.1e}"
    with threadpoolctl.threadpool_limits(threads, "blas"):
        return time_in_turns(contenders, turns, warmup, timed)


def convolution(options: Options) -> Measured:
    """Measure a convolution: x (64, 32, 26, 26), 64 filters of 3 x 3; and other ways to write it.

    The four nested loops that tutorials print are timed once, forward only.
    """
    random = np.random.default_rng(0)
    layer = Conv2d(CHANNELS, FILTERS, KERNEL, rng=random)
    weight, bias = layer.params["weight"], layer.params["bias"]
    x = random.standard_normal((BATCH, CHANNELS, SIDE, SIDE), np.float32)
    dy = random.standard_normal((BATCH, FILTERS, OUT, OUT), np.float32)
    contenders: Contenders = {
        "im2col, written plainly": lambda: plain_im2col(x, weight, bias, dy),
        "nine shifted products": lambda: shifted_products(x, weight, bias, dy),
        "shared/backprop Conv2d": lambda: (layer.forward(x), layer.backward(dy), *layer.grads.values()),
        "torch": lambda: torch_convolution(x, weight, bias, dy),
    }
    # The tolerance is for float32 sums of up to 36,864 products.
    found = race(contenders, 1e-4, 1 if options.quick else TURNS, warmup=3, timed=6)
    if not options.quick:
        found["four nested loops, forward only"] = [seconds(lambda: nested_loops(x, weight, bias))]
    medians = {name: statistics.median(values) for name, values in found.items()}
    details = [
        {"measured": name, "seconds": f"{value:.4f}", "times torch": f"{value / medians['torch']:.2f}"}
        for name, value in sorted(medians.items(), key=lambda item: -item[1])
    ]
    what = "NumPy convolution, forward and backward, (64, 32, 26, 26) to 64 filters"
    ours = found["shared/backprop Conv2d"]
    return [comparison_row(what, ours, "torch on the CPU", found["torch"])], details


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


def torch_convolution(x: Array, weight: Array, bias: Array, dy: Array) -> Arrays:
    """Return y, dx, dweight, dbias of torch's autograd."""
    leaves = [torch.from_numpy(array).requires_grad_() for array in (x, weight, bias)]
    y = torch.nn.functional.conv2d(leaves[0], leaves[1], leaves[2])
    gradients = torch.autograd.grad(y, leaves, torch.from_numpy(dy))
    return (y.detach().numpy(), *(gradient.numpy() for gradient in gradients))


def recurrent(options: Options) -> Measured:
    """Measure an LSTM: x (64, 200, 128), 64 hidden units."""
    random = np.random.default_rng(0)
    layer = LSTM(INPUTS, HIDDEN, batch_first=True, rng=random)
    x = random.standard_normal((BATCH, STEPS, INPUTS), np.float32)
    dy = random.standard_normal((BATCH, STEPS, HIDDEN), np.float32)
    other = torch.nn.LSTM(INPUTS, HIDDEN, batch_first=True)
    other.load_state_dict({name: torch.tensor(w) for name, w in layer.params.items()})
    leaf, upstream = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)

    def ours() -> Arrays:
        y, _ = layer.forward(x)
        return y, layer.backward(dy), layer.grads["weight_ih_l0"]

    def in_torch() -> Arrays:
        y, _ = other(leaf)
        dx, *grads = torch.autograd.grad(y, [leaf, *other.parameters()], upstream)
        return y.detach().numpy(), dx.numpy(), grads[0].numpy()

    # The tolerance is for float32 sums over 200 steps and 64 examples.
    found = race({"ours": ours, "torch": in_torch}, 1e-3, 1 if options.quick else TURNS, warmup=2, timed=4)
    what = "NumPy LSTM, forward and backward, (64, 200, 128) to 64"
    return [comparison_row(what, found["ours"], "torch on the CPU", found["torch"])], []
