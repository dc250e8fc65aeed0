"""Train an attention network on pairs or reviews: data, model, loop, evaluation, top to bottom."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from apps.attention.config import Config, MeanPooling
from apps.attention.data import Data, load_data, split
from shared.data.examples import Examples
from shared.data.recall import RecallData
from shared.data.sequences import batches_by_length
from shared.distributed import broadcast_from_rank0
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.runs.preprocessing import Preprocessing, write_vocabulary
from shared.runs.reader import read_metrics, read_status
from shared.training import frameworks
from shared.training.loop import Evaluation, Learner, announce, evaluate, finish, fit
from shared.training.losses import Loss
from shared.training.schedule import Batches

COMPARED = ("test_accuracy", "test_loss", "accuracy_by_pairs", "parameters")


def train(config: Config) -> dict[str, Any]:
    """Train once and return the metrics, which are also in the run folder's metrics.json.

    On `recall`, the same network with mean pooling instead of attention is trained as well, in the
    folder `mean_pooling` inside the run folder.

    Raises:
        ConfigError: a key does not fit the data, or the run folder cannot be used.
        DataError: the data set is not available.
        TrainingDiverged: the loss is no longer finite.
    """
    config = frameworks.resolve_auto(config)
    data = load_data(config)
    train_set, validation_set, test_set = split(data, config)
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(config, data, train_set, validation_set, test_set)
    with run.session():
        learner = build_learner(config, data)
        announce(learner, run)
        fit(learner, train_set, validation_set, config, run, batches=batches(train_set, config))
        test = finish(learner, test_set, run)
        if isinstance(data, RecallData):
            run.metrics |= accuracy_at_all_lengths(learner, data, test, config)
        write_vocabulary(run, data)
        write_charts(run, learner, config, data, test, test_set)
        if isinstance(data, RecallData):
            compare_with_mean_pooling(run, config, data)
    return run.metrics


def batches(train_set: Examples, config: Config) -> Batches | None:
    """Return the function that makes an epoch's batches of texts of similar length; None for pairs."""
    if isinstance(train_set.inputs, np.ndarray):
        return None
    lengths = train_set.inputs.lengths
    return partial(batches_by_length, lengths, config.trainer.batch_size, config.seed)


def build_learner(config: Config, data: Data | Preprocessing) -> Learner:
    """Return the untrained network with its optimizer; only `config.framework` is imported."""
    paired = config.data.name == "recall"
    binary = len(data.classes) == 2 and not paired
    loss: Loss = "binary_cross_entropy" if binary else "cross_entropy"
    outputs = 1 if binary else len(data.classes)
    sizes: dict[str, Any] = {"tokens": len(data.vocabulary), "outputs": outputs, "paired": paired}
    return frameworks.build_learner("apps.attention", config, loss, **sizes)


def accuracy_at_all_lengths(
    learner: Learner, data: RecallData, test: Evaluation, config: Config
) -> dict[str, Any]:
    """Return the accuracy by number of pairs, and that of guessing."""
    accuracies = {data.test.inputs.shape[1] // 2: test.accuracy}
    for pairs, examples in data.longer.items():
        accuracies[pairs] = evaluate(learner, examples.take(slice(config.data.test_limit))).accuracy
    by_pairs = {str(pairs): accuracies[pairs] for pairs in sorted(accuracies)}
    return {"accuracy_by_pairs": by_pairs, "chance": 2 / len(data.classes)}


def compare_with_mean_pooling(run: RunFolder, config: Config, data: RecallData) -> None:
    """Train the network with mean pooling, unless this is it; print and draw the comparison."""
    from apps.attention import charts

    if not isinstance(config.model, MeanPooling):
        print("\nthe same network with mean pooling instead of attention:")
        folder = run.path / "mean_pooling"
        other = train_or_resume(config, folder, run.resumed)
        run.metrics["mean_pooling"] = {key: other[key] for key in COMPARED}
        print(
            f"\n{run.metrics['model']}: accuracy {run.metrics['test_accuracy']:.2%}; mean pooling: "
            f"{other['test_accuracy']:.2%}; a guess: {run.metrics['chance']:.2%}",
            flush=True,
        )
    run.write("lengths.png", charts.accuracy_by_pairs(run.metrics, data, chart_title(config, data)))


def train_or_resume(config: Config, folder: Path, resumed: bool) -> dict[str, Any]:
    """Return the metrics of the network with mean pooling in `folder`, trained as far as necessary."""
    sizes = config.model.model_dump(include={"embedding", "std", "dropout"})
    started = broadcast_from_rank0(lambda: resumed and (folder / "config.yaml").exists())
    metrics = broadcast_from_rank0(
        lambda: read_metrics(folder) if started and read_status(folder) == "done" else None
    )
    trainer = config.trainer.model_copy(update={"resume": str(folder) if started else None})
    model = MeanPooling(name="mean_pooling", **sizes)
    changes = {"model": model, "trainer": trainer, "run_dir": str(folder)}
    return metrics or train(config.model_copy(update=changes))


def write_charts(
    run: RunFolder, learner: Learner, config: Config, data: Data, test: Evaluation, test_set: Examples
) -> None:
    """Write curves.png, confusion.png and attention.png, and words.png for texts."""
    from apps.attention import charts as own  # matplotlib takes a second to import
    from shared import charts

    title = chart_title(config, data)
    steps, history = run.rows("steps.csv"), run.rows("history.csv")
    run.write("curves.png", charts.learning_curves(steps, history, title, run.metrics))
    correct = f"{title}: {test.accuracy:.2%} of {len(test_set):,} test examples correct"
    confusion = charts.confusion_matrix(test_set.labels, test.predictions, data.classes, correct)
    run.write("confusion.png", confusion)
    weights_of = partial(frameworks.network_module("apps.attention", config).attention_weights, learner.model)
    if isinstance(data, RecallData):
        run.write("attention.png", own.recall_weights(weights_of, data, title))
    else:
        heat_maps, words = own.review_weights(weights_of, learner, data, test, test_set, title)
        run.write("attention.png", heat_maps)
        run.write("words.png", words)


def chart_title(config: Config, data: Data) -> str:
    """Return what was trained, for the titles of charts."""
    return f"{config.model.name} in {config.framework} on {data.name}"
