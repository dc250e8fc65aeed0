"""torchvision's ImageNet weights, and files that torch wrote."""

import os
import threading
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision import models  # type: ignore[import-untyped]

from apps.resnet_transfer.files import check_digest
from shared.errors import DataError

PATIENCE = 5.0  # seconds for the server to answer
ENUMS = {"resnet18": "ResNet18_Weights", "resnet34": "ResNet34_Weights", "resnet50": "ResNet50_Weights"}


class NotToBeHad(DataError):
    """The weights are neither in torchvision's cache nor can they be downloaded."""


def imagenet_url(model: str) -> str:
    """Return the address of torchvision's weights; the file's name has the digest in it."""
    url: str = getattr(models, ENUMS[model]).IMAGENET1K_V1.url
    return url


def cached_file(model: str) -> Path:
    """Return where torchvision keeps them (TORCH_HOME, or ~/.cache/torch)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(imagenet_url(model)).name


def imagenet(model: str) -> dict[str, NDArray[Any]]:
    """Return torchvision's weights from its cache; they are downloaded into it where they are not.

    The file's SHA-256 digest, whose first digits its name ends with, is checked on every load:
    torch itself checks it after a download alone.

    Raises:
        NotToBeHad: there is no file, and the server does not answer within seconds.
        DataError: the file's digest is wrong.
    """
    path, url = cached_file(model), imagenet_url(model)
    if not path.exists():
        problem = unreachable(url)
        if problem:
            raise NotToBeHad(
                f"ImageNet's weights of {model} are not in {path.parent}, and {url} cannot be "
                f"reached ({problem})"
            )
        print(f"downloading {url} to {path}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=os.isatty(2))
        except OSError as error:
            raise NotToBeHad(f"{url}: the download broke off ({error})") from error
    return read(path, expected=path.stem.rpartition("-")[2])


def unreachable(url: str) -> str:
    """Return why a server gives nothing within `PATIENCE` seconds, or an empty string."""
    problems = [f"no answer in {PATIENCE:.0f} seconds"]

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=PATIENCE):
                problems[0] = ""
        except Exception as error:
            problems[0] = str(getattr(error, "reason", error)) or type(error).__name__

    asking = threading.Thread(target=ask, daemon=True)  # looking up a name knows no time limit
    asking.start()
    asking.join(PATIENCE)
    return problems[0]


def read(path: Path, expected: str | None = None) -> dict[str, NDArray[Any]]:
    """Return the state dict in a file that `torch.save` wrote; no code in it is run.

    Args:
        path: the file.
        expected: how its SHA-256 digest must begin; None takes any.

    Raises:
        DataError: the digest is wrong, or it holds something else than tensors by name.
    """
    check_digest(path, expected)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: no state dict that can be read without running code ({reason}); save "
            "network.state_dict() with torch.save, or take safetensors"
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise DataError(f"{path}: not a state dict: save network.state_dict() with torch.save")
    try:
        return {
            name: np.array((value.float() if value.is_floating_point() else value).detach().numpy())
            for name, value in loaded.items()
        }
    except (RuntimeError, TypeError) as error:  # sparse, quantised, or without content
        raise DataError(f"{path}: holds tensors that are no plain arrays ({error})") from error
