"""Train a network on film reviews: data, model, loop, evaluation, top to bottom."""

from functools import partial
from typing import Any

from apps.imdb_rnn.config import Config, Nbsvm
from apps.imdb_rnn.data import load_data, split
from shared.data.examples import Examples
from shared.data.sequences import batches_by_length
from shared.data.text import TextData
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.runs.preprocessing import Preprocessing, write_vocabulary
from shared.training import frameworks
from shared.training.loop import Evaluation, Learner, announce, finish, fit
from shared.training.losses import Loss
from shared.training.schedule import ALL


def train(config: Config) -> dict[str, Any]:
    """Train once and return the metrics, which are also in the run folder's metrics.json.

    Raises:
        ConfigError: a key does not fit the data, or the run folder cannot be used.
        DataError: the data set is not available.
        TrainingDiverged: the loss is no longer finite.
    """
    config = frameworks.resolve_auto(config)
    texts = load_data(config)
    train_set, validation_set, test_set = split(texts, config)
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(config, texts, train_set, validation_set, test_set)
    with run.session():
        learner = build_learner(config, texts)
        if isinstance(config.model, Nbsvm):
            load_ratios(learner, train_set, config.model.buckets)
        announce(learner, run)
        batches = partial(batches_by_length, train_set.inputs.lengths, config.trainer.batch_size, config.seed)
        fit(learner, train_set, validation_set, config, run, batches=batches)
        test = finish(learner, test_set, run)
        write_vocabulary(run, texts)
        write_charts(run, texts, test, test_set)
    return run.metrics


def build_learner(config: Config, texts: TextData | Preprocessing) -> Learner:
    """Return the untrained network with its optimizer; only `config.framework` is imported.

    One logit, of the second class, tells two classes apart; more classes have a logit each.
    """
    classes = len(texts.classes)
    loss: Loss = "binary_cross_entropy" if classes == 2 else "cross_entropy"
    outputs = 1 if classes == 2 else classes
    sizes: dict[str, Any] = {"tokens": len(texts.vocabulary), "outputs": outputs}
    lr_scales = {**ALL, "ratios": 0.0} if isinstance(config.model, Nbsvm) else ALL  # not learned
    return frameworks.build_learner("apps.imdb_rnn", config, loss, lr_scales, **sizes)


def load_ratios(learner: Learner, train_set: Examples, buckets: int) -> None:
    """Replace the ratios of `model=nbsvm` by those of the training set."""
    from apps.imdb_rnn.naive_bayes import log_count_ratios

    weights = learner.weights()
    (name,) = (name for name in weights if name.startswith("ratios"))
    rows, outputs = weights[name].shape
    ratios = log_count_ratios(train_set, rows - buckets, buckets, outputs)
    learner.load_weights(weights | {name: ratios.astype(weights[name].dtype)})


def write_charts(run: RunFolder, texts: TextData, test: Evaluation, test_set: Examples) -> None:
    """Write curves.png and confusion.png."""
    from shared import charts  # matplotlib takes a second to import

    title = f"{run.metrics['model']} in {run.metrics['framework']} on {texts.name}"
    steps, history = run.rows("steps.csv"), run.rows("history.csv")
    run.write("curves.png", charts.learning_curves(steps, history, title, run.metrics))
    title = f"{title}: {test.accuracy:.2%} of {len(test_set):,} test reviews correct"
    confusion = charts.confusion_matrix(test_set.labels, test.predictions, texts.classes, title)
    run.write("confusion.png", confusion)
