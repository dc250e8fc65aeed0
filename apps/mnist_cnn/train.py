"""Train a network on MNIST: data, model, loop, evaluation, top to bottom."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from apps.mnist_cnn.config import Config
from shared.data import digits
from shared.data.examples import Examples
from shared.data.images import ImageData, Standardized
from shared.data.split import hold_back
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.runs.messages import announcement, conclusion
from shared.training.auto import resolve_auto
from shared.training.frameworks import learner_class
from shared.training.loop import Augment, Evaluation, Learner, evaluate, fit, save_weights


def train(config: Config) -> dict[str, Any]:
    """Train once and return the metrics, which are also in the run folder's metrics.json.

    Raises:
        ConfigError: a key does not fit the data, or the run folder cannot be used.
        DataError: the data set cannot be had.
        TrainingDiverged: the loss is no longer finite.
    """
    config = resolve_auto(config)
    images = load_images(config)
    train_set, validation_set, test_set = split(images, config)
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(
        config, images, train=len(train_set), validation=len(validation_set), test=len(test_set)
    )
    with run.session():
        learner = build_learner(config)
        run.metrics["parameters"] = learner.parameters
        print(announcement(run.metrics, str(run.path)), flush=True)
        move = augmentation(config)
        fit(learner, train_set, validation_set, config, run, augment=move)
        test = evaluate(learner, test_set)
        run.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
        print(conclusion(run.metrics), flush=True)
        save_weights(learner, run)  # after the metrics: a full disk must not cost them
        draw(run, images, test)
    return run.metrics


def load_images(config: Config) -> ImageData:
    """Return the data set that the configuration names, limited as it says."""
    if config.data.name == "digits":
        images = digits.load()
    else:
        from shared.data import mnist  # the digits need neither it nor the downloader

        images = mnist.load(Path(config.data.root), config.data.download, config.data.fallback)
    return images.limit(config.data.train_limit, config.data.test_limit)


def split(images: ImageData, config: Config) -> tuple[Examples, Examples, Examples]:
    """Return the examples to train, to validate and to test with: standardized images, float32.

    Mean and standard deviation are those of the training images. What is held back to validate is
    drawn by the seed from the training set; the test set stays as its authors made it.

    Raises:
        ConfigError: a batch would be larger than what is left to train with.
    """
    order = np.random.default_rng([config.seed, 0]).permutation(len(images.train_images))
    kept, validated = hold_back(
        order, config.data.validation_fraction, config.trainer.batch_size, images.name
    )
    # There are 256 gray values: one table serves all pixels.
    counts = np.bincount(images.train_images.ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = np.average(values, weights=counts)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=counts))
    table = ((values - mean) / deviation).astype(np.float32)
    training, labels = images.train_images, images.train_labels
    return (
        Examples(Standardized(training[kept], table), labels[kept]),
        Examples(Standardized(training[validated], table), labels[validated]),
        Examples(Standardized(images.test_images, table), images.test_labels),
    )


def build_learner(config: Config) -> Learner:
    """Return the network and its loop in the framework asked for; the others are not imported."""
    learner = learner_class(config.framework)
    network = importlib.import_module(f"apps.mnist_cnn.{config.framework}_model")
    return learner(network.build_model, config)


def augmentation(config: Config) -> Augment:
    """Return what changes the training images of an epoch, in torch on the network's device."""
    name = "training.torch_augment" if config.framework == "torch" else "data.augment"
    shift = importlib.import_module(f"shared.{name}").shift

    def augment(images: Standardized, random: np.random.Generator) -> Standardized:
        return replace(images, pixels=shift(images.pixels, random, config.data.shift))

    return augment


def draw(run: RunFolder, images: ImageData, test: Evaluation) -> None:
    """Write curves.png and confusion.png."""
    from shared import charts  # matplotlib takes a second to import

    title = f"{run.metrics['model']} in {run.metrics['framework']} on {images.name}"
    last = {"loss": test.loss, "accuracy": test.accuracy}
    curves = charts.learning_curves(run.rows("steps.csv"), run.rows("history.csv"), title, last)
    run.write("curves.png", curves)
    title = f"{title}: {test.accuracy:.2%} of {len(images.test_labels):,} test images right"
    confusion = charts.confusion_matrix(images.test_labels, test.predictions, images.classes, title)
    run.write("confusion.png", confusion)
