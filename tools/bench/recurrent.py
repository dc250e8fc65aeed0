"""An LSTM by hand beside torch's: x (64, 200, 128), 64 hidden units, float32.

Forward and backward pass in one run with the same threads, in turns.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
import torch

from shared.backprop import LSTM
from shared.runs.environment import available_cores
from shared.training.memory import keep_freed_memory
from tools.bench.rows import Measured, in_turns, times

BATCH, STEPS, INPUTS, HIDDEN = 64, 200, 128, 64
TURNS, UNCOUNTED, COUNTED = 5, 2, 4
GOAL = 1 / 3
TOLERANCE = 1e-3  # float32, sums over 200 steps and 64 examples

Passes = Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]


def contenders() -> dict[str, Passes]:
    """Return what computes y (64, 200, 64), dx and the gradient of weight_ih_l0, by whom."""
    random = np.random.default_rng(0)
    layer = LSTM(INPUTS, HIDDEN, batch_first=True, rng=random)
    x = random.standard_normal((BATCH, STEPS, INPUTS), np.float32)
    dy = random.standard_normal((BATCH, STEPS, HIDDEN), np.float32)
    other = torch.nn.LSTM(INPUTS, HIDDEN, batch_first=True)
    other.load_state_dict({name: torch.tensor(w) for name, w in layer.params.items()})
    leaf, upstream = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)

    def ours() -> Any:
        y, _ = layer.forward(x)
        dx = layer.backward(dy)
        return y, dx, layer.grads["weight_ih_l0"]

    def in_torch() -> Any:
        y, _ = other(leaf)
        dx, *grads = torch.autograd.grad(y, [leaf, *other.parameters()], upstream)
        return y.detach().numpy(), dx.numpy(), grads[0].numpy()

    return {"ours": ours, "torch": in_torch}


def measure(peers: Path | None, quick: bool) -> Measured:
    """Return the row of the LSTM.

    Raises:
        AssertionError: the two compute something else.
    """
    keep_freed_memory()
    threads = available_cores()
    torch.set_num_threads(threads)
    both = contenders()
    for own, other in zip(both["ours"](), both["torch"](), strict=True):
        difference = np.abs(own - other).max() / np.abs(other).max()
        assert difference < TOLERANCE, f"the LSTMs compute something else: {difference:.1e}"
    with threadpoolctl.threadpool_limits(threads, "blas"):
        found = in_turns(both, 1 if quick else TURNS, UNCOUNTED, COUNTED)
    what = "NumPy LSTM, forward and backward, (64, 200, 128) to 64"
    return [times(what, found["ours"], "torch on the CPU", found["torch"], GOAL)], []
