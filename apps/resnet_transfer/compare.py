"""Compare the three modes by number of labeled images, over several seeds."""

import contextlib
import io
import itertools
import json
import math
import statistics
from typing import Any

import numpy as np

from apps.resnet_transfer.config import Config
from apps.resnet_transfer.data import check_batches, load_data, split
from apps.resnet_transfer.transfer import RANDOM, InitialWeights, build_learner, fit_transfer
from apps.resnet_transfer.weights import find_weights, initial_weights
from shared.data.examples import Examples
from shared.data.images import ImageData
from shared.distributed import broadcast_from_rank0
from shared.errors import ConfigError, DataError
from shared.files import relative_path
from shared.input_file import read_file
from shared.runs.environment import initial_metrics
from shared.runs.folder import RunFolder

MODES = {
    "finetune": "finetune: all layers, the backbone at a lower rate",
    "frozen": "frozen: the last layer only",
    "scratch": "scratch: all layers, from random weights",
}
RESULT = "ended.json"  # in the folder of each finished training

Row = dict[str, Any]


def compare(config: Config) -> dict[str, Any]:
    """Train in every mode, with every number of images, from every seed; return the metrics.

    The run folder gets comparison.csv (a row per training) and comparison.png. `test_accuracy` in
    metrics.json is the mean of mode `finetune` with the last of `transfer.counts`. A resumed run
    skips the trainings that have finished. Raises as `train`.
    """
    if config.weights == "none":
        raise ConfigError("transfer.mode=compare needs pretrained weights to compare: not weights=none")
    config, found = find_weights(config)
    images = load_data(config)
    groups = {
        (count, mode): [training_config(config, mode, count, n, images) for n in range(config.transfer.seeds)]
        for count, mode in itertools.product(config.transfer.counts, MODES)
    }
    run = RunFolder.open(config)
    run.metrics |= initial_metrics(config, images, Examples(images.train_images, images.train_labels))
    with run.session():
        initial = initial_weights(found, config, images, run)
        run.metrics["mode"] = "compare"
        print(f"run folder: {relative_path(run.path)}", flush=True)
        results: dict[str, list[Row]] = {}
        for (count, mode), configs in groups.items():
            rows = results[f"{mode}_{count or 'all'}"] = []
            for one in configs:
                rows.append(run_training(one, initial, images, run))
                run.add_row("comparison.csv", rows[-1])
                run.write_rows("comparison.csv")
            print(summary(rows), flush=True)
        best = results[f"finetune_{config.transfer.counts[-1] or 'all'}"]
        run.metrics |= {
            "comparison": {name: spread(rows) for name, rows in results.items()},
            "epochs": None,
            "test_accuracy": statistics.mean(row["test_accuracy"] for row in best),
            "test_loss": statistics.mean(row["test_loss"] for row in best),
            "train_seconds": sum(row["train_seconds"] for row in run.rows("comparison.csv")),
        }
        title = f"{run.metrics['model']} in {run.metrics['framework']}, weights from {initial.name}\n"
        title += f"{images.name}: {', '.join(images.classes)}"
        run.write("comparison.png", comparison_chart(run.rows("comparison.csv"), len(images.classes), title))
    return run.metrics


def training_config(config: Config, mode: str, count: int | None, number: int, images: ImageData) -> Config:
    """Return the configuration of one training; the number of steps does not depend on `count`."""
    batch = config.trainer.batch_size
    if count is not None:
        batch = min(batch, 2 * count)  # fits, since there are at least two classes
    changes = {
        "transfer": config.transfer.model_copy(update={"mode": mode}),
        "data": config.data.model_copy(update={"per_class": count}),
        "trainer": config.trainer.model_copy(update={"batch_size": batch}),
        "seed": config.seed + number,
    }
    one = config.model_copy(update=changes)
    examples = len(split(images, one)[0])
    check_batches(one, examples)
    steps_per_epoch = math.ceil(examples / batch)
    steps = max(config.transfer.steps, config.transfer.least_epochs * steps_per_epoch)
    steps = min(steps, config.trainer.max_steps or steps)
    limits = {"epochs": math.ceil(steps / steps_per_epoch), "max_steps": steps}
    return one.model_copy(update={"trainer": one.trainer.model_copy(update=limits)})


