"""The networks in PyTorch."""

import torch
from torch import nn
from torch.nn import functional as F

from apps.mnist_cnn.config import Cnn, FastCnn, Mlp
from shared.training.torch_dropout import ByteDropout
from shared.training.torch_pooling import conv_max_pool

CLASSES = 10
SIDE = 28  # pixels


class TorchCnn(nn.Module):
    """Convolution, convolution, pooling, dense, dense; images (N, 28, 28) to logits (N, 10).

    The network of PyTorch's MNIST example, with two corrections to the form in which it is often
    copied: the output is raw logits, for one cross-entropy, and the features after `flatten` are
    dropped one by one, not by channel.
    """

    def __init__(self, config: Cnn) -> None:
        super().__init__()
        first, second = config.channels
        self.pooling = config.pooling
        pooled = (SIDE - 4) // 2  # two 3x3 convolutions without padding, then 2x2 pooling
        self.conv1 = nn.Conv2d(1, first, kernel_size=3)
        self.conv2 = nn.Conv2d(first, second, kernel_size=3)
        self.dropout1 = ByteDropout(config.dropout[0])
        self.fc1 = nn.Linear(second * pooled * pooled, config.hidden)
        self.dropout2 = ByteDropout(config.dropout[1])
        self.fc2 = nn.Linear(config.hidden, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.relu_(self.conv1(images[:, None]))
        x = conv_max_pool(self.conv2, x, self.pooling)
        x = F.relu_(x)  # ReLU of the maximum is the maximum of ReLU
        x = self.dropout1(x.flatten(1))
        x = self.dropout2(F.relu_(self.fc1(x)))
        logits: torch.Tensor = self.fc2(x)
        return logits


class TorchFastCnn(nn.Module):
    """A quarter of a `cnn` step's work; images (N, 28, 28) to logits (N, 10).

    Pooling comes right after each convolution, and batch normalization (Ioffe and Szegedy 2015,
    arXiv:1502.03167), which makes a convolution's bias superfluous, allows a high learning rate.
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
        logits: torch.Tensor = self.fc2(F.relu_(self.fc1(x.flatten(1))))
        return logits


class TorchMlp(nn.Module):
    """Three dense layers; images (N, 28, 28) to logits (N, 10)."""

    def __init__(self, config: Mlp) -> None:
        super().__init__()
        first, second = config.hidden
        self.fc1 = nn.Linear(SIDE * SIDE, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.fc1(images.flatten(1)))
        x = F.relu(self.fc2(x))
        logits: torch.Tensor = self.fc3(x)
        return logits


def build_model(config: Cnn | FastCnn | Mlp) -> nn.Module:
    """Return the network that `config.name` names, with torch's default initial weights."""
    network: nn.Module
    match config:
        case Cnn():
            network = TorchCnn(config)
        case FastCnn():
            network = TorchFastCnn(config)
        case Mlp():
            network = TorchMlp(config)
    # Channels last in memory: convolution is a little faster so, max pooling 15 times.
    return network.to(memory_format=torch.channels_last)
