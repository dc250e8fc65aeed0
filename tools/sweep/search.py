"""What a study searches: conf/sweep/APP.yaml, validated."""

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from shared import CONF
from shared.compose import config_from_overrides, read_yaml
from shared.config import AppConfig, Count, Positive, Section, validate
from shared.errors import ConfigError
from shared.runs.repeat import hydra_text

FOLDER = CONF / "sweep"


class LogUniform(Section):
    """A number with a uniform logarithm: for ranges over powers of ten."""

    kind: Literal["log_uniform"]
    low: Positive
    high: Positive


class Uniform(Section):
    """A number."""

    kind: Literal["uniform"]
    low: float
    high: float


class Integer(Section):
    """An integer from `low` to `high`, both included."""

    kind: Literal["int"]
    low: int
    high: int


class Choice(Section):
    """One of some values: numbers, words, null, lists, or files of a group (optimizer)."""

    kind: Literal["choice"]
    values: Annotated[list[Any], Field(min_length=2)]


Range = Annotated[LogUniform | Uniform | Integer | Choice, Field(discriminator="kind")]


class Search(Section):
    """What a study searches, and how; the file of an application has all keys but `app`."""

    app: str
    objective: Annotated[
        Literal["validation_accuracy", "validation_loss", "train_loss"],
        Field(description="column of history.csv whose last value counts; never of the test set"),
    ]
    trials: Annotated[Count, Field(description="number of trials, including failed ones")]
    seed: Annotated[int, Field(ge=0, lt=2**32, description="of the sampler; the runs have their own")]
    startup_trials: Annotated[Count, Field(description="random trials that are never pruned")]
    warmup_epochs: Annotated[int, Field(ge=0, description="epochs before which nothing is pruned")]
    overrides: Annotated[list[str], Field(description="of all trials, as on the command line")]
    ranges: Annotated[dict[str, Range], Field(min_length=1, description="by dotted keys")]
    study: Annotated[str, Field(description="name in a shared storage; empty: that of the application")] = ""

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> "Search":
        for key, one in self.ranges.items():
            if isinstance(one, Choice):
                if len({hydra_text(value) for value in one.values}) < len(one.values):
                    raise ValueError(f"ranges.{key}: a value is listed twice")
            elif one.low >= one.high:
                raise ValueError(f"ranges.{key}: low={one.low} must be below high={one.high}")
        return self

    @property
    def maximizes(self) -> bool:
        """Whether a higher value is better."""
        return self.objective.endswith("accuracy")

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Optuna's word for it."""
        return "maximize" if self.maximizes else "minimize"

    @property
    def objective_name(self) -> str:
        """The objective in words."""
        return self.objective.replace("train_", "training ").replace("_", " ")

    def config_of_app(self, overrides: list[str]) -> AppConfig:
        """Return the application's configuration with the overrides of all trials and these.

        Raises:
            ConfigError: the application does not accept it.
        """
        schema: type[AppConfig] = importlib.import_module(f"apps.{self.app}.config").Config
        config = config_from_overrides(self.app, schema, [*self.overrides, *overrides])
        if self.objective.startswith("validation") and not config.data.has_validation:
            raise ConfigError(f"objective={self.objective} needs data.validation_fraction above 0")
        return config

    def value_text(self, value: float | None) -> str:
        """Return a value of the objective for the screen."""
        if value is None:
            return "-"
        return f"{value:.2%}" if self.maximizes else f"{value:.4g}"


def searchable_apps() -> list[str]:
    """Return the applications that have a file of ranges."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_search(app: str, path: Path, overrides: list[str]) -> Search:
    """Return the search in a file of ranges, with more overrides for all trials; their keys are not searched.

    Raises:
        ConfigError: the file is missing or wrong, or nothing is left to search.
    """
    values = read_yaml(path)
    if not isinstance(values, dict) or not isinstance(values.get("ranges"), dict):
        raise ConfigError(f"{path} has no ranges: see conf/sweep/mnist_cnn.yaml")
    fixed = {word.partition("=")[0] for word in overrides}
    ranges = {key: one for key, one in values["ranges"].items() if key not in fixed}
    if not ranges:
        raise ConfigError(f"nothing to search: the command line sets every key with a range in {path.name}")
    values |= {"app": app, "ranges": ranges, "overrides": [*values.get("overrides", []), *overrides]}
    try:
        return validate(Search, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def check_search(search: Search) -> None:
    """Check that the application accepts the overrides, and both ends or all values of each range.

    Raises:
        ConfigError: an override or a range has an unknown key, or a value that is not allowed.
    """
    of_each_trial = {"hydra.run.dir", "run_dir", "trainer.resume"}
    if reserved := {word.partition("=")[0] for word in search.overrides} & of_each_trial:
        raise ConfigError(f"{reserved.pop()}: each trial has a folder of its own; give out=FOLDER")
    search.config_of_app([])
    for key, one in search.ranges.items():
        for value in one.values if isinstance(one, Choice) else (one.low, one.high):
            try:
                search.config_of_app([f"{key}={hydra_text(value)}"])
            except ConfigError as error:
                advice = "change or remove this range, or name another file with ranges=FILE"
                raise ConfigError(f"ranges.{key}: {error}; {advice}") from error
