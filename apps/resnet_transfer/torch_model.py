"""torchvision's networks with normalization in front, and what they look at."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import mobilenetv2, resnet  # type: ignore[import-untyped]
from torchvision.transforms import v2  # type: ignore[import-untyped]

from apps.resnet_transfer.config import BLOCKS, MEAN, STD, MobileNet, ResNet

IMAGES_AT_ONCE = 256  # in augmentation, because torch pads in float32: four times the size
CAM_SIZE = 4  # least height and width of a map that locates anything


class Network(nn.Module, ABC):
    """What both networks have; weights by torchvision's names.

    Takes images (N, H, W, 3) of 0 to 255, of any dtype, and normalizes them by the mean and
    standard deviation of ImageNet, as torchvision's weights expect; returns logits (N, classes).
    """

    mean: torch.Tensor
    std: torch.Tensor

    def configure(self, config: ResNet | MobileNet) -> None:
        """Set the names of stages and head, and mean and standard deviation, which are not weights."""
        self.names, self.head = config.stages, config.HEAD
        self.register_buffer("mean", torch.tensor(MEAN, dtype=torch.float64), persistent=False)
        self.register_buffer("std", torch.tensor(STD, dtype=torch.float64), persistent=False)

    @abstractmethod
    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input of the first stage."""

    def stage_layers(self) -> list[list[nn.Module]]:
        """Return the layers of each stage."""
        return [[self.get_submodule(name) for name in names] for names in self.names]

    def last_layer(self) -> Any:
        """Return the layer that computes the logits."""
        return self.get_submodule(self.head)

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the output of each stage, (N, C, H, W) each."""
        x = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        x = x.to(self.last_layer().weight.dtype).permute(0, 3, 1, 2)
        outputs = [self.stem(x)]
        for layers in self.stage_layers():
            outputs.append(run(layers, outputs[-1]))
        return outputs[1:]

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the mean of each map, (N, C)."""
        return nn.functional.adaptive_avg_pool2d(maps, (1, 1)).flatten(1)

    def backbone(self, images: torch.Tensor) -> torch.Tensor:
        """Return the inputs of the last layer, (N, 512) in a resnet18 of width 64."""
        return self.pool(self.stages(images)[-1])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last_layer()(self.backbone(images))
        return logits


def run(layers: Sequence[nn.Module], x: torch.Tensor) -> torch.Tensor:
    """Return the output of the last layer."""
    for layer in layers:
        x = layer(x)
    return x


class TorchResNet(Network, resnet.ResNet):
    """torchvision's ResNet (He et al. 2016, arXiv:1512.03385).

    With `stem=small`, the first convolution has stride 1 and no pooling follows.
    """

    conv1: Any
    maxpool: Any
    _make_layer: Any

    def __init__(self, config: ResNet, classes: int) -> None:
        kind, counts = BLOCKS[config.name]
        block = getattr(resnet, kind)
        super().__init__(block, list(counts), num_classes=classes)
        if config.width != config.IMAGENET_WIDTH:
            self._rebuild(config.width, block, counts, classes)
        if config.stem == "small":
            self.conv1.stride = (1, 1)
            self.maxpool = nn.Identity()
        self.configure(config)

    def _rebuild(self, width: int, block: Any, counts: tuple[int, ...], classes: int) -> None:
        """Replace all layers by layers of another width, the way torchvision's constructor makes them."""
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

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))  # type: ignore[operator]


class TorchMobileNet(Network, mobilenetv2.MobileNetV2):
    """torchvision's MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381).

    Its dropout of 0.2 before the last layer is 0 here, so that all frameworks take the same steps and
    features can be computed once. With `stem=small`, the first convolution and the second stage have
    stride 1.
    """

    features: Any

    def __init__(self, config: MobileNet, classes: int) -> None:
        super().__init__(
            num_classes=classes,
            width_mult=config.width / config.IMAGENET_WIDTH,
            inverted_residual_setting=[list(setting) for setting in config.settings],
            dropout=0.0,
        )
        if config.stem == "small":
            self.features[0][0].stride = (1, 1)
        self.configure(config)

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        return self.features[0](x)


def build_network(config: ResNet | MobileNet, classes: int) -> Network:
    """Return the network, initialized as torchvision does."""
    if isinstance(config, MobileNet):
        return TorchMobileNet(config, classes)
    return TorchResNet(config, classes)


def build_model(config: ResNet | MobileNet, classes: int) -> nn.Module:
    """Return the network in the memory format in which it trains fastest."""
    return build_network(config, classes).to(memory_format=torch.channels_last)


