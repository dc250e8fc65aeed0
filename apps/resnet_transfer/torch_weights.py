"""torchvision's ImageNet weights, and files written by torch.save."""

import io
import os
import threading
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision import models  # type: ignore[import-untyped]

from shared.errors import DataError

TIMEOUT = 5.0  # seconds for the server to answer


def imagenet_url(model: str) -> str:
    """Return the URL of torchvision's weights; the file name ends with digits of its SHA-256 digest."""
    return models.get_model_weights(model).IMAGENET1K_V1.url


def cached_file(url: str) -> Path:
    """Return where torchvision keeps the weights at a URL, which need not exist.

    That is in TORCH_HOME/hub/checkpoints, or ~/.cache/torch/hub/checkpoints.
    """
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name


def imagenet_shapes(model: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of torchvision's weights by name."""
    with torch.device("meta"):  # neither memory nor random numbers
        network = models.get_model(model)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def download(url: str, path: Path) -> None:
    """Download torchvision's weights to `path`.

    torch verifies the digest after a download, but not on a later load; callers should do that.

    Raises:
        DataError: the file cannot be downloaded, or has another digest.
    """
    if problem := connection_problem(url):
        raise DataError(f"{url} cannot be reached ({problem})")
    print(f"downloading {url} to {path}", flush=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = path.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=os.isatty(2))
    except (OSError, RuntimeError) as error:  # RuntimeError: another digest
        raise DataError(f"{url}: the download failed ({error})") from error


def connection_problem(url: str) -> str:
    """Return why a server does not answer within `TIMEOUT` seconds, or an empty string if it does."""
    problems = [f"no answer in {TIMEOUT:.0f} seconds"]

    def connect() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
            problems[0] = ""
        except Exception as error:
            problems[0] = str(getattr(error, "reason", error)) or type(error).__name__

    thread = threading.Thread(target=connect, daemon=True)  # a name lookup has no timeout of its own
    thread.start()
    thread.join(TIMEOUT)
    return problems[0]


def load(content: bytes, path: Path) -> dict[str, NDArray[Any]]:
    """Return the state dict in `content`, which was written by torch.save; no code in it is run.

    Floating-point weights become float32. `path` is for messages.

    Raises:
        DataError: it contains anything but dense tensors by name.
    """
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged and hostile files raise many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: not a state dict that can be read without running code ({reason}); save "
            "network.state_dict() with torch.save, or use safetensors"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise DataError(f"{path}: not a state dict: save network.state_dict() with torch.save")
    try:
        return {
            name: np.array((value.float() if value.is_floating_point() else value).detach().numpy())
            for name, value in state.items()
        }
    except (RuntimeError, TypeError) as error:  # sparse, quantized or meta tensors
        raise DataError(f"{path}: contains a tensor that is not a dense array ({error})") from error
