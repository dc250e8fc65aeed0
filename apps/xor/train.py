"""Train a network on XOR: data, model, loop, evaluation, top to bottom."""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.xor import problem
from apps.xor.config import Config
from shared.backprop.activations import sigmoid
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.runs.messages import announcement, conclusion
from shared.training.auto import resolve_auto
from shared.training.frameworks import learner_class
from shared.training.loop import Indices, Learner, batches_of, evaluate, fit, save_weights


def train(config: Config) -> dict[str, Any]:
    """Train once and return the metrics, which are also in the run folder's metrics.json.

    There are four rows and no others: the network is tested with what it was trained with.

    Raises:
        ConfigError: the run folder cannot be used.
        TrainingDiverged: the loss is no longer finite.
    """
    config = resolve_auto(config)
    rows = problem.examples(config.model.inputs)
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(config, problem.TRUTH_TABLE, train=len(rows), test=len(rows))
    with run.session():
        learner = build_learner(config)
        run.metrics["parameters"] = learner.parameters
        print(announcement(run.metrics, str(run.path)), flush=True)
        fit(learner, rows, None, config, run, batches=lambda epoch: batches(config, epoch))
        test = evaluate(learner, rows)
        run.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
        print(f"{conclusion(run.metrics)}\n{truth_table(learner, config)}", flush=True)
        save_weights(learner, run)  # after the metrics: a full disk must not cost them
        draw(run, learner, config)
    return run.metrics


def batches(config: Config, epoch: int) -> list[Indices]:
    """Return the batches of an epoch: all rows, `data.repeats` times, in an order of their own."""
    first = (epoch - 1) * config.data.repeats
    passes = range(first, first + config.data.repeats)
    size = config.trainer.batch_size
    return [batch for number in passes for batch in batches_of(4, size, config.seed, number)]


def build_learner(config: Config) -> Learner:
    """Return the network and its loop in the framework asked for; the others are not imported."""
    learner = learner_class(config.framework)
    network = importlib.import_module(f"apps.xor.{config.framework}_model")
    return learner(network.build_model, config, config.model.loss)


def truth_table(learner: Learner, config: Config) -> str:
    """Say what the network gives for each row."""
    rows = problem.examples(config.model.inputs)
    probabilities = sigmoid(learner.logits(rows.inputs))[:, 0]
    return "\n".join(
        f"  {int(row[0])} xor {int(row[1])} = {label}   network: {probability:.4f}"
        for row, label, probability in zip(rows.inputs, rows.labels, probabilities, strict=True)
    )


def probabilities(learner: Learner, config: Config, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of class 1 at points (N, 2), (N,)."""
    logits = learner.logits(problem.with_ones(points, config.model.inputs))
    return np.asarray(sigmoid(logits)[:, 0])


def draw(run: RunFolder, learner: Learner, config: Config) -> None:
    """Write curves.png and decision.png, and with `corrections` corrections.png and .csv."""
    from apps.xor.corrections import compare
    from shared import charts  # matplotlib takes a second to import

    title = f"{config.model.name} in {config.framework} on XOR"
    last = {"loss": run.metrics["test_loss"], "accuracy": run.metrics["test_accuracy"]}
    loss = config.model.loss.replace("_", " ")
    curves = charts.learning_curves(run.rows("steps.csv"), run.rows("history.csv"), title, last, loss)
    run.write("curves.png", curves)
    side = np.linspace(-0.5, 1.5, 101)
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    surface = probabilities(learner, config, points).reshape(len(side), len(side))
    labels = problem.examples(2).labels
    run.write("decision.png", charts.decision_surface(side, surface, problem.ROWS, labels, title))
    if config.corrections:
        compare(run)
