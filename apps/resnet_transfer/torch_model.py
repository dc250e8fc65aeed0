"""The network in PyTorch: torchvision's, with pictures in front."""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import resnet  # type: ignore[import-untyped]

from apps.resnet_transfer.config import ResNet
from apps.resnet_transfer.shapes import BLOCKS, MEAN, STD, State

Array = NDArray[Any]


class TorchResNet(resnet.ResNet):
    """torchvision's ResNet (He et al. 2016, arXiv:1512.03385); weights by torchvision's names.

    Pictures (N, H, W, 3) of 0 to 255, of any dtype, to logits (N, classes). They are brought to the
    mean and deviation of ImageNet's, as torchvision's weights expect.

    Args:
        config: `width` is the number of channels of the first stage. `stem=small`: the first
            convolution has stride 1 and no pooling follows.
        classes: how many logits.
    """

    def __init__(self, config: ResNet, classes: int) -> None:
        kind, counts = BLOCKS[config.name]
        block = getattr(resnet, kind)
        super().__init__(block, list(counts), num_classes=classes)
        if config.width != 64:
            self._narrow(config.width, block, counts, classes)
        if config.stem == "small":
            self.conv1.stride = (1, 1)
            self.maxpool = nn.Identity()
        self.register_buffer("mean", torch.tensor(MEAN, dtype=torch.float64), persistent=False)
        self.register_buffer("std", torch.tensor(STD, dtype=torch.float64), persistent=False)

    def _narrow(self, width: int, block: Any, counts: tuple[int, ...], classes: int) -> None:
        """Make all layers anew with another number of channels, by torchvision's own method."""
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for stage, count in enumerate(counts):
            layer = self._make_layer(block, width * 2**stage, count, stride=1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", layer)
        self.fc = nn.Linear(width * 8 * block.expansion, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return what each of the four stages gives, (N, C, H, W) each."""
        x = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        x = x.to(self.fc.weight.dtype).permute(0, 3, 1, 2)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        outputs = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            outputs.append(x)
        return outputs

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the last layer is given, (N, 512) in resnet18 of width 64."""
        return self.pooled(self.stages(images)[-1])

    def pooled(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the mean of each map, (N, C)."""
        features: torch.Tensor = self.avgpool(maps).flatten(1)
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.features(images))
        return logits


def build_model(config: ResNet, classes: int) -> nn.Module:
    """Return the network with weights drawn as torchvision draws them."""
    return TorchResNet(config, classes).to(memory_format=torch.channels_last)


def build_head(config: ResNet, features: int, classes: int) -> nn.Module:
    """Return the last layer alone; features (N, features) to logits (N, classes)."""
    return nn.Sequential(OrderedDict(fc=nn.Linear(features, classes)))


def features(learner: Any, images: Array) -> Array:
    """Return the features of one batch in evaluation mode, (N, F), in the learner's arithmetic."""
    learner.model.eval()
    with torch.inference_mode(), learner._autocast():
        result: torch.Tensor = learner.model.features(torch.from_numpy(images).to(learner.device))
    return result.to(learner.dtype).cpu().numpy()


def state(model: nn.Module) -> dict[str, Array]:
    """Return copies of all weights, by torchvision's names."""
    weights = model.state_dict().items()
    return {name: np.array(value.cpu().numpy(), order="C") for name, value in weights}


def load_state(model: nn.Module, weights: State) -> None:
    """Copy weights, by torchvision's names, into the model."""
    model.load_state_dict({name: torch.from_numpy(np.array(v)) for name, v in weights.items()})
