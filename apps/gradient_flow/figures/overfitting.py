"""L1, L2, dropout and early stopping on a network that learns its few examples by heart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from apps.gradient_flow.networks import Dense, Engine, Weights, initial_weights
from shared.backprop import NaNError, l1_penalty, l2_penalty
from shared.data.examples import Examples
from shared.runs.folder import RunFolder
from shared.training.loop import Evaluation
from shared.training.losses import example_losses, predicted_classes
from shared.training.numpy_learner import build_optimizer, load_slots, slots_of
from shared.training.run_state import RunState
from shared.training.schedule import Indices, Plan, shuffled_batches

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
        params: the weights after the last step, by name.
        best: those after the epoch with the lowest validation loss so far; at first, the same.
    """

    def __init__(self, engine: Engine, config: Config, inputs: int, method: str) -> None:
        self.network = network_of(config, inputs, method)
        self.engine, self.config, self.method = engine, config, method
        self.model = engine.build_model(self.network)
        rng = np.random.default_rng([config.seed, 3])  # the same start for every method
        self.params = initial_weights(self.network, "He", 1.0, rng)
        self.masks_rng = np.random.default_rng([config.seed, 4])
        self.optimizer = build_optimizer(self.params, config.optimizer)
        self.best = copied(self.params)

    asynchronous = False

    def weights(self) -> Weights:
        """Return the weights by name."""
        return self.params

    def start_epoch(self, batches: Sequence[Indices]) -> Sequence[Indices]:
        """Return the batches unchanged."""
        return batches

    def step(self, examples: Examples, batch: Indices, lr: float) -> tuple[float, int]:
        """Take a step; return the batch's mean cross-entropy, without the penalty; nothing is counted."""
        inputs, labels = examples.inputs[batch], examples.labels[batch]
        masks: list[NDArray[np.bool_]] = []
        if self.network.dropout:
            shape = (len(inputs), self.network.width)
            masks = [self.masks_rng.random(shape) >= self.network.dropout for _ in range(LAYERS)]
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # a loss that is no number is told
                found = self.engine.gradients(self.model, self.params, inputs, labels, masks)
        except NaNError:  # a layer has met what an earlier step left
            return math.nan, 0
        penalty = self._penalty()
        gradients = {name: g + penalty.get(name, 0) for name, g in found.parameters.items()}
        self.optimizer.lr = float(lr)
        self.optimizer.step(gradients)
        return found.loss, 0

    def _penalty(self) -> Weights:
        """Return the gradient of the penalty on the matrices; biases are free, as is usual."""
        matrices = {name: w for name, w in self.params.items() if w.ndim == 2}
        if self.method == "L1":
            return l1_penalty(matrices, self.config.model.l1)[1]
        if self.method == "L2":
            return l2_penalty(matrices, self.config.model.l2)[1]
        return {}

    def score(self, examples: Examples) -> Evaluation:
        """Return mean loss, accuracy and predictions, without dropout and penalty."""
        logits = self.engine.logits(self.model, self.params, examples.inputs)
        losses = example_losses("cross_entropy", logits, examples.labels)
        predictions = predicted_classes("cross_entropy", logits)
        return Evaluation(float(losses.mean()), float((predictions == examples.labels).mean()), predictions)

    def state(self) -> tuple[Weights, dict[str, Any]]:
        """Return all that its next step depends on, and the best weights."""
        own = {f"weights/{name}": value for name, value in self.params.items()}
        best = {f"best/{name}": value for name, value in self.best.items()}
        random = self.masks_rng.bit_generator.state
        return own | best | slots_of(self.optimizer), {"steps": self.optimizer.t, "random": random}

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Take over what `state` of such a one has returned.

        Raises:
            ValueError, KeyError: a name is missing, or a shape does not fit.
        """
        for kind, own in (("weights", self.params), ("best", self.best)):
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
    batches = partial(shuffled_batches, len(digits.train), config.trainer.batch_size, config.seed)
    with RunState(trainee, run, Plan(config, batches), config, f"  {method}: ", quiet=True) as state:
        for epoch in state.epochs():
            patience = config.model.patience
            if method == "early stopping" and patience_is_over(run.rows("history.csv"), patience):
                break
            for batch, lr in state.steps(epoch):
                loss, correct = trainee.step(digits.train, batch, lr)
                state.log_step(loss, correct)
            state.log_epoch(trainee.score(digits.validation), trainee.score(digits.train))
            if best_epoch(run.rows("history.csv")) == epoch:
                trainee.best = copied(trainee.params)
        state.write_checkpoint()
    return Training(trainee, run.rows("history.csv"), run.rows("steps.csv"))


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
    picked.trainee.params = picked.trainee.best
    tested = {method: one.trainee.score(digits.test) for method, one in trainings.items()}
    rows = [
        {"method": method} | {key: value for key, value in row.items() if key != "seconds"}
        for method, one in trainings.items()
        for row in one.epochs
    ]
    results = [result(rows, method, tested[method]) for method in METHODS]
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
    scores = tested["early stopping"]
    return Outcome(figure, picked, scores.loss, scores.accuracy, scores.predictions)


def result(rows: Sequence[Row], method: str, tested: Evaluation) -> Row:
    """Return the row of a method's table: losses and the gap between them."""
    epochs = where(rows, method=method)
    taken = epochs[best_epoch(epochs) - 1] if method == "early stopping" else epochs[-1]
    return {
        "method": method,
        "epoch taken": taken["epoch"],
        "training loss": taken["train_loss"],
        "validation loss": taken["validation_loss"],
        "test loss": tested.loss,
        "test accuracy": tested.accuracy,
        "gap: test minus training loss": tested.loss - taken["train_loss"],
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
