"""The source task: weights learned here on classes that the target does not have, kept on disk."""

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import safetensors.numpy
from filelock import FileLock
from numpy.typing import NDArray

from apps.resnet_transfer.config import Config, Transfer
from apps.resnet_transfer.learning import DRAWN, Start, learn, network
from apps.resnet_transfer.tasks import load_source, split
from shared.config import Momentum
from shared.data.images import ImageData
from shared.distributed import broadcast_from_rank0
from shared.errors import ConfigError, DataError
from shared.files import write_atomically
from shared.runs.folder import RunFolder
from shared.training.auto import resolve_auto
from shared.training.loop import evaluate

FORM = 1  # of the source task; another number where its training changes


def source_config(config: Config) -> Config:
    """Return the configuration of the source task; it depends on no key of the target task.

    It is trained with torch, whoever goes on with the weights: all frameworks start from the same.
    """
    source = config.source
    optimizer = Momentum(
        name="momentum",
        formula="torch",
        lr=source.lr,
        momentum=0.9,
        nesterov=True,
        weight_decay=source.weight_decay,
    )
    trainer = config.trainer.model_copy(
        update={
            "epochs": source.epochs,
            "batch_size": source.batch_size,
            "schedule": "one_cycle",
            "clip_norm": None,
            "max_steps": None,
            "precision": source.precision,
        }
    )
    transfer = Transfer.model_validate(
        config.transfer.model_dump() | {"mode": "scratch", "scratch_rate": 1.0}
    )
    data = config.data.model_copy(update={"per_class": source.per_class, "test_limit": None})
    return resolve_auto(
        config.model_copy(
            update={
                "framework": "torch",
                "seed": source.seed,
                "optimizer": optimizer,
                "trainer": trainer,
                "transfer": transfer,
                "data": data,
            }
        )
    )


def key(config: Config, images: ImageData) -> str:
    """Return a digest of everything that the weights depend on; `config` is the source task's."""
    facts = {
        "form": FORM,
        "data": images.sha256,
        "model": config.model.model_dump(),
        "trainer": config.trainer.model_dump(exclude={"checkpoint_seconds", "resume", "device", "compile"}),
        "optimizer": config.optimizer.model_dump(),
        "augmentation": [config.data.mirror, config.data.shift],
        "examples": [config.data.per_class, config.data.validation_fraction],
        "seed": config.seed,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def source_task(config: Config, target: ImageData, run: RunFolder) -> Start:
    """Return the weights of the source task, from the cache or trained now.

    Raises:
        ConfigError: `config.cache` cannot be written.
        DataError: its pictures cannot be had, or it shares a class with `target`.
    """
    images = load_source(config, target)
    both = sorted(set(images.classes) & set(target.classes))
    if both:
        raise DataError(f"the source task shares {', '.join(both)} with what is to be learned")
    config = source_config(config)
    path = Path(config.cache) / f"{config.model.name}_{key(config, images)}.safetensors"
    with locked(path, run):
        state, facts = broadcast_from_rank0(lambda: read(path))
        if state is None:
            folder = run.subfolder("source", config)
            with folder.session():
                state, facts = pretrain(config, images, folder)
                if run.is_writer:
                    write(path, state, facts)
            folder.remove_checkpoints()
    print(
        f"source task: {', '.join(images.classes)}; accuracy {facts['test_accuracy']:.2%} of "
        f"{facts['test_examples']:,}; weights in {path}",
        flush=True,
    )
    run.metrics["source"] = facts | {"classes": list(images.classes), "file": path.name}
    return Start("source_task", state)


def locked(path: Path, run: RunFolder) -> AbstractContextManager[Any]:
    """Return the lock on a file of the cache, acquired: a second run waits for the first's weights.

    Raises:
        ConfigError: the folder cannot be made or written.
    """
    if not run.is_writer:  # then the process that keeps the run has the lock, and they train together
        return nullcontext()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path.with_suffix(".lock")).acquire()
    except OSError as error:
        raise ConfigError(
            f"cache={path.parent} cannot be used ({error.strerror}): choose another folder"
        ) from error


def pretrain(
    config: Config, images: ImageData, folder: RunFolder
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Train on the source task; return the weights and what they reach on its test set."""
    print(f"source task: {config.source.epochs} epochs of {images.name}, kept for the next time", flush=True)
    train_set, validation_set, test_set = split(images, config)
    learner = learn(config, DRAWN, (train_set, validation_set), len(images.classes), folder)
    test = evaluate(learner, test_set)
    folder.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
    facts = {
        "test_accuracy": test.accuracy,
        "test_examples": len(test_set),
        "train_examples": len(train_set),
        "train_seconds": folder.metrics["train_seconds"],
        "epochs": config.trainer.epochs,
        "precision": config.trainer.precision,
    }
    return network("torch").state(learner.model), facts


def read(path: Path) -> tuple[dict[str, NDArray[Any]] | None, dict[str, Any]]:
    """Return kept weights and what is known of them; None where they are not there or damaged."""
    try:
        facts = json.loads(path.with_suffix(".json").read_text())
        content = path.read_bytes()
        whole = hashlib.sha256(content).hexdigest() == facts["sha256"] and "test_accuracy" in facts
    except (OSError, ValueError, KeyError, TypeError):
        return None, {}
    if not whole:
        print(f"{path}: its digest is wrong; the source task is learned again", flush=True)
        return None, {}
    return safetensors.numpy.load(content), facts


def write(path: Path, state: dict[str, NDArray[Any]], facts: dict[str, Any]) -> None:
    """Keep weights; the digest beside them is checked when they are read."""
    content = safetensors.numpy.save(state)
    facts["sha256"] = hashlib.sha256(content).hexdigest()
    try:
        write_atomically(path, content)
        write_atomically(path.with_suffix(".json"), (json.dumps(facts, indent=2) + "\n").encode())
    except OSError as error:
        print(f"{path}: cannot be written ({error.strerror}); it is learned again next time")
