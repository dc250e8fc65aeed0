"""Training of the network that overfits: gradients from any framework, steps from shared/backprop."""

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from apps.gradient_flow.config import Config
from apps.gradient_flow.data import PIXELS
from apps.gradient_flow.networks import Array, Dense, Weights
from apps.gradient_flow.numpy_model import build_model
from apps.gradient_flow.weights import initial_weights
from shared.backprop import NaNError, l1_penalty, l2_penalty
from shared.data.examples import Examples
from shared.distributed import available_cores
from shared.errors import TrainingDiverged
from shared.runs.folder import RunFolder
from shared.training.frameworks import learner_class, network_module
from shared.training.loop import Evaluation
from shared.training.losses import example_losses, predicted_classes
from shared.training.numpy_learner import NumpyLearner
from shared.training.run_state import RunState
from shared.training.schedule import Indices, Plan, shuffled_batches

METHODS = ("nothing", "early stopping", "L1", "L2", "dropout")
LAYERS = 2


class GradientLearner(NumpyLearner):
    """Two hidden layers with ReLU, trained with one of `METHODS` against overfitting.

    The weights and the optimizer are NumPy's in every framework, so that all take the same steps;
    the framework computes gradients and logits.
    """

    def __init__(self, config: Config, method: str = "early stopping") -> None:
        self.config, self.method = config, method
        dropout = config.model.dropout if method == "dropout" else 0.0
        self.network = Dense(PIXELS, config.model.hidden, LAYERS, "ReLU", dropout=dropout)
        super().__init__(lambda *_: build_model(self.network), config)
        start = initial_weights(self.network, "He", 1.0, np.random.default_rng([config.seed, 3]))
        self.load_weights(start)  # the same for every method
        self.random = np.random.default_rng([config.seed, 4])  # of the dropout masks
        learner_class(config.framework)  # imports Keras quietly, and PyTorch only where that is possible
        self.engine = network_module("apps.gradient_flow", config)
        self.engine.prepare(config.trainer.threads or available_cores())
        self.engine_model = self.engine.build_model(self.network)

    def step(self, examples: Examples, batch: Indices, lr: float) -> tuple[float, int]:
        """Take one step; return the batch's mean loss, without penalty, and correct predictions."""
        chosen = examples.take(batch)
        masks: list[NDArray[np.bool_]] = []
        if self.network.dropout:
            shape = (len(batch), self.network.width)
            masks = [self.random.random(shape) >= self.network.dropout for _ in range(LAYERS)]
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # the loop reports a loss of NaN
                found = self.engine.gradients(self.engine_model, self.model.params, chosen, masks)
        except NaNError:  # an earlier step left NaN in the weights
            return math.nan, 0
        penalty = self.penalty_gradients()
        (optimizer,) = self.optimizers.values()
        optimizer.lr = float(lr)
        optimizer.step({name: g + penalty.get(name, 0) for name, g in found.parameters.items()})
        return found.loss, int((found.logits.argmax(axis=1) == chosen.labels).sum())

    def penalty_gradients(self) -> Weights:
        """Return the gradient of the penalty on the matrices; biases are not penalized."""
        matrices = {name: w for name, w in self.model.params.items() if w.ndim == 2}
        if self.method == "L1":
            return l1_penalty(matrices, self.config.model.l1)[1]
        return l2_penalty(matrices, self.config.model.l2)[1] if self.method == "L2" else {}

    def logits(self, inputs: Array) -> Array:
        """Return the logits (N, 10) of one batch, without dropout."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return self.engine.logits(self.engine_model, self.model.params, inputs)
        except NaNError as error:
            raise TrainingDiverged(f"NaN in evaluation: {error}") from error


def fit(
    learner: GradientLearner, train_set: Examples, validation_set: Examples, config: Config, run: RunFolder
) -> None:
    """Train like `shared.training.loop.fit`, but score the training set after each epoch as well.

    Only early stopping has a patience. A finished run that is resumed takes no step.
    """
    stop_early = learner.method == "early stopping"
    patience = (config.trainer.patience or config.model.patience) if stop_early else None
    trainer = config.trainer.model_copy(update={"patience": patience})
    config = config.model_copy(update={"trainer": trainer})
    plan = Plan(config, partial(shuffled_batches, len(train_set), config.trainer.batch_size, config.seed))
    with RunState(learner, run, plan, config, quiet=not stop_early) as state:
        for epoch in state.epochs():
            for batch, lr in state.steps(epoch):
                loss, correct = learner.step(train_set, batch, lr)
                state.log_step(loss, correct)
            state.log_epoch(score(learner, validation_set), score(learner, train_set))
        state.write_checkpoint()


def score(learner: GradientLearner, examples: Examples) -> Evaluation:
    """Return the scores of a few examples, computed as a single batch."""
    logits = learner.logits(examples.inputs)
    losses = example_losses(learner.loss, logits, examples.labels)
    predictions = predicted_classes(learner.loss, logits)
    return Evaluation(float(losses.mean()), float((predictions == examples.labels).mean()), predictions)
