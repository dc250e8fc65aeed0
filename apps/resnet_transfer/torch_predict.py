"""Probabilities and Grad-CAM maps of a trained network, in PyTorch."""

import numpy as np
import torch
from numpy.typing import NDArray

from apps.resnet_transfer.config import ResNet
from apps.resnet_transfer.shapes import STAGES, State
from apps.resnet_transfer.torch_model import TorchResNet, load_state

ENOUGH = 4  # places a side from which a map shows where something is


def load(config: ResNet, classes: int, state: State) -> TorchResNet:
    """Return the network with these weights, in evaluation mode.

    Raises:
        ValueError: the weights are those of another network.
    """
    network = TorchResNet(config, classes)
    counted = {
        name: value.numpy()
        for name, value in network.state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    try:
        load_state(network, counted | dict(state))
    except RuntimeError as error:
        raise ValueError(str(error).splitlines()[-1].strip()) from error
    network.eval()
    return network


def explain(
    network: TorchResNet, picture: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Return the probabilities of a picture, a Grad-CAM map, and the stage that the map is of.

    Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2): the maps A_k of a stage,
    each times the mean a_k of the gradient of the class's logit in it, added up, and of the sum
    what is above zero. They take the last convolution. The last maps of a small picture have one
    pixel: then it is the last stage with 4x4 or, where nothing there is above zero, one with 2x2.

    Args:
        network: in evaluation mode.
        picture: uint8 (size, size, 3).

    Returns:
        The probabilities (classes,), the map (h, w) from 0 to 1 of the most probable class, and the
        stage's name.
    """
    network.requires_grad_(False)
    with torch.no_grad():
        stages = network.stages(torch.from_numpy(picture)[None])
        logits = network.fc(network.pooled(stages[-1]))[0].double()
    label = int(logits.argmax())
    heat, stage = torch.zeros(1, 1), ""
    for number in candidates([min(maps.shape[2:]) for maps in stages]):
        heat, stage = grad_cam(network, stages[number], number, label), STAGES[number]
        if heat.max() > 0:
            break
    heat = heat / heat.max().clamp(min=1e-12)
    return logits.softmax(dim=0).numpy(), heat.double().numpy(), stage


def candidates(sizes: list[int]) -> list[int]:
    """Return the stages to try: from the last with `ENOUGH` places a side, then smaller ones."""
    large = [number for number, size in enumerate(sizes) if size >= ENOUGH][-1:]
    return [*large, *(number for number, size in enumerate(sizes) if 1 < size < ENOUGH)] or [0]


def grad_cam(network: TorchResNet, maps: torch.Tensor, stage: int, label: int) -> torch.Tensor:
    """Return the map (h, w) of one class, made of the maps (1, C, h, w) of one stage."""
    maps = maps.detach().requires_grad_()
    x = maps
    for name in STAGES[stage + 1 :]:
        x = getattr(network, name)(x)
    network.fc(network.pooled(x))[0, label].backward()
    assert maps.grad is not None
    weights = maps.grad.mean(dim=(2, 3), keepdim=True)
    return (weights * maps.detach()).sum(dim=1).relu()[0]
