"""Train a network on XOR: data, model, loop, evaluation, top to bottom."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.xor.config import Config
from apps.xor.data import LABELS, ROWS, TruthTable, load_data, network_inputs, split
from shared.backprop.activations import sigmoid
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.training import frameworks
from shared.training.loop import Learner, announce, finish, fit
from shared.training.schedule import Indices, shuffled_batches


def train(config: Config) -> dict[str, Any]:
    """Train once and return the metrics, which are also in the run folder's metrics.json.

    There are only four rows: the network is tested on those it was trained on.

    Raises:
        ConfigError: the run folder cannot be used.
        TrainingDiverged: the loss is no longer finite.
    """
    config = frameworks.resolve_auto(config)
    table = load_data(config)
    train_set, validation_set, test_set = split(table, config)
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(config, table, train_set, None, test_set)
    with run.session():
        learner = build_learner(config, table)
        announce(learner, run)
        fit(learner, train_set, validation_set, config, run, batches=lambda epoch: batches(config, epoch))
        finish(learner, test_set, run)
        print_outputs(run, probabilities(learner, config, ROWS), config)
        write_charts(run, learner, config)
    return run.metrics


def print_outputs(run: RunFolder, outputs: NDArray[np.float64], config: Config) -> None:
    """Print the four outputs, with `trace` after the losses of some steps."""
    digits = 4
    if config.trace is not None:
        digits = 8
        for row in run.rows("steps.csv")[:: config.trace]:
            print(f"iteration {row['step'] - 1:.0f}, loss {row['loss']!r}")
    for row, label, output in zip(ROWS, LABELS, outputs, strict=True):
        print(f"  {row[0]:.0f} xor {row[1]:.0f} = {label}   network: {output:.{digits}f}", flush=True)


def batches(config: Config, epoch: int) -> list[Indices]:
    """Return the batches of an epoch: all rows, `data.repeats` times, each time in another order."""
    first = (epoch - 1) * config.data.repeats
    passes = range(first, first + config.data.repeats)
    size = config.trainer.batch_size
    return [batch for number in passes for batch in shuffled_batches(len(ROWS), size, config.seed, number)]


def build_learner(config: Config, table: TruthTable | None = None) -> Learner:
    """Return the untrained network with its optimizer; only `config.framework` is imported."""
    return frameworks.build_learner("apps.xor", config, config.model.loss)


def probabilities(learner: Learner, config: Config, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of class 1 at points (N, 2), (N,)."""
    logits = learner.logits(network_inputs(points, config.model.inputs))
    return np.asarray(sigmoid(logits)[:, 0])


def write_charts(run: RunFolder, learner: Learner, config: Config) -> None:
    """Write curves.png and decision.png, and with `corrections` corrections.png and .csv."""
    from apps.xor.corrections import write_corrections
    from shared import charts  # matplotlib takes a second to import

    title = f"{config.model.name} in {config.framework} on XOR"
    loss = config.model.loss.replace("cross_", "cross-").replace("_", " ")
    curves = charts.learning_curves(run.rows("steps.csv"), run.rows("history.csv"), title, run.metrics, loss)
    run.write("curves.png", curves)
    side = np.linspace(-0.5, 1.5, 101)
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    surface = probabilities(learner, config, points).reshape(len(side), len(side))
    run.write("decision.png", charts.decision_surface(side, surface, ROWS, LABELS, title))
    if config.corrections:
        write_corrections(run)
