"""The networks in PyTorch."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from apps.mnist_cnn.config import CLASSES, SIDE, Cnn, FastCnn, Mlp
from shared.training.torch_dropout import ByteDropout
from shared.training.torch_pooling import conv_max_pool


class TorchCnn(nn.Module):
    """Convolution, convolution, pooling, dense, dense; images (N, 28, 28) to logits (N, 10).

    The network of PyTorch's MNIST example, without two mistakes that many copies of it have: the
    output is raw logits, because cross-entropy applies log-softmax, and flattened features are dropped
    one by one, not by channel.
    """

    def __init__(self, config: Cnn) -> None:
        super().__init__()
        first, second = config.channels
        self.pool, self.pooling = config.pool, config.pooling
        pooled = (SIDE - 4) // 2  # two 3x3 convolutions without padding, then 2x2 pooling
        self.conv1 = nn.Conv2d(1, first, kernel_size=3)
        self.conv2 = nn.Conv2d(first, second, kernel_size=3)
        self.dropout1 = ByteDropout(config.dropout[0])
        self.fc1 = nn.Linear(second * pooled * pooled, config.hidden)
        self.dropout2 = ByteDropout(config.dropout[1])
        self.fc2 = nn.Linear(config.hidden, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.relu_(self.conv1(images[:, None]))
        if self.pool == "average":
            x = F.avg_pool2d(F.relu_(self.conv2(x)), 2)
        else:  # ReLU after pooling: the same result from a quarter of the values
            x = F.relu_(conv_max_pool(self.conv2, x, self.pooling))
        x = self.dropout1(x.flatten(1))
        x = self.dropout2(F.relu_(self.fc1(x)))
        return self.fc2(x)


class TorchFastCnn(nn.Module):
    """A quarter of the work of `TorchCnn`; images (N, 28, 28) to logits (N, 10).

    Each convolution is pooled at once, and batch normalization (Ioffe and Szegedy 2015,
    arXiv:1502.03167) allows a high learning rate. It makes the biases of the convolutions redundant.
    """

    def __init__(self, config: FastCnn) -> None:
        super().__init__()
        first, second = config.channels
        self.pooling = config.pooling
        pooled = ((SIDE - 4) // 2 - 4) // 2  # 5x5 convolution and 2x2 pooling, twice
        self.conv1 = nn.Conv2d(1, first, kernel_size=5, bias=False)
        self.norm1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, kernel_size=5, bias=False)
        self.norm2 = nn.BatchNorm2d(second)
        self.fc1 = nn.Linear(second * pooled * pooled, config.hidden)
        self.fc2 = nn.Linear(config.hidden, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.relu_(self.norm1(F.max_pool2d(self.conv1(images[:, None]), 2)))
        x = F.relu_(self.norm2(conv_max_pool(self.conv2, x, self.pooling)))
        return self.fc2(F.relu_(self.fc1(x.flatten(1))))


class TorchMlp(nn.Module):
    """Three dense layers; images (N, 28, 28) to logits (N, 10)."""

    def __init__(self, config: Mlp) -> None:
        super().__init__()
        first, second = config.hidden
        self.activation = getattr(torch, config.activation)
        self.fc1 = nn.Linear(SIDE * SIDE, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.fc1(images.flatten(1)))
        x = self.activation(self.fc2(x))
        return self.fc3(x)


NETWORKS = {"cnn": TorchCnn, "fast_cnn": TorchFastCnn, "accurate_cnn": TorchFastCnn, "mlp": TorchMlp}


def build_model(config: Any) -> nn.Module:
    """Return the network that `config.name` names, with torch's default initial weights."""
    network = NETWORKS[config.name](config)
    # Channels last in memory: convolutions are a little faster, max pooling is 15 times faster.
    return network.to(memory_format=torch.channels_last)
