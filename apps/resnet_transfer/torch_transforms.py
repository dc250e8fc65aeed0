"""Changes of training pictures by torchvision's transforms (v2), each picture by itself."""

import numpy as np
import torch
from torchvision.transforms import v2  # type: ignore[import-untyped]


def shift_and_mirror(
    images: torch.Tensor, random: np.random.Generator, pixels: int, mirror: bool
) -> torch.Tensor:
    """Return each picture moved by up to `pixels` each way and, half of them, mirrored, at random.

    The same as in shared/data/augment.py, which serves the other frameworks; what is drawn differs.

    Args:
        images: uint8 (N, height, width, 3), on any device; the pixels at their edges are repeated
            to fill the gaps.
        random: draws what torch's generator is seeded with.
        pixels: the longest way; 0 moves nothing.
        mirror: whether left and right may change places.
    """
    height, width = images.shape[1:3]
    steps: list[torch.nn.Module] = []
    if pixels:
        steps.append(v2.RandomCrop((height, width)))
    if mirror:
        steps.append(v2.RandomHorizontalFlip())
    transform = v2.Compose(steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random.integers(2**63)))
        given = images.permute(0, 3, 1, 2)
        if pixels:  # all at once; RandomCrop's own padding would take them one by one
            given = v2.functional.pad(given, [pixels], padding_mode="edge")
        changed = torch.stack([transform(image) for image in given])
    return changed.permute(0, 2, 3, 1).contiguous()
