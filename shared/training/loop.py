"""Epochs: what is around a framework's loop, the same for all of them."""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from shared import distributed
from shared.config import AppConfig
from shared.data.examples import Examples
from shared.distributed import all_gather, broadcast_from_rank0
from shared.errors import ConfigError, DataError, Interrupted, TrainingDiverged
from shared.runs import resume
from shared.runs.folder import WEIGHTS, RunFolder
from shared.runs.progress import TrainingProgress
from shared.runs.reader import read_weights
from shared.training.checkpoint import Checkpoints, EpochSoFar, Stateful
from shared.training.losses import Loss, example_losses, predicted_classes
from shared.training.schedule import learning_rates

Indices = NDArray[np.int64]
Batches = Callable[[int], list[Indices]]  # those of an epoch; every epoch has as many

Augment = Callable[[Any, np.random.Generator], Any]
POOL = 50  # batches that are sorted together
AUGMENT = 1  # tells the random numbers of augmentation from those of the order
EVALUATION_BATCH = 250  # examples, whose activations fit into the cache: half the time of 1000


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and accuracy (0 to 1) of a data set; predicted classes (N,)."""

    loss: float
    accuracy: float
    predictions: NDArray[np.int64]


class Learner(Stateful, Protocol):
    """A network with its optimizer, in one framework.

    Attributes:
        parameters: how many numbers are trained.
        loss: what it is trained on.
        model: the network itself, a class of its framework.
        asynchronous: whether `train` yields before a step is done: float() and int() wait for it.
    """

    parameters: int
    loss: Loss
    model: Any
    asynchronous: bool

    def placed(self, examples: Examples) -> Examples:
        """Return examples where the network is; what changes the inputs is given these."""
        ...

    def train(
        self, examples: Examples, steps: Sequence[tuple[Indices, float]]
    ) -> Iterator[tuple[float, int]]:
        """Take a step for each (batch, learning rate); yield the batch's mean loss and its hits."""
        ...

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logits (N, classes) of one batch, in evaluation mode."""
        ...

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return every weight by name."""
        ...

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `weights` of such a network has given.

        Raises:
            ValueError: a name is missing or unknown, or a shape does not fit.
        """
        ...


def batches_of(count: int, batch_size: int, seed: int, epoch: int) -> list[Indices]:
    """Return the shuffled batches of an epoch: every example once, the last batch may be smaller.

    The order depends on `seed` and `epoch` alone, so that all frameworks see the same batches.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


