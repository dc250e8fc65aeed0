"""Train a network on film reviews: data, model, loop, evaluation, top to bottom."""

import importlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from apps.imdb_rnn.config import Config
from shared.data import imdb, reviews, store
from shared.data.text import Documents, Sequences, Settings, TextData
from shared.errors import ConfigError
from shared.runs.folder import RunFolder
from shared.runs.messages import announcement, conclusion
from shared.runs.progress import download_progress
from shared.runs.record import facts
from shared.training.fit import (
    Evaluation,
    Examples,
    Learner,
    batches_by_length,
    evaluate,
    fit,
    save_weights,
)
from shared.training.learners import learner_class
from shared.training.precision import with_precision


def train(config: Config) -> dict[str, Any]:
    """Train once and return the metrics, which are also in the run folder's metrics.json.

    Raises:
        ConfigError: a key does not fit the data, or the run folder cannot be used.
        DataError: the data set cannot be had.
        TrainingDiverged: the loss is no longer finite.
    """
    config = with_precision(config)
    texts = load_texts(config)
    train_set, validation_set, test_set = split(texts, config)
    run = RunFolder.claim(config)
    run.metrics |= facts(
        config, texts, train=len(train_set), validation=len(validation_set), test=len(test_set)
    )
    with run.recording():
        learner = build_learner(config, len(texts.vocabulary))
        run.metrics["parameters"] = learner.parameters
        print(announcement(run.metrics, str(run.path)), flush=True)
        batches = partial(
            batches_by_length, train_set.inputs.lengths, config.trainer.batch_size, config.seed
        )
        fit(learner, train_set, validation_set, config, run, batches=batches)
        test = evaluate(learner, test_set)
        run.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
        print(conclusion(run.metrics), flush=True)
        save_weights(learner, run)  # after the metrics: a full disk must not cost them
        run.write("vocabulary.txt", "\n".join(texts.vocabulary).encode())
        draw(run, texts, test, test_set)
    return run.metrics


def load_texts(config: Config) -> TextData:
    """Return the data set that the configuration names."""
    settings = Settings(config.data.vocabulary_size, config.data.min_frequency)
    if config.data.name == "reviews":
        return reviews.load(settings)
    with download_progress() as progress:
        return imdb.load(
            Path(config.data.root), store.archives_folder(), settings, config.data.download,
            config.data.fallback, progress=progress,
        )  # fmt: skip


def split(texts: TextData, config: Config) -> tuple[Examples, Examples, Examples]:
    """Return the examples to train, to validate and to test with, the last two by length.

    What is held back to validate is drawn by the seed from the training set; the test set stays as
    its authors made it. With limits, the examples are drawn by the seed too: files of one class lie
    together.

    Raises:
        ConfigError: a limit is above the number of examples, or a batch would be larger than what
            is left to train with.
    """
    random = np.random.default_rng([config.seed, 0])
    order = _limited(random.permutation(len(texts.train)), config.data.train_limit, "train")
    held_back = max(1, round(config.data.validation_fraction * len(order)))
    validated, kept = order[:held_back], np.sort(order[held_back:])
    if config.trainer.batch_size > len(kept):
        raise ConfigError(
            f"trainer.batch_size={config.trainer.batch_size} is larger than the training set: "
            f"{len(kept)} examples of {texts.name} are left beside {held_back} for validation"
        )
    tested = _limited(random.permutation(len(texts.test)), config.data.test_limit, "test")
    return (
        _examples(texts.train.take(kept), config),
        _examples(_by_length(texts.train.take(validated)), config),
        _examples(_by_length(texts.test.take(tested)), config),
    )


def _limited(order: np.ndarray, limit: int | None, kind: str) -> np.ndarray:
    if limit is not None and limit > len(order):
        raise ConfigError(f"data.{kind}_limit={limit}: there are {len(order):,} examples")
    return order[:limit]


def _by_length(documents: Documents) -> Documents:
    """Return documents in an order in which little is padded."""
    return documents.take(np.argsort(documents.lengths, kind="stable"))


def _examples(documents: Documents, config: Config) -> Examples:
    return Examples(Sequences(documents, config.data.longest), documents.labels)


def build_learner(config: Config, tokens: int) -> Learner:
    """Return the network and its loop in the framework asked for; the others are not imported."""
    learner = learner_class(config.framework)
    network = importlib.import_module(f"apps.imdb_rnn.{config.framework}_model")
    build = partial(network.build_model, tokens=tokens)
    return learner(build, config, "binary_cross_entropy")


def draw(run: RunFolder, texts: TextData, test: Evaluation, test_set: Examples) -> None:
    """Write curves.png and confusion.png."""
    from shared.runs import pictures  # matplotlib takes a second to import

    title = f"{run.metrics['model']} in {run.metrics['framework']} on {texts.name}"
    last = {"loss": test.loss, "accuracy": test.accuracy}
    curves = pictures.curves(run.rows("steps.csv"), run.rows("history.csv"), title, last)
    run.write("curves.png", curves)
    title = f"{title}: {test.accuracy:.2%} of {len(test_set):,} test reviews right"
    confusion = pictures.confusion(test_set.labels, test.predictions, texts.classes, title)
    run.write("confusion.png", confusion)
