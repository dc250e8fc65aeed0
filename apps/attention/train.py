"""Train a network that looks things up, or weighs words: data, model, loop, evaluation."""

import importlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from apps.attention.config import Config, MeanPooling, Recall
from shared.data import recall
from shared.data.examples import Examples, hold_back
from shared.data.recall import RecallData
from shared.data.text import TextData
from shared.data.text_sets import load_texts, split_texts
from shared.distributed import broadcast_from_rank0
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.runs.messages import announcement, conclusion
from shared.runs.reader import read_metrics, read_status
from shared.training.auto import resolve_auto
from shared.training.frameworks import learner_class
from shared.training.loop import Evaluation, Learner, evaluate, fit
from shared.training.run_state import save_weights
from shared.training.schedule import Batches, batches_by_length

Sets = tuple[Examples, Examples, Examples]


def train(config: Config) -> dict[str, Any]:
    """Train once and return the metrics, which are also in the run folder's metrics.json.

    On `recall`, attention's twin with mean pooling is trained as well, in a folder of its own
    inside the run folder.

    Raises:
        ConfigError: a key does not fit the data, or the run folder cannot be used.
        DataError: the data set cannot be had.
        TrainingDiverged: the loss is no longer finite.
    """
    config = resolve_auto(config)
    data, (train_set, validation_set, test_set) = load(config)
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(
        config, data, train=len(train_set), validation=len(validation_set), test=len(test_set)
    )
    with run.session():
        learner = build_learner(config, data)
        run.metrics["parameters"] = learner.parameters
        print(announcement(run.metrics, str(run.path)), flush=True)
        fit(learner, train_set, validation_set, config, run, batches=batches(train_set, config))
        test = evaluate(learner, test_set)
        run.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
        if isinstance(data, RecallData):
            run.metrics |= at_all_lengths(learner, data, test, config)
        print(conclusion(run.metrics), flush=True)
        save_weights(learner, run)  # after the metrics: a full disk must not cost them
        if isinstance(data, TextData):
            run.write("vocabulary.txt", data.vocabulary_file)
        draw(run, learner, config, data, test, test_set)
        if isinstance(data, RecallData):
            if not isinstance(config.model, MeanPooling):
                print("\nthe same with mean pooling in attention's place:")
                twin = trained_once(with_mean_pooling(config, run))
                run.metrics["mean_pooling"] = {key: twin[key] for key in COMPARED}
                print(comparison(run.metrics), flush=True)
            draw_lengths(run, config, data)
    return run.metrics


COMPARED = ("test_accuracy", "test_loss", "accuracy_by_pairs", "parameters")


def load(config: Config) -> tuple[RecallData | TextData, Sets]:
    """Return the data set and the examples to train, to validate and to test with.

    Raises:
        ConfigError: a batch would be larger than what is left to train with.
        DataError: the data set cannot be had.
    """
    if not isinstance(config.data, Recall):
        texts = load_texts(config.data)
        return texts, split_texts(texts, config)
    settings = config.data
    data = recall.load(settings.keys, settings.values, settings.pairs, settings.longer)
    order = np.random.default_rng([config.seed, 0]).permutation(len(data.train))
    kept, validated = hold_back(
        order[: settings.train_limit], settings.validation_fraction, config.trainer.batch_size, data.name
    )
    return data, (
        Examples(data.train.ids[kept], data.train.labels[kept]),
        Examples(data.train.ids[validated], data.train.labels[validated]),
        limited(data.test, settings.test_limit),
    )


def limited(pairs: recall.Pairs, limit: int | None) -> Examples:
    """Return the first examples, all of them without a limit."""
    return Examples(pairs.ids[:limit], pairs.labels[:limit])


def batches(train_set: Examples, config: Config) -> Batches | None:
    """Return what gives an epoch's batches: texts of similar length, or pairs as they come."""
    if isinstance(train_set.inputs, np.ndarray):
        return None
    lengths = train_set.inputs.lengths
    return partial(batches_by_length, lengths, config.trainer.batch_size, config.seed)


