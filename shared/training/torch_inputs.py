"""A training set on a GPU: moved there once, so that no step waits for a transfer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from shared.data.examples import Examples
from shared.data.images import Standardized
from shared.data.sequences import PAD, Sequences
from shared.training.schedule import Indices


@dataclass(frozen=True)
class DeviceBatch:
    """The rows of a batch, (N,), on the device and on the host."""

    rows: torch.Tensor
    host_rows: Indices

    def __len__(self) -> int:
        return len(self.host_rows)

    def __getitem__(self, part: slice) -> "DeviceBatch":
        return DeviceBatch(self.rows[part], self.host_rows[part])


class DeviceSequences:
    """`sequences.Sequences` on a device, where its batches are padded."""

    def __init__(self, sequences: Sequences, device: torch.device) -> None:
        self._host_lengths = sequences.lengths
        # Not uint16, because CUDA cannot index it.
        self._ids = torch.as_tensor(sequences.documents.ids.astype(np.int32)).to(device)
        self._starts = torch.as_tensor(sequences.starts).to(device)
        self._lengths = torch.as_tensor(sequences.lengths).to(device)

    def __getitem__(self, batch: DeviceBatch) -> torch.Tensor:
        """Return the word ids, int64 (n, T); T is the length of the longest text."""
        longest = int(self._host_lengths[batch.host_rows].max(initial=0))  # known without a transfer
        positions = torch.arange(longest, device=batch.rows.device)
        valid = positions < self._lengths[batch.rows][:, None]
        ids = self._ids[(self._starts[batch.rows][:, None] + positions).where(valid, 0)]
        return ids.to(torch.int64).where(valid, PAD)


def examples_to_device(examples: Examples, device: torch.device) -> Examples:
    """Return the examples with inputs and labels on a device; what is there already stays."""
    labels: Any = torch.as_tensor(examples.labels).to(device)
    return Examples(inputs_to_device(examples.inputs, device), labels)


def inputs_to_device(inputs: Any, device: torch.device) -> Any:
    """Return inputs on a device."""
    if isinstance(inputs, DeviceSequences):
        return inputs
    if isinstance(inputs, Sequences):
        return DeviceSequences(inputs, device)
    if isinstance(inputs, Standardized):
        parts = (inputs.pixels[:], inputs.table)  # [:] shifts images that are shifted when indexed
        return Standardized(*(torch.as_tensor(part).to(device) for part in parts))
    return torch.as_tensor(inputs).to(device)


def batches_to_device(batches: Sequence[Indices], device: torch.device) -> list[DeviceBatch]:
    """Return the batches of an epoch on a device, after a single transfer."""
    if not batches:
        return []
    rows = torch.from_numpy(np.concatenate(batches)).to(device).split([len(batch) for batch in batches])
    return [DeviceBatch(*pair) for pair in zip(rows, batches, strict=True)]


def select(examples: Examples, batch: DeviceBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and labels of a batch; examples as `examples_to_device` returned them."""
    inputs, labels = examples.inputs, torch.as_tensor(examples.labels)[batch.rows]
    if isinstance(inputs, Standardized):
        return inputs.table.take(inputs.pixels[batch.rows].long()), labels
    return inputs[batch if isinstance(inputs, DeviceSequences) else batch.rows], labels


def shift(images: torch.Tensor, random: np.random.Generator, pixels: int) -> torch.Tensor:
    """Return the images of `shared.data.images.shift`, all at once, without a synchronization."""
    if pixels == 0:
        return images
    count, height, width = images.shape
    ways = torch.from_numpy(random.integers(0, 2 * pixels + 1, (2, count))).to(images.device)
    background = images[:1, :1, :1].expand(count, height + 2 * pixels, width + 2 * pixels)
    padded = background.clone()
    padded[:, pixels:-pixels, pixels:-pixels] = images
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # a view (N, ways, ways, H, W)
    return windows[torch.arange(count, device=images.device), ways[0], ways[1]]
