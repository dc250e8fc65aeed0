"""What a study searches over: conf/sweep/APP.yaml, checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, model_validator
from yaml import YAMLError  # type: ignore[import-untyped]  # OmegaConf lets it through

from shared.compose import CONF, config_from_overrides, hydra_text
from shared.config import AppConfig, Count, Positive, Section, flat_keys, unknown_key, validate
from shared.errors import ConfigError

FOLDER = CONF / "sweep"


class LogUniform(Section):
    """A number whose logarithm is drawn evenly: for what spans powers of ten."""

    kind: Literal["log_uniform"]
    low: Positive
    high: Positive


class Uniform(Section):
    """A number."""

    kind: Literal["uniform"]
    low: float
    high: float


class Whole(Section):
    """A whole number; `low` and `high` are among them."""

    kind: Literal["int"]
    low: int
    high: int


class Choice(Section):
    """One of some values: numbers, words, null, lists, or files of a group (optimizer)."""

    kind: Literal["choice"]
    values: Annotated[list[Any], Field(min_length=2)]


Range = Annotated[LogUniform | Uniform | Whole | Choice, Field(discriminator="kind")]


class Search(Section):
    """What a study searches, and how; the file of an application has all keys but `app`."""

    app: str
    objective: Annotated[
        Literal["validation_accuracy", "validation_loss", "train_loss"],
        Field(description="the column of history.csv whose last value counts; never of a test"),
    ]
    trials: Annotated[Count, Field(description="how many; those that failed count")]
    seed: Annotated[int, Field(ge=0, lt=2**32, description="of the sampler; the runs have theirs")]
    startup_trials: Annotated[
        Count, Field(description="drawn at random and never pruned; the others learn from them")
    ]
    warmup_epochs: Annotated[int, Field(ge=0, description="after which nothing is pruned yet")]
    overrides: Annotated[list[str], Field(description="of all trials, as on the command line")]
    ranges: Annotated[dict[str, Range], Field(min_length=1, description="by dotted keys")]

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> "Search":
        for key, one in self.ranges.items():
            if isinstance(one, Choice):
                if len({hydra_text(value) for value in one.values}) < len(one.values):
                    raise ValueError(f"ranges.{key}: a value stands there twice")
            elif one.low >= one.high:
                raise ValueError(f"ranges.{key}: low={one.low} must be below high={one.high}")
        return self

    @property
    def maximizes(self) -> bool:
        """Whether a higher value is the better one."""
        return self.objective.endswith("accuracy")


def applications() -> list[str]:
    """Return the applications that have a file of ranges."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(app: str, path: Path, overrides: list[str], trials: int | None) -> Search:
    """Return what a file of ranges says, with the overrides of the command line.

    A key that is given is not searched.

    Args:
        app: the application.
        path: the file.
        overrides: KEY=VALUEs for all trials, beside those of the file.
        trials: how many; None: as the file says.

    Raises:
        ConfigError: the file is missing or wrong, or nothing is left to search.
    """
    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict) or not isinstance(values.get("ranges"), dict):
        raise ConfigError(f"{path} has no ranges: see conf/sweep/mnist_cnn.yaml")
    given = {word.partition("=")[0] for word in overrides}
    ranges = {key: one for key, one in values["ranges"].items() if key not in given}
    if not ranges:
        raise ConfigError(f"every range of {path} is given on the command line: nothing to search")
    values |= {"app": app, "ranges": ranges}
    values["overrides"] = [*values.get("overrides", []), *overrides]
    try:
        return validated(values | ({} if trials is None else {"trials": trials}))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def validated(values: Mapping[str, Any]) -> Search:
    """Return the checked search.

    Raises:
        ConfigError: what is wrong with it.
    """
    return validate(Search, values)  # type: ignore[type-var]


def refuse_foreign(search: Search, schema: type[AppConfig]) -> None:
    """Refuse ranges that the application would not take, before anything is trained.

    Each end of each range is tried, the other keys as they are.

    Raises:
        ConfigError: an override or a range is of an unknown key, or leaves what the key may be.
    """
    values = config_from_overrides(search.app, schema, search.overrides).model_dump()
    known = list(flat_keys(values))
    for key, one in search.ranges.items():
        if key not in known:
            raise ConfigError(f"ranges: {unknown_key(key, known)}")
        for value in one.values if isinstance(one, Choice) else (one.low, one.high):
            try:
                if isinstance(value, str):  # it may be a file of a group, with many keys
                    word = f"{key}={hydra_text(value)}"
                    config_from_overrides(search.app, schema, [*search.overrides, word])
                else:
                    validate(schema, _changed(values, key, value))
            except ConfigError as error:
                raise ConfigError(f"ranges.{key}: {error}") from error


def _changed(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return nested dicts with another value under a dotted key."""
    first, _, rest = key.partition(".")
    return {**values, first: _changed(values[first], rest, value) if rest else value}
