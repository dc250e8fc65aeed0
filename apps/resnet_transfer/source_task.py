"""The source task: weights trained on classes that the target task does not have, cached on disk."""

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from filelock import FileLock

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.data import check_batches, load_source_data, split
from apps.resnet_transfer.transfer import InitialWeights, State, build_learner, fit_transfer
from shared.config import Momentum
from shared.data.images import ImageData
from shared.distributed import broadcast_from_rank0
from shared.errors import ConfigError, DataError
from shared.files import sha256_of, write_atomically
from shared.input_file import read_verified
from shared.output_file import write_json
from shared.runs.folder import RunFolder
from shared.training.frameworks import resolve_auto

FORMAT = 1  # increase it when the training of the source task changes
# Keys of `trainer` that do not change the weights.
NOT_IN_KEY = {"checkpoint_seconds", "resume", "device", "compile", "patience"}


def source_task(config: Config, target: ImageData, run: RunFolder) -> InitialWeights:
    """Return the weights of the source task, from the cache or trained now.

    Raises:
        ConfigError: `config.cache` cannot be written.
        DataError: its images are unavailable, or it shares a class with `target`.
    """
    images = load_source_data(config, target)
    if both := sorted(set(images.classes) & set(target.classes)):
        raise DataError(f"the source task shares {', '.join(both)} with the target task")
    config = source_config(config)
    path = Path(config.cache) / f"{config.model.name}_{cache_key(config, images)}.safetensors"
    with cache_lock(path, run):
        state, facts = broadcast_from_rank0(lambda: read_cache(path))
        if state is None:
            folder = run.subfolder("source", config)
            with folder.session():
                state, facts = pretrain(config, images, folder)
                if run.is_writer:
                    write_cache(path, state, facts)
            folder.remove_checkpoints()
    print(
        f"source task: {', '.join(images.classes)}; accuracy {facts['test_accuracy']:.2%} of "
        f"{facts['test_examples']:,} test images; weights in {path}",
        flush=True,
    )
    run.metrics["source"] = facts | {"classes": list(images.classes), "file": path.name}
    return InitialWeights("source_task", state)


def source_config(config: Config) -> Config:
    """Return the configuration of the source task, which depends on no key of the target task.

    It is always trained in torch, so that all frameworks start from the same weights.
    """
    source = config.source
    optimizer = {"name": "momentum", "formula": "torch", "momentum": 0.9, "nesterov": True}
    optimizer |= source.model_dump(include={"lr", "weight_decay"})
    trainer = {"schedule": "one_cycle", "clip_norm": None, "max_steps": None, "patience": None}
    trainer |= source.model_dump(include={"epochs", "batch_size", "precision"})
    changes = {
        "framework": "torch",
        "seed": source.seed,
        "optimizer": Momentum.model_validate(optimizer),
        "trainer": config.trainer.model_copy(update=trainer),
        "transfer": config.transfer.model_copy(update={"mode": "scratch", "scratch_rate": 1.0}),
        "data": config.data.model_copy(update={"per_class": source.per_class, "test_limit": None}),
    }
    return resolve_auto(config.model_copy(update=changes))


def cache_key(config: Config, images: ImageData) -> str:
    """Return a digest of everything the weights depend on, except versions and machine."""
    facts = {
        "form": FORMAT,
        "data": images.sha256,
        "model": config.model.model_dump(),
        "trainer": config.trainer.model_dump(exclude=NOT_IN_KEY),
        "optimizer": config.optimizer.model_dump(exclude_defaults=True),  # older caches lack newer keys
        "augmentation": [config.data.mirror, config.data.shift],
        "examples": [config.data.per_class, config.data.validation_fraction],
        "seed": config.seed,
    }
    if images.train_images.shape[1] != config.data.pixels:  # otherwise the digest of the data depends on it
        facts["size"] = config.data.pixels
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def cache_lock(path: Path, run: RunFolder) -> AbstractContextManager[Any]:
    """Return the lock on a cached file, acquired: a second run waits for the weights of the first."""
    if not run.is_writer:  # rank 0 holds the lock for all ranks
        return nullcontext()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path.with_suffix(".lock")).acquire()
    except OSError as error:
        raise ConfigError(
            f"cache={path.parent} cannot be used ({error.strerror}): choose another folder"
        ) from error


def pretrain(config: Config, images: ImageData, folder: RunFolder) -> tuple[State, dict[str, Any]]:
    """Train on the source task; return the weights and their results on its test set."""
    print(
        f"source task: training {config.source.epochs} epochs on {images.name} at {config.data.pixels} "
        "pixels, once (weights=none starts from random weights instead)",
        flush=True,
    )
    train_set, validation_set, test_set = split(images, config)
    check_batches(config, len(train_set))
    learner = build_learner(config, images)
    test = fit_transfer(learner, train_set, validation_set, test_set, config, folder)
    folder.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
    facts = {
        "test_accuracy": test.accuracy,
        "test_examples": len(test_set),
        "train_examples": len(train_set),
        "train_seconds": folder.metrics["train_seconds"],
        "epochs": config.trainer.epochs,
        "precision": config.trainer.precision,
    }
    # safetensors writes arrays as they lie in memory, channels last included
    return {name: np.array(value, order="C") for name, value in learner.weights().items()}, facts


def read_cache(path: Path) -> tuple[State | None, dict[str, Any]]:
    """Return cached weights and the facts beside them; None if they are missing or damaged."""
    try:
        facts = json.loads(path.with_suffix(".json").read_text())
        state = safetensors.numpy.load(read_verified(path, facts["sha256"]))
        return (state, facts) if "test_accuracy" in facts else (None, {})
    except DataError as error:
        print(f"{error}; training the source task again", flush=True)
    except (OSError, ValueError, KeyError, TypeError):  # no facts, or damaged ones
        pass
    return None, {}


def write_cache(path: Path, state: State, facts: dict[str, Any]) -> None:
    """Cache weights, with their digest in the facts beside them."""
    content = safetensors.numpy.save(dict(state))
    facts["sha256"] = sha256_of(content)
    try:
        write_atomically(path, content)
        write_json(path.with_suffix(".json"), facts)
    except OSError as error:
        print(f"{path}: cannot be written ({error.strerror}); the source task is trained again next time")
