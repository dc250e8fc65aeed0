"""The three modes beside each other, by number of labeled pictures, over several seeds."""

import contextlib
import io
import json
import math
import statistics
from typing import Any

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.learning import DRAWN, Start, learn
from apps.resnet_transfer.tasks import load_target, split
from apps.resnet_transfer.weights import starting_weights
from shared.data.images import ImageData
from shared.distributed import broadcast_from_rank0
from shared.errors import ConfigError, DataError
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder
from shared.training.loop import evaluate

MODES = ("finetune", "frozen", "scratch")
ALL = "all"  # pictures a class
ENDED = "ended.json"  # in the folder of a training that has

Row = dict[str, Any]


def compare(config: Config) -> dict[str, Any]:
    """Train in every mode, with every number of pictures, from every seed; return the metrics.

    The run folder gets comparison.csv (a row a training) and comparison.png. `test_accuracy` in
    metrics.json is the mean of `finetune` with the last of `transfer.counts`. A resumed run takes
    over the trainings that have ended.

    Raises:
        ConfigError: a class has fewer pictures than are asked for.
        DataError: the data set or the first weights cannot be had, or are damaged.
        TrainingDiverged: a loss is no longer finite.
    """
    if config.weights == "none":
        raise ConfigError("transfer.mode=compare needs weights to compare with: not weights=none")
    images = load_target(config)
    for count in config.transfer.counts:
        split(images, one_training(config, "frozen", count, 0))  # refuses now what cannot be had
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(config, images, train=len(images.train_images))
    with run.session():
        start = starting_weights(config, images, run)
        run.metrics |= {"mode": "compare", "weights": start.name, "classes": list(images.classes)}
        print(f"run folder: {run.path}", flush=True)
        for count in config.transfer.counts:
            for mode in MODES:
                for number in range(config.transfer.seeds):
                    one = one_training(config, mode, count, number)
                    run.add_row("comparison.csv", trained_once(one, start, images, run))
                    run.write_rows("comparison.csv")
                print(line(run.rows("comparison.csv"), mode, count), flush=True)
        run.metrics |= conclusions(run.rows("comparison.csv"))
        draw(run, images)
    return run.metrics


def one_training(config: Config, mode: str, count: int | None, number: int) -> Config:
    """Return the configuration of one training: as many steps whatever the number of pictures."""
    transfer = config.transfer.model_copy(update={"mode": mode})
    data = config.data.model_copy(update={"per_class": count})
    changes: dict[str, Any] = {"transfer": transfer, "data": data, "seed": config.seed + number}
    if count is not None:
        # a batch holds at most what there is, whatever the number of classes (two at least)
        size = min(config.trainer.batch_size, 2 * count)
        changes["trainer"] = config.trainer.model_copy(update={"batch_size": size})
    return config.model_copy(update=changes)


def with_steps(config: Config, examples: int) -> Config:
    """Return the configuration with as many epochs and steps as `config.transfer` asks for."""
    an_epoch = math.ceil(examples / config.trainer.batch_size)
    steps = max(config.transfer.steps, config.transfer.least_epochs * an_epoch)
    steps = min(steps, config.trainer.max_steps or steps)
    trainer = config.trainer.model_copy(update={"epochs": math.ceil(steps / an_epoch), "max_steps": steps})
    return config.model_copy(update={"trainer": trainer})


def trained_once(config: Config, start: Start, images: ImageData, run: RunFolder) -> Row:
    """Train in a folder of its own, or take what a resumed run has there; return the row.

    Raises:
        DataError: what is there was trained on other data, or is damaged.
    """
    count = config.data.per_class
    name = f"{config.transfer.mode}_{ALL if count is None else count}_seed_{config.seed}"
    folder = run.subfolder(f"trainings/{name}", config)
    ended = broadcast_from_rank0(lambda: before(folder))
    if ended is None:
        with folder.session():
            ended = trained(config, start, images, folder) | {"dataset_sha256": images.sha256}
            folder.write(ENDED, json.dumps(ended, indent=2).encode())
        folder.remove_checkpoints()
    if ended["dataset_sha256"] != images.sha256:
        raise DataError(
            f"{run.path} cannot go on with other data: dataset_sha256 is {images.sha256}, and was "
            f"{ended['dataset_sha256']}"
        )
    run.metrics |= ended["metrics"]
    row: Row = ended["row"]
    return row


