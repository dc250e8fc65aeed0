"""L1, L2, dropout and early stopping on a network that learns its few examples by heart."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.gradient_flow.config import Config
from apps.gradient_flow.figures.figure import (
    FONT_SIZE,
    Figure,
    Row,
    canvas,
    column,
    dress,
    joined,
    legend_below,
    line,
    number,
    png,
    where,
)
from apps.gradient_flow.networks import Array, Dense, Engine, Weights, initial_weights
from shared.backprop import NaNError, l1_penalty, l2_penalty
from shared.data.examples import Examples
from shared.errors import TrainingDiverged
from shared.runs.folder import RunFolder
from shared.training.checkpoint import Checkpoints, EpochSoFar
from shared.training.loop import batches_of, restored
from shared.training.losses import example_losses, predicted_classes
from shared.training.numpy_learner import build_optimizer, load_slots, slots_of
from shared.training.schedule import learning_rates

METHODS = ("nothing", "early stopping", "L1", "L2", "dropout")
LAYERS = 2


@dataclass(frozen=True)
class Digits:
    """The examples; inputs float64 (N, pixels)."""

    train: Examples
    validation: Examples
    test: Examples


def network_of(config: Config, inputs: int, method: str = "nothing") -> Dense:
    """Return the network: two hidden layers with ReLU, with dropout or without."""
    dropout = config.model.dropout if method == "dropout" else 0.0
    return Dense(inputs, config.model.hidden, LAYERS, "ReLU", dropout=dropout)


class Trainee:
    """A network with two hidden layers and ReLU, its optimizer, and a method against overfitting.

    A training can go on from what it is: shared/training/checkpoint.py keeps it.

    Args:
        engine: computes the gradients.
        config: widths, strengths, optimizer and seed are taken from here.
        inputs: pixels of an image.
        method: one of `METHODS`.

    Attributes:
        weights: after the last step, by name.
        best: those after the epoch with the lowest validation loss so far; at first, the same.
    """

    def __init__(self, engine: Engine, config: Config, inputs: int, method: str) -> None:
        self.network = network_of(config, inputs, method)
        self.engine, self.config, self.method = engine, config, method
        self.model = engine.build_model(self.network)
        rng = np.random.default_rng([config.seed, 3])  # the same start for every method
        self.weights = initial_weights(self.network, "He", 1.0, rng)
        self.masks_rng = np.random.default_rng([config.seed, 4])
        self.optimizer = build_optimizer(self.weights, config.optimizer)
        self.best = copied(self.weights)

    def step(self, inputs: Array, labels: NDArray[np.int64], rate: float) -> float:
        """Take a step; return the batch's mean cross-entropy, without the penalty."""
        masks: list[NDArray[np.bool_]] = []
        if self.network.dropout:
            shape = (len(inputs), self.network.width)
            masks = [self.masks_rng.random(shape) >= self.network.dropout for _ in range(LAYERS)]
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # a loss that is no number is told
                found = self.engine.gradients(self.model, self.weights, inputs, labels, masks)
        except NaNError:  # a layer has met what an earlier step left
            return math.nan
        penalty = self._penalty()
        gradients = {name: g + penalty.get(name, 0) for name, g in found.parameters.items()}
        self.optimizer.lr = rate
        self.optimizer.step(gradients)
        return found.loss

    def _penalty(self) -> Weights:
        """Return the gradient of the penalty on the matrices; biases are free, as is usual."""
        matrices = {name: w for name, w in self.weights.items() if w.ndim == 2}
        if self.method == "L1":
            return l1_penalty(matrices, self.config.model.l1)[1]
        if self.method == "L2":
            return l2_penalty(matrices, self.config.model.l2)[1]
        return {}

    def score(self, examples: Examples) -> tuple[float, float, NDArray[np.int64]]:
        """Return mean loss, accuracy (0 to 1) and predictions, without dropout and penalty."""
        logits = self.engine.logits(self.model, self.weights, examples.inputs)
        losses = example_losses("cross_entropy", logits, examples.labels)
        predictions = predicted_classes("cross_entropy", logits)
        return float(losses.mean()), float((predictions == examples.labels).mean()), predictions

    def state(self) -> tuple[Weights, dict[str, Any]]:
        """Return all that its next step depends on, and the best weights."""
        own = {f"weights/{name}": value for name, value in self.weights.items()}
        best = {f"best/{name}": value for name, value in self.best.items()}
        random = self.masks_rng.bit_generator.state
        return own | best | slots_of(self.optimizer), {"steps": self.optimizer.t, "random": random}

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Take over what `state` of such a one has returned.

        Raises:
            ValueError, KeyError: a name is missing, or a shape does not fit.
        """
        for kind, own in (("weights", self.weights), ("best", self.best)):
            for name, value in own.items():
                given = arrays[f"{kind}/{name}"]
                if given.shape != value.shape:
                    raise ValueError(f"{kind}/{name}: expected {value.shape}, given {given.shape}")
                value[...] = given
        load_slots(self.optimizer, arrays)
        self.optimizer.t = numbers["steps"]
        self.masks_rng.bit_generator.state = numbers["random"]


def copied(weights: Weights) -> Weights:
    """Return a copy of each."""
    return {name: weight.copy() for name, weight in weights.items()}


@dataclass(frozen=True)
class Training:
    """What one training leaves.

    Attributes:
        trainee: the network after the last step.
        epochs: losses and accuracies after each epoch, without dropout and penalty.
        steps: learning rate and loss of every step.
    """

    trainee: Trainee
    epochs: list[Row]
    steps: list[Row]


@dataclass(frozen=True)
class Outcome:
    """The picture, and the network that early stopping picked, with its scores on the test set."""

    figure: Figure
    picked: Training
    loss: float
    accuracy: float
    predictions: NDArray[np.int64]


def train(engine: Engine, config: Config, digits: Digits, method: str, run: RunFolder) -> Training:
    """Train with one method against overfitting; early stopping ends when patience is over.

    In the folder of a resumed run the training goes on after its last checkpoint, if there is one;
    the last one, written at its end, says that there is nothing left to do.

    Raises:
        TrainingDiverged: the loss is no longer finite.
        DataError: the checkpoints are damaged, or of other data.
        KeyboardInterrupt: the user stopped it.
    """
    trainee = Trainee(engine, config, digits.train.inputs.shape[1], method)
    rates = all_rates(config, len(digits.train))
    an_epoch = math.ceil(len(digits.train) / config.trainer.batch_size)
    epochs_in_all = math.ceil(len(rates) / an_epoch)
    run.metrics |= {"epochs": 0, "steps": 0, "train_seconds": 0.0}
    checkpoints = restored(trainee, run, config, len(rates), f"  {method}: ")
    run.on_interrupt = checkpoints.keep
    with checkpoints:
        while run.metrics["epochs"] < epochs_in_all and not (
            method == "early stopping" and patience_is_over(run.rows("history.csv"), config.model.patience)
        ):
            train_epoch(trainee, digits.train, config, rates, run, checkpoints)
            with checkpoints.no_step():
                row = scores(trainee, digits, run.metrics["epochs"] + 1)
            seconds = time.perf_counter() - checkpoints.epoch.start
            run.add_row("history.csv", row | {"seconds": seconds})
            run.metrics["epochs"] += 1
            run.metrics["train_seconds"] += seconds
            if best_epoch(run.rows("history.csv")) == run.metrics["epochs"]:
                trainee.best = copied(trainee.weights)
            checkpoints.epoch = EpochSoFar()
        checkpoints.write()
    return Training(trainee, run.rows("history.csv"), run.rows("steps.csv"))


def all_rates(config: Config, count: int) -> list[float]:
    """Return the learning rate of every step, for `count` examples."""
    trainer = config.trainer
    total = trainer.epochs * math.ceil(count / trainer.batch_size)
    total = min(total, trainer.max_steps or total)
    numbers = np.arange(total)
    return [float(rate) for rate in learning_rates(trainer.schedule, config.optimizer.lr, total, numbers)]


def train_epoch(
    trainee: Trainee,
    examples: Examples,
    config: Config,
    rates: Sequence[float],
    run: RunFolder,
    checkpoints: Checkpoints,
) -> None:
    """Take the steps that are left of an epoch and note each."""
    epoch = run.metrics["epochs"] + 1
    batches = batches_of(len(examples), config.trainer.batch_size, config.seed, epoch)
    first = (epoch - 1) * len(batches)
    # max_steps may cut the last epoch short
    steps = list(zip(batches, rates[first:], strict=False))
    for batch, rate in steps[run.metrics["steps"] - first :]:
        loss = trainee.step(examples.inputs[batch], examples.labels[batch], rate)
        number = run.metrics["steps"] = run.metrics["steps"] + 1
        run.add_row("steps.csv", {"step": number, "epoch": epoch, "lr": rate, "loss": loss})
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss is {loss} at step {number} (epoch {epoch}) of the network that "
                "overfits; try a smaller optimizer.lr"
            )
        checkpoints.after_step()
        if checkpoints.due():
            checkpoints.write()


def scores(trainee: Trainee, digits: Digits, epoch: int) -> Row:
    """Return the row of an epoch."""
    train_loss, train_accuracy, _ = trainee.score(digits.train)
    validation_loss, validation_accuracy, _ = trainee.score(digits.validation)
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "validation_loss": validation_loss,
        "validation_accuracy": validation_accuracy,
    }


def best_epoch(epochs: Sequence[Row]) -> int:
    """Return the epoch, from 1, with the lowest validation loss; the first one of several."""
    losses = column(epochs, "validation_loss")
    return losses.index(min(losses)) + 1


def patience_is_over(epochs: Sequence[Row], patience: int) -> bool:
    """Whether so many epochs have passed since the lowest validation loss."""
    return bool(epochs) and len(epochs) - best_epoch(epochs) >= patience


def trained(engine: Engine, config: Config, digits: Digits, method: str, run: RunFolder) -> Training:
    """Train in a folder of its own inside the run folder."""
    folder = run.subfolder(f"trainings/{method.replace(' ', '_')}", config)
    with folder.session():
        try:
            return train(engine, config, digits, method, folder)
        finally:
            for name in ("history.csv", "steps.csv"):
                folder.write_rows(name)


def compare(engine: Engine, config: Config, digits: Digits, run: RunFolder) -> Outcome:
    """Train with every method; return the picture and what early stopping picked."""
    trainings = {method: trained(engine, config, digits, method, run) for method in METHODS}
    picked = trainings["early stopping"]
    # The test set is scored once, with each method's result.
    picked.trainee.weights = picked.trainee.best
    tested = {method: one.trainee.score(digits.test) for method, one in trainings.items()}
    rows = [
        {"method": method} | {key: value for key, value in row.items() if key != "seconds"}
        for method, one in trainings.items()
        for row in one.epochs
    ]
    results = [result(rows, method, tested[method][:2]) for method in METHODS]
    figure = Figure(
        "overfitting",
        "Overfitting, and L1, L2, dropout and early stopping against it",
        caption(results, config),
        "Four panels: loss on the training set and on the validation set by epoch, with nothing "
        "against overfitting (and where early stopping stops), with L1, with L2, with dropout.",
        rows,
        draw(rows),
        results,
    )
    return Outcome(figure, picked, *tested["early stopping"])


def result(rows: Sequence[Row], method: str, tested: tuple[float, float]) -> Row:
    """Return the row of a method's table: losses and the gap between them."""
    epochs = where(rows, method=method)
    taken = epochs[best_epoch(epochs) - 1] if method == "early stopping" else epochs[-1]
    return {
        "method": method,
        "epoch taken": taken["epoch"],
        "training loss": taken["train_loss"],
        "validation loss": taken["validation_loss"],
        "test loss": tested[0],
        "test accuracy": tested[1],
        "gap: test minus training loss": tested[0] - taken["train_loss"],
    }


