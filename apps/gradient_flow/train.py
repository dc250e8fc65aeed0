"""Train a network with early stopping, compare it with others, and chart what gradients do."""

from collections.abc import Mapping
from typing import Any

from apps.gradient_flow.config import Config
from apps.gradient_flow.data import load_data, mean_and_std, split
from apps.gradient_flow.learner import METHODS, GradientLearner, fit
from shared.data.examples import Examples
from shared.data.images import ImageData
from shared.files import relative_path
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.training.loop import Evaluation, announce, evaluate, finish

PAGE = "gradient_flow.html"

Sets = tuple[Examples, Examples, Examples]  # to train, to validate and to test
Result = tuple[list[dict[str, Any]], Evaluation]  # rows of history.csv, and scores of the test set


def train(config: Config) -> dict[str, Any]:
    """Train, draw all charts and return the metrics, which are also in the run folder's metrics.json.

    Weights and test scores of the run are those of the network that early stopping picked.

    Raises:
        ConfigError: the run folder cannot be used, or the framework cannot run in this process.
        DataError: the checkpoints of a resumed run are damaged.
        TrainingDiverged: a loss is no longer finite.
    """
    data = load_data(config)
    train_set, validation_set, test_set = sets = split(data, config)
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(config, data, train_set, validation_set, test_set)
    run.metrics["preprocessing"]["mean_and_std"] = list(mean_and_std(data, config))
    with run.session():
        learner = build_learner(config, data)
        announce(learner, run)
        fit(learner, train_set, validation_set, config, run)
        test = finish(learner, test_set, run)
        own = run.rows("history.csv"), test
        results = {
            method: own if method == "early stopping" else train_method(method, sets, config, run)
            for method in METHODS
        }
        write_charts(run, config, data, results)
    return run.metrics


def build_learner(config: Config, data: ImageData) -> GradientLearner:
    """Return the network that early stopping picks the weights of, untrained."""
    return GradientLearner(config)


def train_method(method: str, sets: Sets, config: Config, run: RunFolder) -> Result:
    """Train with another method, in trainings/METHOD of the run folder; return history and test scores."""
    train_set, validation_set, test_set = sets
    learner = GradientLearner(config, method)
    folder = run.subfolder(f"trainings/{method}", config)
    with folder.session():
        fit(learner, train_set, validation_set, config, folder)
    return folder.rows("history.csv"), evaluate(learner, test_set)


def write_charts(run: RunFolder, config: Config, data: ImageData, results: Mapping[str, Result]) -> None:
    """Write every chart with its numbers, the page with all of them, and curves.png."""
    from apps.gradient_flow.page import figures, page
    from shared import charts  # matplotlib takes a second to import

    drawn = []
    for figure in figures(config, data, results):
        run.write(f"{figure.name}.png", figure.png)
        for row in figure.rows:
            run.add_row(f"{figure.name}.csv", row)
        run.write_rows(f"{figure.name}.csv")
        drawn.append(figure)
        print(f"  {figure.name}.png, {figure.name}.csv: {figure.title}", flush=True)
    run.write(PAGE, page(drawn, config.framework, config.seed).encode())
    print(f"page: {relative_path(run.path / PAGE)}", flush=True)
    title = f"Early stopping: tested with the weights of epoch {run.metrics['best_epoch']}"
    steps, history = run.rows("steps.csv"), run.rows("history.csv")
    run.write("curves.png", charts.learning_curves(steps, history, title, run.metrics))
