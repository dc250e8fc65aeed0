"""Make the pictures of what gradients do: data, networks, pictures, page, top to bottom."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from apps.gradient_flow.config import Config
from apps.gradient_flow.figures import (
    activations,
    clipping,
    depth,
    learning_rates,
    overfitting,
    recurrent,
    valley,
)
from apps.gradient_flow.figures.figure import Figure
from apps.gradient_flow.networks import Array, Engine, engine
from apps.gradient_flow.page import page
from shared import charts
from shared.data import digits
from shared.data.examples import Examples
from shared.data.images import ImageData
from shared.runs.environment import available_cores, initial_metrics
from shared.runs.folder import RunFolder
from shared.runs.messages import announcement, conclusion
from shared.training.run_state import write_weights

PAGE = "gradient_flow.html"
BLOCK = 2  # pixels a side that become one for the dense networks: 28 x 28 to 14 x 14


def train(config: Config) -> dict[str, Any]:
    """Make all pictures and return the metrics, which are also in the run folder's metrics.json.

    The test accuracy and loss are those of the network that early stopping picked.

    Raises:
        ConfigError: the run folder cannot be used, or the framework cannot run in this process.
        DataError: the checkpoints of a run that goes on are damaged.
        TrainingDiverged: the loss of the network that overfits is no longer finite.
    """
    images = digits.load()
    sets = split(images, config)
    backend = engine(config.framework)
    backend.prepare(config.trainer.threads or available_cores())
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(config, images, **{kind: len(one) for kind, one in vars(sets).items()})
    with run.session():
        shapes = overfitting.network_of(config, sets.train.inputs.shape[1]).shapes()
        run.metrics["parameters"] = sum(math.prod(shape) for shape in shapes.values())
        print(announcement(run.metrics, str(run.path)), flush=True)
        drawn = []
        for figure in by_network(backend, config, images):
            drawn.append(kept(run, figure))
        outcome = overfitting.compare(backend, config, sets, run)
        drawn.append(kept(run, outcome.figure))
        run.write(PAGE, page(drawn, config.framework, config.seed).encode())
        record(run, outcome)
        print(f"{conclusion(run.metrics)}\npage: {run.path / PAGE}", flush=True)
    return run.metrics


def by_network(backend: Engine, config: Config, images: ImageData) -> Iterator[Figure]:
    """Yield the pictures of gradients, one after the other."""
    count = config.data.batch
    whole = images.train_images[:count] / 255
    labels = images.train_labels[:count]
    rows = (whole - whole.mean()) / whole.std()  # (N, 28 rows, 28 pixels): a row is a time step
    flat = flattened(images.train_images[:count])
    flat = (flat - flat.mean()) / flat.std()
    yield activations.figure()
    yield from depth.figures(backend, config, flat, labels)
    yield recurrent.figure(backend, config, rows, labels)
    yield clipping.figure(backend, config, rows, labels)
    yield learning_rates.figure()
    yield valley.figure()


def split(images: ImageData, config: Config) -> overfitting.Digits:
    """Return the few examples to train with, those to validate with, and the test set.

    The first two are drawn from the training set by the seed. Pixels are standardized by the mean
    and deviation of the examples to train with, of whose labels a share is drawn anew at random.
    """
    count = config.data.train_examples
    order = np.random.default_rng([config.seed, 0]).permutation(len(images.train_images))
    kept_back = order[count : count + config.data.validation_examples]
    inputs = flattened(images.train_images)
    labels = images.train_labels.copy()
    random = np.random.default_rng([config.seed, 5])
    wrong = order[: round(config.data.wrong_labels * count)]
    labels[wrong] = random.integers(0, len(images.classes), len(wrong))
    mean, deviation = inputs[order[:count]].mean(), inputs[order[:count]].std()
    return overfitting.Digits(
        Examples((inputs[order[:count]] - mean) / deviation, labels[order[:count]]),
        Examples((inputs[kept_back] - mean) / deviation, labels[kept_back]),
        Examples((flattened(images.test_images) - mean) / deviation, images.test_labels),
    )


def flattened(images: np.ndarray) -> Array:
    """Return images (N, 28, 28) of bytes as float64 (N, 196), each number the mean of 2x2."""
    count, height, width = images.shape
    blocks = images.reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(blocks.mean(axis=(2, 4)).reshape(count, -1) / 255)


def kept(run: RunFolder, figure: Figure) -> Figure:
    """Write a picture and its numbers to the run folder."""
    run.write(f"{figure.name}.png", figure.png)
    for row in figure.rows:
        run.add_row(f"{figure.name}.csv", row)
    run.write_rows(f"{figure.name}.csv")
    print(f"  {figure.name}.png, {figure.name}.csv: {figure.title}", flush=True)
    return figure


def record(run: RunFolder, outcome: overfitting.Outcome) -> None:
    """Write history, curves and weights of the network that early stopping picked; its scores."""
    picked = outcome.picked
    for name, rows in (("history.csv", picked.epochs), ("steps.csv", picked.steps)):
        for row in rows:
            run.add_row(name, row)
        run.write_rows(name)
    scores = {"loss": outcome.loss, "accuracy": outcome.accuracy}
    title = f"Early stopping: tested with the weights of epoch {overfitting.best_epoch(picked.epochs)}"
    curves = charts.learning_curves(picked.steps, picked.epochs, title, scores)
    run.write("curves.png", curves)
    write_weights(picked.trainee.best, run)
    run.metrics |= {
        "epochs": len(picked.epochs),
        "steps": len(picked.steps),
        "train_seconds": sum(row["seconds"] for row in picked.epochs),
        "test_accuracy": outcome.accuracy,
        "test_loss": outcome.loss,
    }