def batches_by_length(lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int) -> list[Indices]:
    """Return the shuffled batches of an epoch, each of similar lengths: little is padded.

    As `batches_of`; but within each pool of `POOL` batches the examples are sorted by length before
    they are dealt out, and then the batches are shuffled. The smaller batch may come anywhere.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    return [batches[number] for number in random.permutation(len(batches))]


def unchanged(inputs: Any, random: np.random.Generator) -> Any:
    """Return the inputs as they are: no augmentation."""
    return inputs


def fit(
    learner: Learner,
    train_set: Examples,
    validation_set: Examples | None,
    config: AppConfig,
    run: RunFolder,
    augment: Augment = unchanged,
    batches: Batches | None = None,
    before_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train for `config.trainer.epochs`, validate after each, keep the history in the run folder.

    In the folder of a resumed run the training goes on after its last checkpoint, if there is one.

    Args:
        learner: what is trained.
        train_set: what it is trained with.
        validation_set: what it is scored with after each epoch; None where there is none.
        config: epochs, batch size, schedule, learning rate and seed are taken from here.
        run: where the history goes.
        augment: makes the inputs of an epoch from those of the training set.
        batches: gives the batches of an epoch, counted from 1; shuffled ones where there is none.
        before_epoch: takes the number of each epoch before it begins.

    Raises:
        TrainingDiverged: the loss of a step is not finite.
        DataError: the checkpoints are damaged, or of other data.
        KeyboardInterrupt: the user stopped it; the weights so far are in the run folder.
        LostProcess: of several processes that train together one has ended.
    """
    refuse_another_training(config, run)
    trainer = config.trainer
    batches = batches or partial(batches_of, len(train_set), trainer.batch_size, config.seed)
    train_set = learner.placed(train_set)
    steps_an_epoch = len(batches(1))
    total = trainer.epochs * steps_an_epoch
    total = min(total, trainer.max_steps or total)
    run.metrics |= {"epochs": 0, "steps": 0, "train_seconds": 0.0}
    checkpoints = restored(learner, run, config, total)
    progress = TrainingProgress(trainer.epochs, total, run.metrics["steps"])
    with progress, _kept(learner, run, checkpoints), checkpoints:
        for epoch in range(run.metrics["epochs"] + 1, math.ceil(total / steps_an_epoch) + 1):
            if before_epoch is not None:
                before_epoch(epoch)
            first = (epoch - 1) * steps_an_epoch
            numbers = np.arange(first, min(first + steps_an_epoch, total))
            rates = learning_rates(trainer.schedule, config.optimizer.lr, total, numbers)
            # max_steps may cut the last epoch short
            steps = list(zip(batches(epoch), rates, strict=False))
            random = np.random.default_rng([config.seed, epoch, AUGMENT])
            examples = Examples(augment(train_set.inputs, random), train_set.labels)
            left = steps[run.metrics["steps"] - first :]
            _train_epoch(learner, examples, left, epoch, run, checkpoints, progress)
            row = {"epoch": epoch} | checkpoints.epoch.means()
            if validation_set is not None:
                try:
                    with checkpoints.no_step():
                        validation = evaluate(learner, validation_set)
                except TrainingDiverged as error:
                    raise _diverged(str(error), run.metrics["steps"], epoch, rates[-1]) from error
                row["validation_loss"] = validation.loss
                row["validation_accuracy"] = validation.accuracy
            row["seconds"] = seconds = time.perf_counter() - checkpoints.epoch.start
            run.metrics["epochs"] = epoch
            run.metrics["train_seconds"] += seconds
            run.add_row("history.csv", row)
            run.write_rows("history.csv")
            checkpoints.epoch = EpochSoFar()
            progress.epoch(row)

        def keep() -> None:
            checkpoints.write()
            save_weights(learner, run)

        run.on_interrupt = keep  # what comes now may take long, and no step is to be taken again
    if run.resumed:
        run.remove(WEIGHTS)  # those of the interruption


def refuse_another_training(config: AppConfig, run: RunFolder) -> None:
    """Refuse a process that has not what the first one has: two machines, two configurations.

    Raises:
        ConfigError: the configuration differs.
        DataError: the data differs.
    """
    own = resume.compared_values(config), run.metrics.get("dataset_sha256")
    first = broadcast_from_rank0(lambda: own)
    if keys := resume.differences(first[0], own[0]):
        raise ConfigError(f"the processes have different configurations: {keys}")
    if first[1] != own[1]:
        raise DataError(
            f"the processes have different data: dataset_sha256 is {own[1]} in process "
            f"{distributed.rank()}, and {first[1]} in the first"
        )


def restored(
    learner: Stateful, run: RunFolder, config: AppConfig, total: int, speaker: str = ""
) -> Checkpoints:
    """Return what writes the checkpoints; where a run is resumed, restore the last one and say so.

    Args:
        learner: what is trained.
        run: the run folder.
        config: the configuration of the training.
        total: how many steps it has.
        speaker: what each line begins with.

    Raises:
        DataError: the checkpoints are damaged, or of other data.
    """
    checkpoints = Checkpoints(learner, run, config)
    if checkpoints.restore():
        print(f"{speaker}going on after step {run.metrics['steps']:,} of {total:,}", flush=True)
    elif run.resumed:
        print(f"{speaker}no checkpoint is there yet: beginning with the first step", flush=True)
    return checkpoints