def before(folder: RunFolder) -> dict[str, Any] | None:
    """Return what a resumed run has of a training that has ended; None where it has not.

    Raises:
        DataError: it cannot be read.
    """
    path = folder.path / ENDED
    if not (folder.resumed and path.exists()):
        return None
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def trained(config: Config, start: Start, images: ImageData, folder: RunFolder) -> dict[str, Any]:
    """Train once; return the row of comparison.csv and what metrics.json says of all trainings."""
    train_set, _, test_set = split(images, config)
    config = with_steps(config, len(train_set))
    count = config.data.per_class
    first = DRAWN if config.transfer.mode == "scratch" else start
    with contextlib.redirect_stdout(io.StringIO()):  # hundreds of epochs: no news
        learner = learn(config, first, (train_set, None), len(images.classes), folder)
    test = evaluate(learner, test_set)
    folder.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
    row = {
        "mode": config.transfer.mode,
        "per_class": ALL if count is None else count,
        "train_examples": len(train_set),
        "seed": config.seed,
        "steps": folder.metrics["steps"],
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "train_seconds": folder.metrics["train_seconds"],
    }
    metrics = {"parameters": learner.parameters, "test_examples": len(test_set)}
    return {"row": row, "metrics": metrics}


def scores(rows: list[Row], mode: str, count: int | str | None) -> list[float]:
    """Return the test accuracies of a mode with a number of pictures a class, by seed."""
    count = ALL if count is None else count
    return [row["test_accuracy"] for row in rows if (row["mode"], row["per_class"]) == (mode, count)]


def line(rows: list[Row], mode: str, count: int | None) -> str:
    """Say what a mode reached with a number of pictures a class."""
    values = scores(rows, mode, count)
    spread = f" ± {statistics.stdev(values):.2%}" if len(values) > 1 else ""
    own = (mode, ALL if count is None else count)
    seconds = statistics.median(
        row["train_seconds"] for row in rows if (row["mode"], row["per_class"]) == own
    )
    return (
        f"{'all' if count is None else count} a class, {mode}: "
        f"{statistics.mean(values):.2%}{spread} over {len(values)} seeds, "
        f"{min(values):.2%} to {max(values):.2%}; {seconds:.1f} s a training"
    )


def conclusions(rows: list[Row]) -> dict[str, Any]:
    """Return the means and spreads, and what every application's metrics have."""
    counts = list(dict.fromkeys(row["per_class"] for row in rows))
    table = {
        f"{mode}_{count}": {
            "mean": statistics.mean(scores(rows, mode, count)),
            "deviation": statistics.stdev(scores(rows, mode, count))
            if len(scores(rows, mode, count)) > 1
            else None,
            "by_seed": scores(rows, mode, count),
        }
        for count in counts
        for mode in MODES
    }
    best = [row for row in rows if row["mode"] == "finetune" and row["per_class"] == counts[-1]]
    return {
        "comparison": table,
        "epochs": None,
        "test_accuracy": statistics.mean(row["test_accuracy"] for row in best),
        "test_loss": statistics.mean(row["test_loss"] for row in best),
        "train_seconds": sum(row["train_seconds"] for row in rows),
    }


def draw(run: RunFolder, images: ImageData) -> None:
    """Write comparison.png."""
    from apps.resnet_transfer.drawing import learning_curves  # matplotlib takes a second

    rows = run.rows("comparison.csv")
    examples = sorted({row["train_examples"] for row in rows})
    points = {
        mode: [
            [row["test_accuracy"] for row in rows if row["mode"] == mode and row["train_examples"] == count]
            for count in examples
        ]
        for mode in MODES
    }
    title = (
        f"{run.metrics['model']} in {run.metrics['framework']}, weights from "
        f"{run.metrics['weights']}\n{images.name}: {', '.join(images.classes)}"
    )
    a_class = [count / len(images.classes) for count in examples]
    run.write("comparison.png", learning_curves(a_class, points, title))
