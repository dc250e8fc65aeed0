"""The networks in PyTorch; of several processes each computes its share of a batch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from apps.gradient_flow.networks import CLASSES, Array, Dense, Gradients, Network, Recurrent, Weights
from shared import distributed
from shared.distributed import Shard
from shared.torch_distributed import all_reduce_sum

ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "ReLU": torch.relu}


class TorchDense(nn.Module):
    """`Dense`; returns the logits and the output of each hidden layer."""

    def __init__(self, network: Dense) -> None:
        super().__init__()
        self.shard = Shard()
        self.network = network
        inputs = network.inputs
        for layer in range(1, network.depth + 1):
            self.add_module(f"linear{layer}", nn.Linear(inputs, network.width, bias=not network.norm))
            if network.norm:
                self.add_module(f"norm{layer}", nn.BatchNorm1d(network.width))
            inputs = network.width
        self.output = nn.Linear(inputs, CLASSES)

    def forward(
        self, x: torch.Tensor, masks: Sequence[torch.Tensor] = ()
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        hidden: list[torch.Tensor] = []
        for layer in range(1, self.network.depth + 1):
            y = self.get_submodule(f"linear{layer}")(x)
            if self.network.norm:
                y = self.get_submodule(f"norm{layer}")(y)
            if self.network.activation != "none":
                y = ACTIVATIONS[self.network.activation](y)
            if masks:
                y = y * masks[layer - 1] / (1 - self.network.dropout)
            x = x + y if self.network.residual and layer > 1 else y
            hidden.append(x)
        return self.output(x), hidden


class TorchRecurrent(nn.Module):
    """`Recurrent`."""

    def __init__(self, network: Recurrent) -> None:
        super().__init__()
        self.shard = Shard()
        kind = nn.LSTM if network.cell == "lstm" else nn.RNN
        self.cell = kind(network.inputs, network.hidden, batch_first=True)
        self.output = nn.Linear(network.hidden, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.cell(x)
        logits: torch.Tensor = self.output(states[:, -1])
        return logits


def prepare(threads: int) -> None:
    """Let torch use so many threads, and only what gives the same bits each time."""
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")


def build_model(network: Network) -> TorchDense | TorchRecurrent:
    """Return the network in torch, float64."""
    model = TorchDense(network) if isinstance(network, Dense) else TorchRecurrent(network)
    if distributed.world_size() > 1:
        from shared.training.torch_ddp import shard_layers

        shard_layers(model, model.shard, torch.device("cpu"))
    return model.double()


def gradients(
    model: TorchDense | TorchRecurrent,
    weights: Weights,
    inputs: Array,
    labels: NDArray[np.int64],
    masks: Sequence[NDArray[np.bool_]] = (),
) -> Gradients:
    """Return loss and gradients of one batch, by autograd; see `networks.Engine`."""
    _load(model, weights)
    shard = model.shard
    rows = shard.select(len(inputs))
    x = torch.from_numpy(inputs[rows])
    if isinstance(model, TorchDense):
        logits, watched = model(x, [torch.from_numpy(mask[rows]) for mask in masks])
    else:
        x.requires_grad_()
        logits, watched = model(x), [x]
    loss = F.cross_entropy(logits, torch.from_numpy(labels[rows])) * shard.weight
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, [*(named[name] for name in weights), *watched])
    loss, *parameters = summed([loss.detach(), *found[: len(weights)]])
    flow = [whole(gradient, shard) for gradient in found[len(weights) :]]
    stacked = torch.stack(flow) if isinstance(model, TorchDense) else flow[0].transpose(0, 1)
    arrays = [gradient.numpy() for gradient in parameters]
    return Gradients(loss.item(), dict(zip(weights, arrays, strict=True)), stacked.numpy())


def summed(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the sums over all processes of what each has."""
    if distributed.world_size() == 1:
        return list(tensors)
    return [all_reduce_sum(tensor.contiguous()) for tensor in tensors]


def whole(gradient: torch.Tensor, shard: Shard) -> torch.Tensor:
    """Return the gradients of the whole batch (N, ...) from those of this process's share."""
    batch = gradient.new_zeros(shard.batch_size, *gradient.shape[1:])
    if shard.weight:
        batch[shard.rows] = gradient
    return summed([batch])[0]


def logits(model: nn.Module, weights: Weights, inputs: Array) -> Array:
    """Return the logits (N, 10), without dropout."""
    _load(model, weights)
    with torch.no_grad():
        result = model(torch.from_numpy(inputs))
    tensor: torch.Tensor = result[0] if isinstance(model, TorchDense) else result
    return np.asarray(tensor.numpy())


def _load(model: nn.Module, weights: Weights) -> None:
    """Copy the weights in; batch normalization's running statistics are left alone."""
    state = {name: torch.from_numpy(value) for name, value in weights.items()}
    model.load_state_dict(state, strict=False)
