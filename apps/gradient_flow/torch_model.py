"""The networks in PyTorch; several processes each compute a shard of a batch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.gradient_flow.networks import CLASSES, Array, Dense, Gradients, Masks, Network, Recurrent, Weights
from shared import distributed
from shared.data.examples import Examples
from shared.torch_distributed import Shard, all_reduce_sum

ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "ReLU": torch.relu}


class TorchDense(nn.Module):
    """`Dense`."""

    def __init__(self, network: Dense) -> None:
        super().__init__()
        self.network = network
        self.shard = Shard(distributed.rank(), distributed.world_size())
        inputs = network.inputs
        for layer in range(1, network.depth + 1):
            self.add_module(f"linear{layer}", nn.Linear(inputs, network.width, bias=not network.norm))
            if network.norm:
                self.add_module(f"norm{layer}", nn.BatchNorm1d(network.width))
            inputs = network.width
        self.output = nn.Linear(inputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_with_flow(x)[0]

    def forward_with_flow(self, x: Tensor, masks: Sequence[Tensor] = ()) -> tuple[Tensor, list[Tensor]]:
        """Return the logits and the output of each hidden layer."""
        hidden: list[Tensor] = []
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
        self.shard = Shard(distributed.rank(), distributed.world_size())
        kind = nn.LSTM if network.cell == "lstm" else nn.RNN
        self.cell = kind(network.inputs, network.hidden, batch_first=True)
        self.output = nn.Linear(network.hidden, CLASSES)

    def forward_with_flow(self, x: Tensor, masks: Sequence[Tensor] = ()) -> tuple[Tensor, list[Tensor]]:
        """Return the logits and the input of each step."""
        steps = [step.requires_grad_() for step in x.unbind(1)]
        states, _ = self.cell(torch.stack(steps, dim=1))
        return self.output(states[:, -1]), steps


Model = TorchDense | TorchRecurrent


def prepare(threads: int) -> None:
    """See numpy_model.py."""
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")


def build_model(network: Network) -> Model:
    """Return the network in PyTorch, float64; its weights are given with each call below."""
    model = TorchDense(network) if isinstance(network, Dense) else TorchRecurrent(network)
    if distributed.world_size() > 1:
        from shared.training.torch_ddp import shard_layers

        shard_layers(model, model.shard, torch.device("cpu"))
    return model.double()


def load_weights(model: nn.Module, weights: Weights) -> None:
    """Copy the weights into the network; running statistics stay as they are."""
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=False)


def gradients(model: Model, weights: Weights, batch: Examples, masks: Masks = ()) -> Gradients:
    """Return loss and gradients of a batch, by autograd; see numpy_model.py."""
    load_weights(model, weights)
    model.train()
    rows = model.shard.select(len(batch))
    row_masks = [torch.from_numpy(mask[rows]) for mask in masks]
    logits, watched = model.forward_with_flow(torch.from_numpy(batch.inputs[rows]), row_masks)
    loss = F.cross_entropy(logits, torch.from_numpy(batch.labels[rows])) * model.shard.weight
    parameters = [model.get_parameter(name) for name in weights]
    found = torch.autograd.grad(loss, [*parameters, *watched])
    loss, *sums = (sum_over_ranks(tensor) for tensor in (loss.detach(), *found[: len(weights)]))
    logits, *flow = (whole_batch(tensor, model.shard) for tensor in (logits.detach(), *found[len(weights) :]))
    by_name = {name: gradient.numpy() for name, gradient in zip(weights, sums, strict=True)}
    return Gradients(loss.item(), logits.numpy(), by_name, torch.stack(flow).numpy())


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    return tensor if distributed.world_size() == 1 else all_reduce_sum(tensor.contiguous())


def whole_batch(rows: Tensor, shard: Shard) -> Tensor:
    """Return the rows (N, ...) of the whole batch from those of this process's shard."""
    batch = rows.new_zeros(shard.batch_size, *rows.shape[1:])
    if shard.weight:
        batch[shard.rows] = rows
    return sum_over_ranks(batch)


def logits(model: nn.Module, weights: Weights, inputs: Array) -> Array:
    """Return the logits (N, 10) in evaluation mode."""
    load_weights(model, weights)
    with torch.no_grad():
        return np.asarray(model.eval()(torch.from_numpy(inputs)).numpy())
