"""Features of a frozen backbone: computed once, and kept on disk for the next run."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.transfer import PACKAGE, is_head
from shared.data.cache import Arrays, cached_arrays
from shared.data.examples import Examples
from shared.distributed import available_cores
from shared.runs.environment import environment
from shared.runs.progress import SECONDS_BETWEEN_LINES
from shared.training import frameworks
from shared.training.loop import Learner

CACHE_FORMAT = 1  # increase it when the computation changes
CACHE_MAX_BYTES = 2**30


def feature_extractor(learner: Learner, config: Config) -> Callable[[Examples], Examples]:
    """Return a function from examples to the same examples with the backbone's features (N, F) as inputs.

    They are in the folder `features` of `config.cache`, in a file named by a digest of images, weights
    and everything else that they depend on to the last bit.
    """
    network = network_digest(learner, config)

    def with_features(examples: Examples) -> Examples:
        digest = network.copy()
        add_array(digest, "images", examples.inputs.images)
        name = f"{config.model.name}_{digest.hexdigest()[:24]}.npz"
        path = Path(config.cache) / "features" / name
        arrays = cached_arrays(path, lambda: compute(learner, examples, config), CACHE_MAX_BYTES)
        return Examples(arrays["features"], examples.labels)

    return with_features


def network_digest(learner: Learner, config: Config) -> Any:
    """Return the SHA-256 object of everything that features depend on, but not of the images."""
    machine = environment(config.framework, config.trainer.threads or available_cores())
    settings: list[object] = [CACHE_FORMAT, config.framework, config.model.model_dump(), config.data.pixels]
    settings += [config.trainer.model_dump(include={"precision", "device", "compile"})]
    settings += [machine["versions"], machine["hardware"]]
    digest = hashlib.sha256(repr(settings).encode())
    for name, value in sorted(learner.weights().items()):
        if not is_head(name):
            add_array(digest, name, value)
    return digest


def add_array(digest: Any, name: str, value: NDArray[Any]) -> None:
    """Add an array with its name, shape and dtype to a SHA-256 object."""
    digest.update(f"{name} {value.shape} {value.dtype}".encode())
    digest.update(np.ascontiguousarray(value).data)


def compute(learner: Learner, examples: Examples, config: Config) -> Arrays:
    """Return the features, batch by batch as the network is evaluated."""
    features = frameworks.network_module(PACKAGE, config).features
    rows = slices(len(examples), examples.inputs.evaluation_batch)
    return {"features": np.concatenate([features(learner, examples.inputs[one]) for one in rows])}


def slices(count: int, batch: int) -> Iterator[slice]:
    """Yield the rows of each batch, and show how far the work is."""
    starts = range(0, count, batch)
    console = Console()
    if console.is_terminal:
        title = f"features of {count:,} images"
        for start in track(starts, title, console=console, transient=True):
            yield slice(start, start + batch)
        return
    begin = last_line = time.monotonic()
    for start in starts:
        yield slice(start, start + batch)
        done, now = min(start + batch, count), time.monotonic()
        if now - last_line > SECONDS_BETWEEN_LINES and done < count:
            seconds_left = (now - begin) / done * (count - done)
            print(f"features of {done:,} of {count:,} images  {seconds_left:.0f} s left", flush=True)
            last_line = now