def run_training(config: Config, initial: InitialWeights, images: ImageData, run: RunFolder) -> Row:
    """Train in a folder inside the run, or use the result of a resumed run; return the row."""
    name = f"{config.transfer.mode}_{config.data.per_class or 'all'}_seed_{config.seed}"
    folder = run.subfolder(f"trainings/{name}", config)
    result = broadcast_from_rank0(lambda: earlier_result(folder))
    if result is None:
        with folder.session():
            result = train_once(config, initial, images, folder)
            folder.write(RESULT, json.dumps(result, indent=2).encode())
        folder.remove_checkpoints()
    if result["dataset_sha256"] != images.sha256:
        raise DataError(
            f"{run.path} cannot be resumed with other data: dataset_sha256 is {images.sha256}, and was "
            f"{result['dataset_sha256']}"
        )
    run.metrics |= result["metrics"]
    return dict(result["row"])


def earlier_result(folder: RunFolder) -> dict[str, Any] | None:
    """Return the result of a training that finished before the run was resumed, or None."""
    path = folder.path / RESULT
    if not (folder.resumed and path.exists()):
        return None
    try:
        return dict(json.loads(read_file(path)))
    except ValueError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def train_once(
    config: Config, initial: InitialWeights, images: ImageData, folder: RunFolder
) -> dict[str, Any]:
    """Train once; return the row of comparison.csv and the metrics that all trainings share."""
    train_set, _, test_set = split(images, config)
    learner = build_learner(config, images, RANDOM if config.transfer.mode == "scratch" else initial)
    with contextlib.redirect_stdout(io.StringIO()):  # hundreds of epochs: a line each would be noise
        test = fit_transfer(learner, train_set, None, test_set, config, folder)
    folder.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
    row = {
        "mode": config.transfer.mode,
        "per_class": config.data.per_class or "all",
        "train_examples": len(train_set),
        "seed": config.seed,
        "steps": folder.metrics["steps"],
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "train_seconds": folder.metrics["train_seconds"],
    }
    metrics = {"parameters": learner.parameters, "test_examples": len(test_set)}
    return {"row": row, "metrics": metrics, "dataset_sha256": images.sha256}


def spread(rows: list[Row]) -> dict[str, Any]:
    """Return mean and standard deviation over the seeds (None with one seed), and each accuracy."""
    values = [row["test_accuracy"] for row in rows]
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "deviation": deviation, "by_seed": values}


def summary(rows: list[Row]) -> str:
    """Return a line on the trainings in one mode with one number of images."""
    mean, deviation, values = spread(rows).values()
    plus_minus = "" if deviation is None else f" ± {deviation:.2%}"
    seconds = statistics.median(row["train_seconds"] for row in rows)
    seeds = f"{len(rows)} seed{'s' * (len(rows) > 1)}"
    return (
        f"{rows[0]['per_class']} per class, {rows[0]['mode']}: {mean:.2%}{plus_minus} over {seeds}, "
        f"{min(values):.2%} to {max(values):.2%}; {seconds:.1f} s per training"
    )


def comparison_chart(rows: list[Row], classes: int, title: str) -> bytes:
    """Return a PNG of test accuracy by labeled images per class, from the rows of comparison.csv."""
    from shared import charts  # matplotlib is slow to import

    chart = charts.figure(size=(10, 6.5))
    axes = chart.subplots()
    examples = sorted({row["train_examples"] for row in rows})
    counts = [number / classes for number in examples]
    for mode, (color, _, marker) in zip(MODES, (charts.STYLES[n] for n in (0, 2, 1)), strict=True):
        own = [row for row in rows if row["mode"] == mode]
        scores = 100 * np.array(
            [[row["test_accuracy"] for row in own if row["train_examples"] == n] for n in examples]
        )
        axes.plot(counts, scores.mean(axis=1), f"{marker}-", color=color, lw=2.5, ms=9, label=MODES[mode])
        axes.fill_between(counts, scores.min(axis=1), scores.max(axis=1), color=color, alpha=0.2, lw=0)
        axes.plot(counts, scores, ".", color=color, ms=5)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,.0f}" for count in counts])
    axes.minorticks_off()
    if (seeds := scores.shape[1]) > 1:
        title += f"\nlines: mean of {seeds} seeds; bands: lowest to highest"
    charts.label_axes(axes, "labeled images per class", "test accuracy (%)", title)
    charts.legend_below(chart, axes, 1)
    return charts.png(chart)
