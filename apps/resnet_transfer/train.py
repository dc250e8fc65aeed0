"""Learn new classes from few images: data, initial weights, training, test, charts."""

from typing import Any

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.data import check_batches, load_data, split
from apps.resnet_transfer.transfer import build_learner, fit_transfer
from apps.resnet_transfer.weights import find_weights, initial_weights
from shared.data.examples import Examples
from shared.data.images import ImageData
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.training.frameworks import resolve_auto
from shared.training.loop import Evaluation, announce, conclude


def train(config: Config) -> dict[str, Any]:
    """Train once, or compare the modes; return the metrics, which are also in the run folder.

    Raises:
        ConfigError: a key does not fit the data, or the run folder cannot be used.
        DataError: the data set or the initial weights are unavailable or damaged.
        TrainingDiverged: the loss is not finite.
    """
    config = resolve_auto(config)
    if config.transfer.mode == "compare":
        from apps.resnet_transfer.compare import compare

        return compare(config)
    config, found = find_weights(config)
    images = load_data(config)
    train_set, validation_set, test_set = split(images, config)
    check_batches(config, len(train_set))
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(config, images, train_set, validation_set, test_set)
    with run.session():
        initial = initial_weights(found, config, images, run)
        count = config.data.per_class or "all"
        size = f", {config.data.pixels} pixels" if config.data.pixels != 32 else ""
        run.metrics |= {
            "model": f"{config.model.name} {config.transfer.mode} from {initial.name}, {count} a class{size}",
            "mode": config.transfer.mode,
            "per_class": config.data.per_class,
        }
        learner = build_learner(config, images, initial)
        announce(learner, run)
        test = fit_transfer(learner, train_set, validation_set, test_set, config, run)
        conclude(learner, test, run)
        write_charts(run, images, test, test_set)
    return run.metrics


def write_charts(run: RunFolder, images: ImageData, test: Evaluation, test_set: Examples) -> None:
    """Write curves.png and confusion.png."""
    from shared import charts  # matplotlib is slow to import

    title = f"{run.metrics['model']}, in {run.metrics['framework']}"
    steps, history = run.rows("steps.csv"), run.rows("history.csv")
    curves = charts.learning_curves(steps, history, f"{title} on {images.name}", run.metrics)
    run.write("curves.png", curves)
    title += f":\n{test.accuracy:.2%} of {len(test_set):,} test images correct"
    confusion = charts.confusion_matrix(test_set.labels, test.predictions, images.classes, title)
    run.write("confusion.png", confusion)
