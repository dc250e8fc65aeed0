"""What the three networks have in common: numbers of blocks, pixels, and names of weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = Mapping[str, NDArray[Any]]  # weights by torchvision's names

# The kind of block and how many there are in each stage (He et al. 2016, table 1).
BLOCKS = {
    "resnet18": ("BasicBlock", (2, 2, 2, 2)),
    "resnet34": ("BasicBlock", (3, 4, 6, 3)),
    "resnet50": ("Bottleneck", (3, 4, 6, 3)),
}
EXPANSION = {"BasicBlock": 1, "Bottleneck": 4}

# Of ImageNet's pictures, on a scale from 0 to 1; torchvision's weights were trained with them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

HEAD = "fc"
STAGES = ("layer1", "layer2", "layer3", "layer4")


def standardized(images: NDArray[Any], dtype: type) -> NDArray[Any]:
    """Return pictures (N, H, W, 3) of 0 to 255 as (N, 3, H, W) of mean 0 and deviation 1."""
    pixels = (images.astype(np.float64) / 255 - MEAN) / STD
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).astype(dtype))


def is_head(name: str) -> bool:
    """Whether a weight is one of the last layer's, which belongs to its classes."""
    return name.startswith(f"{HEAD}.")
