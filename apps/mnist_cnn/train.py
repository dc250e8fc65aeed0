"""Train a network on MNIST: data, model, loop, evaluation, top to bottom."""

from typing import Any

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.data import augmentation, load_data, mean_and_std, split
from shared.data.images import ImageData
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.training import frameworks
from shared.training.loop import Evaluation, Learner, announce, finish, fit


def train(config: Config) -> dict[str, Any]:
    """Train once and return the metrics, which are also in the run folder's metrics.json.

    Raises:
        ConfigError: a key does not fit the data, or the run folder cannot be used.
        DataError: the data set is not available.
        TrainingDiverged: the loss is no longer finite.
    """
    config = frameworks.resolve_auto(config)
    images = load_data(config)
    train_set, validation_set, test_set = split(images, config)
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(config, images, train_set, validation_set, test_set)
    run.metrics["preprocessing"]["mean_and_std"] = list(mean_and_std(images, config))
    with run.session():
        learner = build_learner(config, images)
        announce(learner, run)
        fit(learner, train_set, validation_set, config, run, augment=augmentation(config))
        test = finish(learner, test_set, run)
        write_charts(run, images, test)
    return run.metrics


def build_learner(config: Config, images: ImageData | None = None) -> Learner:
    """Return the untrained network with its optimizer; only `config.framework` is imported.

    All data sets of this application have the same ten classes, so that `images` is not needed.
    """
    return frameworks.build_learner("apps.mnist_cnn", config)


def write_charts(run: RunFolder, images: ImageData, test: Evaluation) -> None:
    """Write curves.png and confusion.png."""
    from shared import charts  # matplotlib takes a second to import

    title = f"{run.metrics['model']} in {run.metrics['framework']} on {images.name}"
    steps, history = run.rows("steps.csv"), run.rows("history.csv")
    run.write("curves.png", charts.learning_curves(steps, history, title, run.metrics))
    title = f"{title}: {test.accuracy:.2%} of {len(images.test_labels):,} test images right"
    confusion = charts.confusion_matrix(images.test_labels, test.predictions, images.classes, title)
    run.write("confusion.png", confusion)
