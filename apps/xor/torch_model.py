"""The network in PyTorch."""

import torch
from torch import nn

from apps.xor.config import TwoLayer
from apps.xor.data import published_weights


class TorchTwoLayer(nn.Module):
    """Dense, sigmoid, dense; inputs (N, 2 or 3) to the logit of "exactly one bit is set" (N, 1)."""

    def __init__(self, config: TwoLayer) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.inputs, config.hidden, bias=config.bias)
        self.fc2 = nn.Linear(config.hidden, 1, bias=config.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.sigmoid(self.fc1(inputs)))


def build_model(config: TwoLayer) -> nn.Module:
    """Return the network, with torch's default initial weights or the published ones."""
    network = TorchTwoLayer(config)
    weights = published_weights(config)
    if weights is not None:
        network.double()  # as precise as they are drawn
        network.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    return network
