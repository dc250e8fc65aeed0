"""Initial weights: ImageNet's, a file, the source task's, or random ones."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from apps.resnet_transfer.config import WEIGHTS, Config
from apps.resnet_transfer.source_task import source_task
from apps.resnet_transfer.transfer import RANDOM, InitialWeights
from shared.data.images import ImageData
from shared.errors import DataError
from shared.input_file import read_file, read_verified
from shared.runs.folder import RunFolder

LARGEST = np.finfo(np.float32).max


def initial_weights(config: Config, target: ImageData, run: RunFolder) -> InitialWeights:
    """Return the weights that `config.weights` names, by torchvision's names.

    If the source task has to be trained, on classes that `target` does not have, its history goes to
    the folder `source` inside the run folder.

    Raises:
        DataError: the weights are unavailable, damaged, or not the weights of a network.
    """
    if config.transfer.mode == "scratch" or config.weights == "none":
        return RANDOM
    if config.weights not in WEIGHTS:
        return InitialWeights(config.weights, read_weights(Path(config.weights), config.weights_sha256))
    if config.weights == "imagenet":
        return imagenet_weights(config)
    if config.weights == "auto":
        try:
            weights = imagenet_weights(config)
            print("weights=auto uses ImageNet weights", flush=True)
            return weights
        except DataError as error:
            print(f"{error}\nweights=auto falls back to weights=source_task", flush=True)
    return source_task(config, target, run)


def imagenet_weights(config: Config) -> InitialWeights:
    """Return torchvision's weights for the configured network."""
    if config.model.width != config.model.IMAGENET_WIDTH:
        raise DataError(f"ImageNet weights need model.width={config.model.IMAGENET_WIDTH}")
    torch_weights = importlib.import_module("apps.resnet_transfer.torch_weights")
    path, sha256 = torch_weights.imagenet(config.model.name)
    return InitialWeights("imagenet", read_weights(path, sha256))


def read_weights(path: Path, sha256: str | None = None) -> dict[str, NDArray[Any]]:
    """Return the weights in a file of safetensors or one written by torch.save; no code in it is run.

    `sha256` is the file's SHA-256 digest or the digest's first digits; None accepts any.

    Raises:
        DataError: the file is missing, has another digest, or does not hold finite, real arrays.
    """
    content = read_file(path) if sha256 is None else read_verified(path, sha256)
    if path.suffix == ".safetensors":
        try:
            state = safetensors.numpy.load(content)
        except (safetensors.SafetensorError, ValueError) as error:
            raise DataError(f"{path}: not a file of safetensors, or damaged ({error})") from error
        except (KeyError, TypeError, AttributeError) as error:  # bfloat16 and float8, for example
            raise DataError(f"{path}: has a type that NumPy lacks ({error}): save it in float32") from error
    else:
        state = importlib.import_module("apps.resnet_transfer.torch_weights").load(content, path)
    for name, value in state.items():
        if value.dtype.kind not in "fiu":
            raise DataError(f"{path}: {name} is {value.dtype}: save it in float32")
        if not (np.abs(value) <= LARGEST).all():  # also false for NaN
            raise DataError(
                f"{path}: {name} contains NaN or numbers too large for float32: use the weights of a "
                "training run that did not diverge"
            )
    return state