def build_head(config: ResNet | MobileNet, features: int, classes: int) -> nn.Module:
    """Return the last layer alone: features (N, features) to logits (N, classes)."""
    layer: nn.Module = nn.Linear(features, classes)
    for name in reversed(config.HEAD.split(".")):
        layer = nn.Sequential(OrderedDict({name: layer}))
    return layer


def features(learner: Any, images: NDArray[Any]) -> NDArray[Any]:
    """Return the backbone's features of one batch in evaluation mode, (N, F)."""
    learner.model.eval()
    with torch.inference_mode(), learner.autocast():
        result: torch.Tensor = learner.model.backbone(torch.from_numpy(images).to(learner.device))
    return result.to(learner.dtype).cpu().numpy()


def shift_and_mirror(images: Any, random: np.random.Generator, pixels: int, mirror: bool) -> torch.Tensor:
    """Shift each image at random by up to `pixels` in each direction and mirror half of them.

    torchvision's transforms (v2), with the effect of shared/data/pictures.py but other random numbers;
    `random` seeds torch's generator. Images are uint8 (N, height, width, 3), an array or tensor; edge
    pixels are repeated to fill gaps.
    """
    steps = [v2.RandomCrop(tuple(images.shape[1:3]))] if pixels else []
    transform = v2.Compose([*steps, *([v2.RandomHorizontalFlip()] if mirror else [])])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random.integers(2**63)))
        parts = []
        for part in torch.as_tensor(images).permute(0, 3, 1, 2).split(IMAGES_AT_ONCE):
            if pixels:  # RandomCrop's own padding would be one image at a time
                part = v2.functional.pad(part, [pixels], padding_mode="edge")
            parts.append(torch.stack([transform(image).permute(1, 2, 0) for image in part]))
    return torch.cat(parts)


def load_network(config: ResNet | MobileNet, weights: Mapping[str, NDArray[Any]], classes: int) -> Network:
    """Return the network in evaluation mode, with weights of any framework under torchvision's names.

    Raises:
        RuntimeError: they are the weights of another network.
    """
    network = build_network(config, classes)
    state = {name: torch.tensor(value) for name, value in weights.items()}
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("_tracked")}
    network.load_state_dict(counters | state)  # Keras does not count batches
    return network.eval()


def explain(
    network: Network, image: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Return class probabilities, a Grad-CAM map of the most probable class, and the map's stage.

    The paper uses the maps of the last stage, which are a single pixel for a small image: this uses
    the last stage with at least 4x4 pixels or, if no pixel of its map is positive, a later one with
    2x2. The network is in evaluation mode; its parameters get requires_grad=False.

    Returns:
        For an image, uint8 (size, size, 3): probabilities (classes,), the map (h, w) from 0 to 1, and
        the name of the stage's last layer.
    """
    network.requires_grad_(False)
    with torch.no_grad():
        stages = network.stages(torch.from_numpy(image)[None])
        logits = network.last_layer()(network.pool(stages[-1]))[0].double()
    for stage in cam_stages([min(maps.shape[2:]) for maps in stages]):
        heat = grad_cam(network, stages[stage], stage, int(logits.argmax()))
        if heat.max() > 0:
            break
    heat = heat / heat.max().clamp(min=1e-12)
    return logits.softmax(dim=0).numpy(), heat.double().numpy(), network.names[stage][-1]


def cam_stages(sizes: list[int]) -> list[int]:
    """Return the stages to try, given the size of their maps: the last large one, then smaller ones."""
    large = [number for number, size in enumerate(sizes) if size >= CAM_SIZE][-1:]
    return [*large, *(number for number, size in enumerate(sizes) if 1 < size < CAM_SIZE)] or [0]


def grad_cam(network: Network, maps: torch.Tensor, stage: int, label: int) -> torch.Tensor:
    """Return the Grad-CAM map (h, w) of class `label` from the maps (1, C, h, w) of one stage.

    Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2: the maps, each weighted by the mean
    of the logit's gradient with respect to it, are summed; the positive part of the sum counts.
    """
    x = maps = maps.detach().requires_grad_()
    for layers in network.stage_layers()[stage + 1 :]:
        x = run(layers, x)
    network.last_layer()(network.pool(x))[0, label].backward()
    assert maps.grad is not None
    weights = maps.grad.mean(dim=(2, 3), keepdim=True)
    return (weights * maps.detach()).sum(dim=1).relu()[0]
