"""Where a network's first weights come from: ImageNet, a file, the source task, or nowhere."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from apps.resnet_transfer.config import IMAGENET_WIDTH, Config
from apps.resnet_transfer.files import check_digest
from apps.resnet_transfer.learning import DRAWN, Start
from apps.resnet_transfer.source import source_task
from shared.data.images import ImageData
from shared.errors import DataError
from shared.runs.folder import RunFolder

LARGEST = np.finfo(np.float32).max


def starting_weights(config: Config, target: ImageData, run: RunFolder) -> Start:
    """Return the weights that `config.weights` names, by torchvision's names.

    Args:
        config: `weights`, `model` and what the source task is.
        target: what is to be learned; the source task has none of its classes.
        run: the folder `source` in it takes the history of the source task, if it is trained.

    Raises:
        DataError: the weights cannot be had, are damaged, or are no weights.
    """
    if config.transfer.mode == "scratch":
        return DRAWN
    match config.weights:
        case "none":
            return DRAWN
        case "source_task":
            return source_task(config, target, run)
        case "imagenet":
            return imagenet(config)
        case "auto":
            return automatic(config, target, run)
    return Start(config.weights, from_file(Path(config.weights), config.weights_sha256))


def imagenet(config: Config) -> Start:
    """Return torchvision's weights (torch_weights.py)."""
    module = importlib.import_module("apps.resnet_transfer.torch_weights")
    return Start("imagenet", module.imagenet(config.model.name))


def automatic(config: Config, target: ImageData, run: RunFolder) -> Start:
    """Return ImageNet's weights where they can be had, else the source task's; say which."""
    try:
        if config.model.width != IMAGENET_WIDTH:
            raise DataError(f"ImageNet's weights need model.width={IMAGENET_WIDTH}")
        start = imagenet(config)
    except DataError as error:
        print(f"{error}\nweights=auto goes on with weights=source_task", flush=True)
        return source_task(config, target, run)
    print("weights=auto takes ImageNet's", flush=True)
    return start


def from_file(path: Path, expected: str | None = None) -> dict[str, NDArray[Any]]:
    """Return the weights in a file of safetensors or one that torch wrote; no code in it is run.

    Args:
        path: the file.
        expected: how its SHA-256 digest must begin; None takes any.

    Raises:
        DataError: there is no such file, its digest is wrong, or it holds no weights.
    """
    check_digest(path, expected)
    if path.suffix != ".safetensors":
        module = importlib.import_module("apps.resnet_transfer.torch_weights")
        return checked(path, module.read(path))
    try:
        return checked(path, safetensors.numpy.load_file(path))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not a file of safetensors, or damaged ({error})") from error
    except (TypeError, AttributeError) as error:  # bfloat16, say, and the float8 types
        raise DataError(f"{path}: of a type that NumPy has not ({error}): save it in float32") from error


def checked(path: Path, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return weights that are known to be real, finite numbers.

    Raises:
        DataError: some are not.
    """
    for name, value in state.items():
        if value.dtype.kind not in "fiu":
            raise DataError(f"{path}: {name} is {value.dtype}: save it in float32")
        if not (np.abs(value) <= LARGEST).all():  # NaN compares as false
            raise DataError(
                f"{path}: {name} holds NaN or numbers too large for float32: take the weights of a "
                "training that ended well"
            )
    return dict(state)
