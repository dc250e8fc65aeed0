"""A training set where PyTorch computes: brought there once, whole, not batch by batch."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.data.images import Standardized
from shared.data.sequences import PAD, Sequences

Rows = NDArray[np.int64]


class PlacedSequences:
    """Documents on a device: the same as data.text.Sequences, padded there.

    Args:
        sequences: the documents.
        device: where they will be.
    """

    def __init__(self, sequences: Sequences, device: torch.device) -> None:
        self._host_lengths = sequences.lengths
        self._ids = torch.as_tensor(sequences.documents.ids).to(device)
        self._starts = torch.as_tensor(sequences.starts).to(device)
        self._lengths = torch.as_tensor(sequences.lengths).to(device)

    def batch(self, rows: torch.Tensor, same_rows: Rows) -> torch.Tensor:
        """Return documents, int64 (n, T), T being the length of the longest of them.

        Args:
            rows: which, (n,), on the device.
            same_rows: the same, known here: how long they are need not be asked of the device.
        """
        longest = int(self._host_lengths[same_rows].max(initial=0))
        steps = torch.arange(longest, device=rows.device)
        there = steps < self._lengths[rows][:, None]
        places = (self._starts[rows][:, None] + steps).where(there, 0)
        return self._ids[places].to(torch.int64).where(there, PAD)


Placed = torch.Tensor | PlacedSequences | Standardized


def placed(inputs: Any, device: torch.device) -> Placed:
    """Return inputs on a device; what is there stays as it is."""
    if isinstance(inputs, PlacedSequences):
        return inputs
    if isinstance(inputs, Sequences):
        return PlacedSequences(inputs, device)
    if isinstance(inputs, Standardized):
        if device.type == "cpu":  # where NumPy looks up in half of the time
            return inputs
        parts = (torch.as_tensor(part).to(device) for part in (inputs.pixels, inputs.table))
        return Standardized(*parts)
    return torch.as_tensor(inputs).to(device)


def batch_of(inputs: Placed, rows: torch.Tensor, same_rows: Rows) -> torch.Tensor:
    """Return the inputs of some rows; as PlacedSequences.batch."""
    if isinstance(inputs, PlacedSequences):
        return inputs.batch(rows, same_rows)
    if isinstance(inputs, Standardized) and isinstance(inputs.pixels, torch.Tensor):
        images: torch.Tensor = inputs.table.take(inputs.pixels[rows].long())
        return images
    if isinstance(inputs, Standardized):
        return torch.from_numpy(inputs[same_rows])
    return inputs[rows]
