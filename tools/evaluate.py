"""The metrics of a finished run again, on the same or other data: what all `evaluate.py` share."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from shared import distributed
from shared.cli import exit_status_of
from shared.compose import compose, group_choices
from shared.config import AnyAppConfig, flat_keys, unknown_key, validate
from shared.data.examples import Examples
from shared.errors import ConfigError, DataError
from shared.files import write_result
from shared.runs.environment import DataSet
from shared.runs.messages import conclusion
from shared.runs.reader import read_config, read_metrics
from shared.training.loop import Learner, evaluate, load_weights

SCORES = ("test_accuracy", "test_loss")


@dataclass(frozen=True)
class Application(Generic[AnyAppConfig]):
    """What an application knows and the others do not.

    Attributes:
        config: its schema.
        load: returns the data set that a configuration names.
        test_set: takes the data that the run was trained with, the data and the configuration to
            test with; returns the examples as the network takes them.
        build_learner: returns the network for the data that the run was trained with.
        other_data: whether there is any other data than what it was trained with.
    """

    config: type[AnyAppConfig]
    load: Callable[[AnyAppConfig], DataSet]
    test_set: Callable[[Any, Any, AnyAppConfig], Examples]
    build_learner: Callable[[AnyAppConfig, Any], Learner]
    other_data: bool = True


@dataclass(frozen=True)
class Finished(Generic[AnyAppConfig]):
    """A finished run, read back.

    Attributes:
        config: its configuration.
        metrics: what is in metrics.json.
        data: the data set that it was trained with.
        learner: the trained network.
    """

    config: AnyAppConfig
    metrics: dict[str, Any]
    data: Any
    learner: Learner


def restored(
    application: Application[AnyAppConfig], folder: Path, config: AnyAppConfig
) -> Finished[AnyAppConfig]:
    """Return the run in `folder` with its data and its network.

    Args:
        application: the run's.
        folder: where it is.
        config: what is there, read and checked; another precision may be in it.

    Raises:
        ConfigError: the run has not ended, or not well.
        DataError: data or weights are missing, damaged, or not what they were.
    """
    metrics = read_metrics(folder)
    data = own_data(application, config, metrics)
    learner = application.build_learner(config, data)
    load_weights(learner, folder, metrics)
    return Finished(config, metrics, data, learner)


def own_data(application: Application[AnyAppConfig], config: AnyAppConfig, metrics: dict[str, Any]) -> Any:
    """Return the data set that a run was trained with.

    Raises:
        DataError: it cannot be had, or is another one now.
    """
    own = application.load(config)
    if own.sha256 != metrics["dataset_sha256"]:
        raise DataError(
            f"{own.name} ({own.source}) is not the data that this run was trained with "
            f"({metrics['dataset']}, {metrics['dataset_source']}): its digest differs"
        )
    return own


def evaluated(application: Application[AnyAppConfig], folder: Path, words: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of the run in `folder`, on the data that `words` name or on its own.

    The metrics are those of metrics.json with the new scores and data set in place of the old.

    Raises:
        ConfigError: there is no finished run, a word is no key of its data, or the data has other
            classes or another vocabulary.
        DataError: data or weights are missing, damaged, or not what they were.
    """
    config = read_config(folder, application.config)
    metrics = read_metrics(folder)
    if words and not application.other_data:
        raise ConfigError(f"{words[0]}: {config.app} has no other data to be evaluated on")
    other = with_data(config, application.config, words)
    own = own_data(application, config, metrics)
    data = own if other.data == config.data else application.load(other)
    for what in ("classes", "vocabulary"):
        mine, given = getattr(own, what, None), getattr(data, what, None)
        if mine != given:
            raise ConfigError(
                f"{data.name} has another {what if what == 'vocabulary' else 'list of classes'} "
                f"than {metrics['dataset']}, which this network was trained with"
            )
    examples = application.test_set(own, data, other)
    learner = application.build_learner(config, own)
    load_weights(learner, folder, metrics)
    scores = evaluate(learner, examples)
    return metrics | {
        "dataset": data.name,
        "dataset_source": data.source,
        "dataset_sha256": data.sha256,
        "embedded": data.embedded,
        "test_examples": len(examples),
        "test_accuracy": scores.accuracy,
        "test_loss": scores.loss,
    }


def with_data(config: AnyAppConfig, schema: type[AnyAppConfig], words: Sequence[str]) -> AnyAppConfig:
    """Return the configuration with other data.

    Args:
        config: the run's.
        schema: its class.
        words: data=NAME and data.KEY=VALUE.

    Raises:
        ConfigError: a word is something else, or the data set does not take it.
    """
    values = config.model_dump()
    try:
        parsed = OverridesParser.create().parse_overrides(list(words))
    except HydraException as error:
        raise ConfigError(f"cannot read {' '.join(words)!r}: give data.KEY=VALUE") from error
    for item in parsed:
        if item.is_sweep_override() or item.type is not OverrideType.CHANGE:
            raise ConfigError(f"{item.input_line}: give one value, as KEY=VALUE")
        if item.key_or_group == "data" and item.value() != values["data"]["name"]:
            if item.value() not in (names := group_choices(schema, "data")):
                raise ConfigError(f"{item.input_line}: choose one of {', '.join(names)}")
            choices = (f"model={values['model']['name']}", f"data={item.value()}")
            values["data"] = compose(config.app, choices)["data"]
    tree = OmegaConf.create(values)
    for item in parsed:
        key = item.key_or_group
        if key == "data":
            continue
        if not key.startswith("data."):
            raise ConfigError(f"{item.input_line}: nothing but data can be another one here")
        if key not in (known := [one for one in flat_keys(values) if one.startswith("data.")]):
            raise ConfigError(unknown_key(key, known))
        OmegaConf.update(tree, key, item.value())
    try:
        for key in OmegaConf.missing_keys(tree):
            raise ConfigError(f"{key} is missing: give it as {key}=VALUE")
        changed: Any = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    changed["trainer"]["batch_size"] = 1  # nothing is trained: a training set may be of any size
    return validate(schema, changed)


def comparison(metrics: dict[str, Any], before: dict[str, Any]) -> str:
    """Say whether the scores are those of metrics.json, where they should be."""
    same_data = ("dataset_sha256", "test_examples")
    if any(metrics[key] != before[key] for key in same_data):
        return f"metrics.json says {before['test_accuracy']:.2%} on {before['dataset']}"
    if all(metrics[key] == before[key] for key in SCORES):
        return "the same as in metrics.json, to the last bit"
    return (
        f"metrics.json says accuracy {before['test_accuracy']!r}, loss {before['test_loss']!r}; "
        f"now {metrics['test_accuracy']!r}, {metrics['test_loss']!r}"
    )


def main(application: Application[AnyAppConfig], program: str, words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description="The metrics of a finished run again, on the same or on other data.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="other data: data=NAME, data.KEY=VALUE"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the metrics there, as JSON")
    arguments = parser.parse_intermixed_args(words)

    def action() -> None:
        if distributed.world_size() > 1:
            raise ConfigError(f"{program} takes one process: start it without torchrun")
        metrics = evaluated(application, arguments.run, arguments.overrides)
        print(f"{conclusion(metrics)}\n{comparison(metrics, read_metrics(arguments.run))}")
        if arguments.out:
            content = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
            write_result(arguments.out, content.encode())

    return exit_status_of(action)
