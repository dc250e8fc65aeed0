"""The training loop: one for all applications and frameworks."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared import distributed
from shared.config import AppConfig
from shared.data.examples import Examples
from shared.errors import TrainingDiverged
from shared.files import relative_path
from shared.runs.folder import RunFolder
from shared.runs.progress import announcement, conclusion
from shared.training.losses import Loss, example_losses, predicted_classes
from shared.training.run_state import RunState, save_weights
from shared.training.schedule import Batches, Indices, Plan, shuffled_batches

Augment = Callable[[Any, np.random.Generator], Any]  # returns changed inputs

AUGMENT = 1  # separates the random numbers of augmentation from those of shuffling
EVALUATION_BATCH = 250  # examples whose activations fit into the cache: twice as fast as 1000


class Learner(Protocol):
    """A network with its optimizer, in one framework.

    Attributes:
        parameters: number of trained parameters.
        loss: name of the loss it is trained on (losses.py).
        model: the network, an object of its framework.
        asynchronous: whether a step returns before it has been computed, as on a GPU.
    """

    parameters: int
    loss: Loss
    model: Any
    asynchronous: bool

    def to_device(self, examples: Examples) -> Examples:
        """Return the examples on the network's device."""

    def start_epoch(self, batches: Sequence[Indices]) -> Sequence[Any]:
        """Switch to training mode; return the batches as `step` takes them, on the device."""

    def step(self, examples: Examples, batch: Any, lr: float) -> tuple[Any, Any]:
        """Take one optimizer step; return the batch's mean loss and number of correct predictions."""

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logits (N, classes) of one batch, in evaluation mode."""

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return every weight by name."""

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Load what `weights` returned for such a network; anything else is a ValueError."""

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return everything the next step depends on: arrays, valid until that step, and JSON values."""

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Restore what `state` returned; anything else is a ValueError or KeyError."""


def fit(
    learner: Learner,
    train_set: Examples,
    validation_set: Examples | None,
    config: AppConfig,
    run: RunFolder,
    augment: Augment | None = None,
    batches: Batches | None = None,
    before_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train for `config.trainer.epochs`, validating after each; write the history to the run folder.

    A resumed run continues from its last checkpoint.

    Args:
        learner: the network to train.
        train_set: the examples to train on.
        validation_set: the examples to score after each epoch; None, or no examples: nothing is scored.
        config: epochs, patience, batch size, schedule, learning rate and seed are taken from here.
        run: where history, checkpoints and, on Ctrl-C, the weights are written.
        augment: changes the training inputs, anew in each epoch.
        batches: returns the batches of an epoch; shuffled ones by default.
        before_epoch: called with the number of each epoch, from 1.

    Raises:
        TrainingDiverged: a loss is not finite.
        DataError: the checkpoints are damaged, or were made with other data.
        KeyboardInterrupt: the user stopped it; checkpoint and weights are in the run folder.
        LostProcess: another process of this training has ended.
    """
    batches = batches or partial(shuffled_batches, len(train_set), config.trainer.batch_size, config.seed)
    plan = Plan(config, batches)
    train_set = learner.to_device(train_set)
    with RunState(learner, run, plan, config) as state:
        for epoch in state.epochs():
            if before_epoch is not None:
                before_epoch(epoch)
            examples = learner.to_device(augmented(train_set, augment, config.seed, epoch))
            for batch, lr in state.steps(epoch):
                loss, correct = learner.step(examples, batch, lr)
                state.log_step(loss, correct)
            state.log_epoch(evaluate(learner, validation_set) if validation_set else None)


def augmented(examples: Examples, augment: Augment | None, seed: int, epoch: int) -> Examples:
    """Return the examples of an epoch, their inputs changed by `augment`."""
    if augment is None:
        return examples
    random = np.random.default_rng([seed, epoch, AUGMENT])
    return Examples(augment(examples.inputs, random), examples.labels)


def announce(learner: Learner, run: RunFolder) -> None:
    """Print what is about to be trained, and where its results will be."""
    run.metrics["parameters"] = learner.parameters
    run.metrics["hardware"] |= getattr(learner, "gpu", {})  # of TorchLearner
    print(announcement(run.metrics, str(relative_path(run.path))), flush=True)


def finish(learner: Learner, test_set: Examples, run: RunFolder) -> "Evaluation":
    """Score the test set, and do what `conclude` does; return the scores."""
    test = evaluate(learner, test_set)
    conclude(learner, test, run)
    return test


def conclude(learner: Learner, test: "Evaluation", run: RunFolder) -> None:
    """Add the scores of the test set to the metrics, print them, and save the weights."""
    run.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
    print(conclusion(run.metrics), flush=True)
    save_weights(learner, run)  # last: a full disk must not cost the metrics


@dataclass(frozen=True)
class Evaluation:
    """Scores of a data set.

    Attributes:
        loss: mean loss.
        accuracy: 0 to 1.
        predictions: predicted classes, int64 (N,).
    """

    loss: float
    accuracy: float
    predictions: NDArray[np.int64]


def evaluate(learner: Learner, examples: Examples) -> Evaluation:
    """Score every example once, in evaluation mode; several processes share the batches.

    Raises:
        RuntimeError: the number of scored examples is not the size of the data set.
        TrainingDiverged: the loss is not finite.
        LostProcess: another process of this training has ended.
    """
    logits = np.concatenate(list(all_logits(learner, examples)))
    if len(logits) != len(examples):
        raise RuntimeError(f"scored {len(logits)} examples of {len(examples)}")
    predictions = predicted_classes(learner.loss, logits)
    with np.errstate(invalid="ignore"):  # infinite logits are reported below
        losses = example_losses(learner.loss, logits, examples.labels)
        loss = float(losses.sum()) / len(examples)
    if not math.isfinite(loss):
        raise TrainingDiverged(f"the loss in evaluation is {loss}")
    accuracy = int((predictions == examples.labels).sum()) / len(examples)
    return Evaluation(loss, accuracy, predictions)


def all_logits(learner: Learner, examples: Examples) -> Iterator[NDArray[np.float64]]:
    """Yield the logits of all examples in order, batch by batch; each process computes its share."""
    rank, world_size = distributed.rank(), distributed.world_size()
    batch = getattr(examples.inputs, "evaluation_batch", EVALUATION_BATCH)  # fewer large images
    starts = range(0, len(examples), batch)
    by_rank = distributed.all_gather(
        [learner.logits(examples.inputs[start : start + batch]) for start in starts[rank::world_size]]
    )
    for number in range(len(starts)):
        yield by_rank[number % world_size][number // world_size]