def caption(results: Sequence[Row], config: Config) -> str:
    """Say what each method leaves of the gap, against nothing."""
    gap = "gap: test minus training loss"
    plain = results[0]
    said = {}
    for row in results[1:]:
        narrower = "narrower" if row[gap] < plain[gap] else "not narrower"
        lower = "lower" if row["test loss"] < plain["test loss"] else "not lower"
        said[row["method"]] = (
            f"gap {number(row[gap])}, {narrower}; test loss {number(row['test loss'])}, {lower}"
        )
    wrong = config.data.wrong_labels
    noise = f", {wrong:.0%} of their labels drawn at random" if wrong else ""
    return (
        f"{config.data.train_examples} digits to learn from{noise}. With nothing against it, the "
        f"network ends at a training loss of {number(plain['training loss'])} and a test loss of "
        f"{number(plain['test loss'])}: a gap of {number(plain[gap])}. {joined(said)}. Early "
        f"stopping takes the weights of epoch {results[1]['epoch taken']}, where the validation "
        "loss was lowest; no method sees the test set before the end."
    )


def draw(rows: Sequence[Row]) -> bytes:
    """Draw both losses by epoch, a panel for each training."""
    picture = canvas("Learning by heart: loss by epoch, and what holds it back")
    panels = picture.subplots(2, 2, sharex=True, sharey=True).ravel()
    for index, (axes, method) in enumerate(zip(panels, ("nothing", "L1", "L2", "dropout"), strict=True)):
        one = where(rows, method=method)
        line(axes, 0, column(one, "epoch"), column(one, "train_loss"), "training")
        line(axes, 1, column(one, "epoch"), column(one, "validation_loss"), "validation")
        dress(axes, "epoch" if index > 1 else "", "" if index % 2 else "cross-entropy (nats)", method)
    stopped = where(rows, method="early stopping")
    epoch = best_epoch(stopped)
    panels[0].axvline(epoch, color="black", linestyle=":", linewidth=2, label="early stopping takes this")
    panels[0].set_title("nothing, and early stopping", fontsize=FONT_SIZE + 1)
    legend_below(picture, panels[0], 3)
    return png(picture)
