"""The cases: conf/regression/NAME.yaml, each an application at a size that fits."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, model_validator
from yaml import YAMLError  # type: ignore[import-untyped]  # OmegaConf lets it through

from accuracy_gate.plan import FEWEST, LOOKS
from shared.compose import CONF, HYDRA_VERSION_BASE
from shared.config import AppConfig, Count, Positive, Section, validate
from shared.errors import ConfigError
from shared.training.auto import resolve_auto

FOLDER = CONF / "regression"
SOURCES = ("real", "embedded")
# What results do not depend on: where things lie or are computed, and interruptions. The seed is
# each run's own.
ELSEWHERE = (
    "seed",
    "run_dir",
    "logger",
    "cache",
    "data.root",
    "data.cache",
    "data.download",
    "trainer.checkpoint_seconds",
    "trainer.resume",
    "trainer.device",
    "trainer.compile",
    "model.pooling",
)

Overrides = Annotated[list[str], Field(description="KEY=VALUE, as on the command line")]


class Case(Section):
    """One file of conf/regression."""

    app: Annotated[str, Field(pattern=r"^\w+$", description="the folder in apps/")]
    overrides: Overrides
    real: Annotated[
        list[str], Field(description="added for the real data; null as the fallback, never a sample")
    ]
    embedded: Annotated[
        list[str] | None, Field(description="added where the real data is missing; null: none")
    ]
    looks: Annotated[
        list[Count],
        Field(
            default_factory=lambda: list(LOOKS), min_length=1, description="after how many seeds to decide"
        ),
    ]
    limit_seconds: Annotated[Positive, Field(description="a longer run has failed")] = 300.0
    short: Annotated[bool, Field(description="whether case=short has it")] = False

    @model_validator(mode="after")
    def _looks_rise(self) -> "Case":
        if sorted(set(self.looks)) != self.looks or self.looks[-1] > FEWEST:
            raise ValueError(f"looks={self.looks} must rise and end at {FEWEST} or below")
        return self

    def config(self, source: str, seed: int, run_dir: Path) -> AppConfig:
        """Return the application's checked configuration.

        Args:
            source: real or embedded.
            seed: the run's.
            run_dir: the run folder.

        Raises:
            ConfigError: the application does not take it.
        """
        own = [*self.overrides, *((self.real if source == "real" else self.embedded) or [])]
        try:
            with hydra.initialize_config_dir(str(CONF), version_base=HYDRA_VERSION_BASE):
                composed = hydra.compose(self.app, overrides=own)
            OmegaConf.update(composed, "run_dir", str(run_dir))
            OmegaConf.update(composed, "seed", seed)
            values: Any = OmegaConf.to_container(composed, resolve=True)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigError(str(error).splitlines()[0]) from error
        schema = importlib.import_module(f"apps.{self.app}.config").Config
        config: AppConfig = validate(schema, values)
        return resolve_auto(config)

    def comparable(self, source: str) -> dict[str, Any]:
        """Return the part of the configuration that a baseline must share."""
        values = self.config(source, 0, Path("unused")).model_dump()
        for key in ELSEWHERE:
            section, _, last = key.rpartition(".")
            (values[section] if section else values).pop(last, None)
        return values


def names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all cases."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load(name: str, folder: Path = FOLDER) -> Case:
    """Return the case `name`.

    Raises:
        ConfigError: there is none, or its file is wrong.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"case={name}: there is no such case; choose from {', '.join(names())}")
    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(path))
        return validate(Case, values)  # type: ignore[type-var]
    except (ConfigError, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{path.name}: {error}") from error


def chosen(words: str | None, folder: Path = FOLDER) -> list[str]:
    """Return the cases that `case=` names: several with commas, all where it is not given.

    `short` names those with `short: true`: every application, as a pull request can wait for.

    Raises:
        ConfigError: there is no such case.
    """
    every: Sequence[str] = names(folder)
    if words == "short":
        return [name for name in every if load(name, folder).short]
    wanted = every if words in (None, "all") else str(words).split(",")
    for name in wanted:
        if name not in every:
            raise ConfigError(f"case={name}: there is no such case; choose from {', '.join(every)}")
    return list(dict.fromkeys(wanted))
