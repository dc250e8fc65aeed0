"""Features of a frozen backbone: computed once, and kept on disk for the next run."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
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


def with_features(learner: Learner, examples: Examples, config: Config) -> Examples:
    """Return the examples with the backbone's features (N, F) as inputs.

    They are in the folder `features` of `config.cache`, in a file named by a digest of images, weights
    and everything else that they depend on to the last bit.
    """
    path = Path(config.cache) / "features" / f"{config.model.name}_{cache_key(learner, examples, config)}.npz"
    arrays = cached_arrays(path, lambda: compute(learner, examples, config), CACHE_MAX_BYTES)
    return Examples(arrays["features"], examples.labels)


def cache_key(learner: Learner, examples: Examples, config: Config) -> str:
    """Return the digest that names the file."""
    machine = environment(config.framework, config.trainer.threads or available_cores())
    settings: list[object] = [CACHE_FORMAT, config.framework, config.model.model_dump(), config.data.pixels]
    settings += [config.trainer.model_dump(include={"precision", "device", "compile"})]
    settings += [machine["versions"], machine["hardware"]]
    digest = hashlib.sha256(repr(settings).encode())
    images = examples.inputs.images
    arrays = {name: value for name, value in learner.weights().items() if not is_head(name)}
    for name, value in [("images", images), *sorted(arrays.items())]:
        digest.update(f"{name} {value.shape} {value.dtype}".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()[:24]


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
