"""Initial weights: ImageNet's, a file, the source task's, or random ones."""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from apps.resnet_transfer import wheel
from apps.resnet_transfer.config import IMAGENET_SIZE, WEIGHTS, Config
from apps.resnet_transfer.source_task import source_task
from apps.resnet_transfer.transfer import RANDOM, InitialWeights, State, check_backbone
from shared.data.fetch import archives_folder
from shared.data.images import ImageData
from shared.distributed import broadcast_from_rank0
from shared.errors import DataError
from shared.input_file import read_file, read_verified
from shared.runs.folder import RunFolder

Download = Callable[[Path], None]  # writes the file

LARGEST = np.finfo(np.float32).max


def find_weights(config: Config) -> tuple[Config, InitialWeights | None]:
    """Return the configuration with `weights` and `data.size` decided, and the initial weights.

    These have torchvision's names. They are None if the source task has to be trained, for which the
    images have to be known: see `initial_weights`.

    Raises:
        DataError: the weights are unavailable, damaged, or not the weights of a network.
    """
    if config.transfer.mode == "scratch" or config.weights == "none":
        return with_size(config), RANDOM
    if config.weights not in WEIGHTS:
        state = read_weights(Path(config.weights), config.weights_sha256)
        return with_size(config), InitialWeights(config.weights, state)
    if config.weights == "source_task":
        return with_size(config), None
    found = broadcast_from_rank0(lambda: imagenet_or_problem(config))  # only rank 0 downloads
    if isinstance(found, InitialWeights):
        return with_size(config.model_copy(update={"weights": "imagenet"})), found
    if config.weights == "imagenet":
        raise DataError(found)
    print(f"{found}\nweights=auto falls back to weights=source_task", flush=True)
    return with_size(config.model_copy(update={"weights": "source_task"})), None


def with_size(config: Config) -> Config:
    """Return the configuration with the size of its images, by the initial weights, and with `data.shift`.

    ImageNet's weights were trained on images of 224 pixels; with 160, everything takes half the time.
    """
    data = config.data
    size = data.size or (IMAGENET_SIZE if config.weights == "imagenet" else data.OWN_SIZE)
    shift = size // 8 if data.shift is None else data.shift
    return config.model_copy(update={"data": data.model_copy(update={"size": size, "shift": shift})})


def initial_weights(
    found: InitialWeights | None, config: Config, target: ImageData, run: RunFolder
) -> InitialWeights:
    """Return the weights that `find_weights` found, or those of the source task.

    If it has to be trained, on classes that `target` does not have, its history goes to the folder
    `source` inside the run folder. Raises as `source_task`.
    """
    weights = source_task(config, target, run) if found is None else found
    run.metrics["weights"] = weights.name
    if weights.file:
        run.metrics["weights_file"] = weights.file
    return weights


def imagenet_or_problem(config: Config) -> InitialWeights | str:
    """Return ImageNet weights, or why there are none."""
    try:
        return imagenet_weights(config)
    except DataError as error:
        return str(error)


def imagenet_weights(config: Config) -> InitialWeights:
    """Return ImageNet weights for the configured network, from the first place that has them.

    The places are torchvision's cache, `DATA_ARCHIVES/weights` (for mobilenet_v2 also with the file of the
    wheel), and for mobilenet_v2 an earlier download of the wheel; then torchvision's server and the wheel.

    Raises:
        DataError: no place has them; the message lists the places.
    """
    model, archives = config.model, archives_folder()
    if model.width != model.IMAGENET_WIDTH:
        raise DataError(f"ImageNet weights need model.width={model.IMAGENET_WIDTH}")
    torch_weights = importlib.import_module("apps.resnet_transfer.torch_weights")
    url = torch_weights.imagenet_url(model.name)
    downloads: dict[Path, Download] = {torch_weights.cached_file(url): partial(torch_weights.download, url)}
    if model.name == "mobilenet_v2":
        downloads[Path(config.cache) / wheel.FILE] = wheel.download
    cached, *others = downloads
    archived = [archives / "weights" / path.name for path in downloads] if archives else []
    places: list[tuple[Path, Download | None]] = [(path, None) for path in (cached, *archived, *others)]
    problems = [] if archives else ["DATA_ARCHIVES is not set"]
    if getattr(config.data, "download", True):
        places += downloads.items()
    else:
        problems.append("data.download=false")
    for path, download in places:
        if download is None and not path.exists():
            problems.append(f"{path} does not exist")
            continue
        try:
            if download is not None:
                download(path)
            state = read_imagenet(path, config)
        except DataError as error:
            problems.append(str(error).splitlines()[0])
            print(problems[-1], flush=True)
        else:
            print(f"ImageNet weights from {path}", flush=True)
            return InitialWeights("imagenet", state, path.name)
    raise DataError(
        f"cannot get ImageNet weights of {model.name}: {'; '.join(problems)}\n"
        "allow the download, or set the environment variable DATA_ARCHIVES to a folder that contains "
        f"weights/{cached.name}"
    )


def read_imagenet(path: Path, config: Config) -> State:
    """Return the weights in torchvision's file or in that of the wheel, verified, by torchvision's names."""
    torch_weights = importlib.import_module("apps.resnet_transfer.torch_weights")
    if path.name == wheel.FILE:
        state = wheel.torchvision_names(read_weights(path, wheel.FILE_SHA256))
    else:
        state = read_weights(path, path.stem.rpartition("-")[2])
    check_backbone(InitialWeights(str(path), state), torch_weights.imagenet_shapes(config.model.name), config)
    return state


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