def build_learner(config: Config, data: RecallData | TextData) -> Learner:
    """Return the network and its loop in the framework asked for; the others are not imported."""
    learner, network = learner_class(config.framework), network_of(config)
    two = len(data.classes) == 2 and isinstance(data, TextData)
    build = partial(
        network.build_model,
        tokens=len(data.vocabulary),
        outputs=1 if two else len(data.classes),
        paired=isinstance(data, RecallData),
    )
    return learner(build, config, "binary_cross_entropy" if two else "cross_entropy")


def network_of(config: Config) -> Any:
    """Return the module with the networks of the framework asked for."""
    return importlib.import_module(f"apps.attention.{config.framework}_model")


def at_all_lengths(learner: Learner, data: RecallData, test: Evaluation, config: Config) -> dict[str, Any]:
    """Return the accuracy by the number of pairs, and that of guessing."""
    assert isinstance(config.data, Recall)
    accuracies = {config.data.pairs: test.accuracy}
    for pairs, examples in data.longer.items():
        accuracies[pairs] = evaluate(learner, limited(examples, config.data.test_limit)).accuracy
    by_pairs = {str(pairs): accuracies[pairs] for pairs in sorted(accuracies)}
    return {"accuracy_by_pairs": by_pairs, "chance": 2 / len(data.classes)}


def with_mean_pooling(config: Config, run: RunFolder) -> Config:
    """Return the configuration of the twin: the single head with the mean in attention's place."""
    sizes = config.model.model_dump(include={"embedding", "std", "dropout"})
    model = MeanPooling(name="mean_pooling", **sizes)
    folder = run.path / "mean_pooling"
    begun = broadcast_from_rank0(lambda: run.resumed and (folder / "config.yaml").exists())
    trainer = config.trainer.model_copy(update={"resume": str(folder) if begun else None})
    return config.model_copy(update={"model": model, "trainer": trainer, "run_dir": str(folder)})


def trained_once(config: Config) -> dict[str, Any]:
    """Train, or go on, and return the metrics; those that are there where that run is done."""
    begun = config.trainer.resume
    done = broadcast_from_rank0(
        lambda: read_metrics(Path(begun)) if begun and read_status(Path(begun)) == "done" else None
    )
    return done or train(config)


def comparison(metrics: dict[str, Any]) -> str:
    """Say what attention reaches, and what its twin does."""
    return (
        f"\n{metrics['model']}: accuracy {metrics['test_accuracy']:.2%}; mean pooling: "
        f"{metrics['mean_pooling']['test_accuracy']:.2%}; a guess: {metrics['chance']:.2%}"
    )


def draw(
    run: RunFolder,
    learner: Any,
    config: Config,
    data: RecallData | TextData,
    test: Evaluation,
    test_set: Examples,
) -> None:
    """Write curves.png, confusion.png and attention.png, and words.png of texts."""
    from apps.attention import examples  # matplotlib takes a second to import
    from shared import charts

    title = f"{config.model.name} in {config.framework} on {data.name}"
    last = {"loss": test.loss, "accuracy": test.accuracy}
    curves = charts.learning_curves(run.rows("steps.csv"), run.rows("history.csv"), title, last)
    run.write("curves.png", curves)
    right = f"{title}: {test.accuracy:.2%} of {len(test_set):,} test examples right"
    confusion = charts.confusion_matrix(test_set.labels, test.predictions, data.classes, right)
    run.write("confusion.png", confusion)
    look = partial(network_of(config).attention_weights, learner.model)
    if isinstance(data, RecallData):
        run.write("attention.png", examples.looked_up(look, data, title))
    else:
        run.write("attention.png", examples.strips(look, data, test, test_set, title))
        run.write("words.png", examples.colored(look, data, test, test_set, title))


def draw_lengths(run: RunFolder, config: Config, data: RecallData) -> None:
    """Write lengths.png, with the twin where there is one."""
    from apps.attention import examples

    title = f"{config.model.name} in {config.framework} on {data.name}"
    run.write("lengths.png", examples.lengths(run.metrics, data, title))
