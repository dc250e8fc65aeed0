"""Recorded runs of the experiments (conf/experiment), beside the corrected networks."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shared import CONF
from shared.compose import compose, read_yaml
from shared.errors import ConfigError
from shared.nested import flat
from shared.output_file import write_json
from shared.runs.reader import read_values
from shared.runs.resume import MAY_DIFFER, differences
from shared.tables import markdown_table
from tools.results.tables import Run, by_network, mean_and_deviation, measured_on, read_record, training_time

# For each experiment the network that corrects it, and its framework.
EXPERIMENTS = {
    "a7": ("two_layer", "numpy"),
    "a12": ("mlp", "keras"),
    "a13": ("lstm", "keras"),
    "b11": ("cnn", "torch"),
    "b12": ("rnn", "torch"),
    "c7": ("two_layer", "numpy"),
    "c11": ("resnet18 frozen from imagenet, 50 a class, 224 pixels", "torch"),
    "d5": ("two_layer", "numpy"),
}
OF_A_SEED = {"seed", "model.published_seed"}


def experiment_of(values: dict[str, Any]) -> str:
    """Return the experiment that the configuration of a run is, apart from its seed.

    Raises:
        ConfigError: it is none.
    """
    given, closest = flat(values), ""
    for path in sorted((CONF / "experiment").glob("*.yaml")):
        if read_yaml(path)["app"] == values["app"]:
            published = flat(compose(values["app"], (f"+experiment={path.stem}",)))
            keys = published.keys() - MAY_DIFFER - OF_A_SEED
            before, now = ({key: one.get(key) for key in keys} for one in (published, given))
            if not (differ := differences(before, now)):
                return path.stem
            closest = min(closest or differ, differ, key=len)
    raise ConfigError(f"not an experiment of conf/experiment: {closest or 'this application has none'}")


def record_experiments(runs: Iterable[tuple[Path, Run]], results: Path) -> int:
    """Add runs of experiments, folders with their metrics, to the records; return their number."""
    file = results / "experiments.json"
    known = json.loads(file.read_text()) if file.exists() else []
    records = {(run["experiment"], run["seed"]): run for run in known}
    added = 0
    for folder, run in runs:
        if run["embedded"] and run["app"] != "xor":
            raise ConfigError(
                f"{folder}: trained on {run['dataset']}, which replaces the data of the experiment"
            )
        try:
            experiment = experiment_of(read_values(folder))
        except ConfigError as error:
            raise ConfigError(f"{folder}: {error}") from error
        records[experiment, run["seed"]] = {"experiment": experiment} | run
        added += 1
    write_json(file, [records[key] for key in sorted(records)])
    return added


def experiments_block(name: str, results: Path) -> str:
    """Return a row for each experiment: what it reaches, and what the corrected network reaches."""
    records = read_record(results / "experiments.json")
    header = "experiment,accuracy,seeds,training,corrected network,its accuracy,its training,command"
    rows = []
    for experiment, (model, framework) in EXPERIMENTS.items():
        app = read_yaml(CONF / "experiment" / f"{experiment}.yaml")["app"]
        runs = [run for run in records if run["experiment"] == experiment]
        corrected = [
            run
            for run in read_record(results / f"{app}.json")
            if (run["model"], run["framework"]) == (model, framework)
        ]
        command = f"`.venv/bin/python -m apps.{app} +experiment={experiment}`"
        row = [f"`{experiment}`", *_scores(runs), f"`{model}` in {framework}"]
        most_seeds = max(by_network(corrected).values(), key=len, default=[])  # one precision
        scores = _scores(most_seeds)
        rows.append([*row, scores[0], scores[2], command])
    return f"{markdown_table(header.split(','), rows)}\n\n{measured_on(records)}"


def _scores(runs: list[Run]) -> list[str]:
    """Return accuracy, number of seeds and time of some runs; dashes if there are none."""
    if not runs:
        return ["not recorded", "-", "-"]
    return [mean_and_deviation([run["test_accuracy"] for run in runs]), str(len(runs)), training_time(runs)]