def _train_epoch(
    learner: Learner,
    examples: Examples,
    steps: Sequence[tuple[Indices, float]],
    epoch: int,
    run: RunFolder,
    checkpoints: Checkpoints,
    progress: TrainingProgress,
) -> None:
    """Take the steps that are left of one epoch and note each.

    Where the device goes on by itself, what it has found is asked for when a checkpoint is due, on
    Ctrl-C and at the end: waiting for each step would leave it idle between two.
    """
    unread: list[tuple[int, float, Any, Any, int]] = []
    sums = checkpoints.epoch

    def note() -> None:
        for number, rate, loss, correct, count in unread:
            mean = float(loss)
            run.add_row("steps.csv", {"step": number, "epoch": epoch, "lr": rate, "loss": mean})
            if not math.isfinite(mean):
                raise _diverged(f"the loss is {mean}", number, epoch, rate)
            sums.add(mean, int(correct), count)
        unread.clear()

    try:
        for (batch, rate), scores in zip(steps, learner.train(examples, steps), strict=True):
            number = run.metrics["steps"] = run.metrics["steps"] + 1
            unread.append((number, rate, *scores, len(batch)))
            if not learner.asynchronous:
                note()
            progress.step(epoch, *sums.means().values())
            checkpoints.after_step()
            if checkpoints.due():
                note()
                checkpoints.write()
    except KeyboardInterrupt:
        note()
        raise
    note()


def _diverged(what: str, step: int, epoch: int, rate: float) -> TrainingDiverged:
    return TrainingDiverged(
        f"{what} at step {step} (epoch {epoch}), where the learning rate is {rate:.3g}; "
        "try a smaller optimizer.lr"
    )


@contextlib.contextmanager
def _kept(learner: Learner, run: RunFolder, checkpoints: Checkpoints) -> Iterator[None]:
    """Write the steps however the training ends; on Ctrl-C where it stands, and say where."""
    try:
        yield
    except KeyboardInterrupt:
        checkpoints.keep(lambda: save_weights(learner, run))
        raise Interrupted(
            f"after step {run.metrics['steps']}; the weights so far are in {run.path / WEIGHTS}"
        ) from None
    finally:
        run.write_rows("steps.csv")


def save_weights(learner: Learner, run: RunFolder) -> None:
    """Write a learner's weights to the run folder."""
    write_weights(learner.weights(), run)


def load_weights(learner: Learner, folder: Path, metrics: dict[str, Any]) -> None:
    """Give a learner the weights of the run in `folder`.

    Raises:
        DataError: they are damaged, or do not fit the configuration beside them.
    """
    try:
        learner.load_weights(read_weights(folder, metrics))
    except ValueError as error:
        raise DataError(
            f"{folder}: config.yaml does not belong to these weights ({error}); train again"
        ) from error


def write_weights(weights: Mapping[str, NDArray[Any]], run: RunFolder) -> None:
    """Write weights in a format that cannot run code when it is read, and note their digest."""
    # safetensors writes the bytes as they lie in memory: channels last would come out scrambled.
    content = safetensors.numpy.save({n: np.array(w, order="C") for n, w in weights.items()})
    run.write(WEIGHTS, content)
    run.metrics["weights_sha256"] = hashlib.sha256(content).hexdigest()


def evaluate(learner: Learner, examples: Examples) -> Evaluation:
    """Score every example once, in evaluation mode; of several processes each takes some batches.

    Raises:
        RuntimeError: the number of scored examples is not the size of the data set.
        TrainingDiverged: the loss is not finite.
        LostProcess: of several processes one has ended.
    """
    count = distributed.world_size()
    starts = range(0, len(examples), EVALUATION_BATCH)
    scored = all_gather(
        [
            learner.logits(examples.inputs[start : start + EVALUATION_BATCH])
            for start in starts[distributed.rank() :: count]
        ]
    )
    batches = (scored[number % count][number // count] for number in range(len(starts)))
    logits = np.concatenate(list(batches))
    if len(logits) != len(examples):
        raise RuntimeError(f"scored {len(logits)} examples of {len(examples)}")
    predictions = predicted_classes(learner.loss, logits)
    with np.errstate(invalid="ignore"):  # infinite logits: what comes of them is said below
        losses = example_losses(learner.loss, logits, examples.labels)
        loss = float(losses.sum()) / len(examples)
    if not math.isfinite(loss):
        raise TrainingDiverged(f"the loss in evaluation is {loss}")
    accuracy = int((predictions == examples.labels).sum()) / len(examples)
    return Evaluation(loss, accuracy, predictions)
