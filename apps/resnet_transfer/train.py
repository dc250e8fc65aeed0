"""Learn new classes from few pictures: data, first weights, loop, evaluation, top to bottom."""

from functools import partial
from typing import Any

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.learning import learn
from apps.resnet_transfer.tasks import load_target, split
from apps.resnet_transfer.weights import starting_weights
from shared.data.examples import Examples
from shared.data.images import ImageData
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.runs.messages import announcement, conclusion
from shared.training.auto import resolve_auto
from shared.training.loop import Evaluation, evaluate, save_weights


def train(config: Config) -> dict[str, Any]:
    """Train once and return the metrics, which are also in the run folder's metrics.json.

    Raises:
        ConfigError: a key does not fit the data, or the run folder cannot be used.
        DataError: the data set or the first weights cannot be had, or are damaged.
        TrainingDiverged: the loss is no longer finite.
    """
    config = resolve_auto(config)
    if config.transfer.mode == "compare":
        from apps.resnet_transfer.compare import compare

        return compare(config)
    images = load_target(config)
    train_set, validation_set, test_set = split(images, config)
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(
        config, images, train=len(train_set), validation=len(validation_set), test=len(test_set)
    )
    with run.session():
        start = starting_weights(config, images, run)
        run.metrics |= described(config, start.name, images)
        announce = partial(say, run)
        learner = learn(config, start, (train_set, validation_set), len(images.classes), run, announce)
        test = evaluate(learner, test_set)
        run.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
        print(conclusion(run.metrics), flush=True)
        save_weights(learner, run)  # after the metrics: a full disk must not cost them
        draw(run, images, test, test_set)
    return run.metrics


def described(config: Config, weights: str, images: ImageData) -> dict[str, Any]:
    """Return what metrics.json says of the mode; a model's name holds what is to be told apart."""
    count = config.data.per_class
    return {
        "model": f"{config.model.name} {config.transfer.mode} from {weights}, "
        f"{'all' if count is None else count} a class",
        "mode": config.transfer.mode,
        "weights": weights,
        "per_class": count,
        "classes": list(images.classes),
    }


def say(run: RunFolder, learner: Any) -> None:
    """Note how much is trained, and announce the run."""
    run.metrics["parameters"] = learner.parameters
    print(announcement(run.metrics, str(run.path)), flush=True)


def draw(run: RunFolder, images: ImageData, test: Evaluation, test_set: Examples) -> None:
    """Write curves.png and confusion.png."""
    from shared import charts  # matplotlib takes a second to import

    title = f"{run.metrics['model']}, in {run.metrics['framework']} on {images.name}"
    last = {"loss": test.loss, "accuracy": test.accuracy}
    curves = charts.learning_curves(run.rows("steps.csv"), run.rows("history.csv"), title, last)
    run.write("curves.png", curves)
    title = (
        f"{run.metrics['model']}, in {run.metrics['framework']}:\n"
        f"{test.accuracy:.2%} of {len(test_set):,} test pictures right"
    )
    confusion = charts.confusion_matrix(test_set.labels, test.predictions, images.classes, title)
    run.write("confusion.png", confusion)
