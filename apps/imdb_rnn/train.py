"""Train a network on film reviews: data, model, loop, evaluation, top to bottom."""

import hashlib
import importlib
from functools import partial
from typing import Any

from apps.imdb_rnn.config import Config
from shared.data.examples import Examples
from shared.data.text import TextData
from shared.data.text_sets import load_texts, split_texts
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.runs.messages import announcement, conclusion
from shared.training.auto import resolve_auto
from shared.training.frameworks import learner_class
from shared.training.loop import Evaluation, Learner, evaluate, fit
from shared.training.run_state import save_weights
from shared.training.schedule import batches_by_length


def train(config: Config) -> dict[str, Any]:
    """Train once and return the metrics, which are also in the run folder's metrics.json.

    Raises:
        ConfigError: a key does not fit the data, or the run folder cannot be used.
        DataError: the data set cannot be had.
        TrainingDiverged: the loss is no longer finite.
    """
    config = resolve_auto(config)
    texts = load_texts(config.data)
    train_set, validation_set, test_set = split_texts(texts, config)
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(
        config, texts, train=len(train_set), validation=len(validation_set), test=len(test_set)
    )
    with run.session():
        learner = build_learner(config, len(texts.vocabulary), len(texts.classes))
        run.metrics["parameters"] = learner.parameters
        print(announcement(run.metrics, str(run.path)), flush=True)
        batches = partial(batches_by_length, train_set.inputs.lengths, config.trainer.batch_size, config.seed)
        fit(learner, train_set, validation_set, config, run, batches=batches)
        test = evaluate(learner, test_set)
        run.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
        print(conclusion(run.metrics), flush=True)
        save_weights(learner, run)  # after the metrics: a full disk must not cost them
        write_vocabulary(run, texts)
        draw(run, texts, test, test_set)
    return run.metrics


def build_learner(config: Config, tokens: int, classes: int = 2) -> Learner:
    """Return the network and its loop in the framework asked for; the others are not imported."""
    learner = learner_class(config.framework)
    network = importlib.import_module(f"apps.imdb_rnn.{config.framework}_model")
    if classes == 2:
        return learner(partial(network.build_model, tokens=tokens), config, "binary_cross_entropy")
    build = partial(network.build_model, tokens=tokens, outputs=classes)
    return learner(build, config, "cross_entropy")


def write_vocabulary(run: RunFolder, texts: TextData) -> None:
    """Write what predict.py needs beside the weights, and note its digest."""
    run.write("vocabulary.txt", texts.vocabulary_file)
    run.metrics["vocabulary_sha256"] = hashlib.sha256(texts.vocabulary_file).hexdigest()
    run.metrics["classes"] = list(texts.classes)


def draw(run: RunFolder, texts: TextData, test: Evaluation, test_set: Examples) -> None:
    """Write curves.png and confusion.png."""
    from shared import charts  # matplotlib takes a second to import

    title = f"{run.metrics['model']} in {run.metrics['framework']} on {texts.name}"
    last = {"loss": test.loss, "accuracy": test.accuracy}
    curves = charts.learning_curves(run.rows("steps.csv"), run.rows("history.csv"), title, last)
    run.write("curves.png", curves)
    title = f"{title}: {test.accuracy:.2%} of {len(test_set):,} test reviews right"
    confusion = charts.confusion_matrix(test_set.labels, test.predictions, texts.classes, title)
    run.write("confusion.png", confusion)
