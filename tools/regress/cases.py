"""The cases: conf/regression/NAME.yaml, each an application at a small size.

A case runs on the real data or on the embedded sample. Each of these variants has a baseline of its own.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from omegaconf import OmegaConf
from pydantic import Field, model_validator

from accuracy_gate import Plan
from accuracy_gate.plan import LOOKS
from shared import CONF
from shared.compose import compose, read_yaml
from shared.config import AppConfig, Count, Positive, Section, validate
from shared.errors import ConfigError
from shared.runs.environment import ROOT
from shared.runs.resume import MAY_DIFFER
from shared.training.frameworks import resolve_auto
from tools import cli

FOLDER = CONF / "regression"
BASELINES = ROOT / "baselines"
MIN_BASELINE_SEEDS = 20
SHARE = Fraction(9, 20)  # of the false-alarm rate of a case, for each of accuracy and loss
# Keys that do not change results. Each run has its own seed, each machine its own folders.
IGNORED = (MAY_DIFFER - {"trainer.threads"}) | {"seed", "cache", "data.cache"}


class Case(Section):
    """One file of conf/regression."""

    app: Annotated[str, Field(pattern=r"^\w+$")]
    overrides: list[str]
    real: list[str]  # overrides added for the real data; they must forbid a fallback
    embedded: list[str] | None  # overrides added for the embedded sample; None: there is no sample
    looks: Annotated[list[Count], Field(default=list(LOOKS), min_length=1)]  # after how many seeds to decide
    limit_seconds: Positive = 300.0  # a run that takes longer has failed
    short: bool = False  # whether case=short includes it

    @model_validator(mode="after")
    def _looks_rise(self) -> "Case":
        if sorted(set(self.looks)) != self.looks or self.looks[-1] > MIN_BASELINE_SEEDS:
            raise ValueError(f"looks={self.looks} must rise and end at {MIN_BASELINE_SEEDS} or below")
        return self

    def config(self, source: str, seed: int, run_dir: Path) -> AppConfig:
        """Return the application's validated configuration for a source of data, real or embedded.

        Raises:
            ConfigError: the application does not accept it.
        """
        overrides = (*self.overrides, *((self.real if source == "real" else self.embedded) or []))
        composed = OmegaConf.create(compose(self.app, overrides) | {"seed": seed, "run_dir": str(run_dir)})
        values: Any = OmegaConf.to_container(composed, resolve=True)
        schema = importlib.import_module(f"apps.{self.app}.config").Config
        config: AppConfig = validate(schema, values)
        return resolve_auto(config)

    def comparable_config(self, source: str) -> dict[str, Any]:
        """Return the part of the configuration that a baseline must share; an older one lacks new keys."""
        values = self.config(source, 0, Path("unused")).model_dump(exclude_defaults=True)
        for key in IGNORED:
            section, _, last = key.rpartition(".")
            (values[section] if section else values).pop(last, None)
        return values


@dataclass(frozen=True)
class Variant:
    """A case on one source of data, real or embedded; `config` is what its baseline must share."""

    name: str
    source: str
    case: Case
    config: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The name of the variant in results."""
        return self.name if self.source == "real" else f"{self.name}.{self.source}"

    @property
    def baseline_path(self) -> Path:
        """The file of its baseline."""
        return BASELINES / self.source / f"{self.name}.json"

    def plan(self, baseline_seeds: int) -> Plan:
        """Return how to decide; new runs take the seeds of the baseline, in their order."""
        return Plan(baseline_seeds, len(case_names()), tuple(self.case.looks), paired=True)


def load_variants(name: str, sources: Sequence[str]) -> list[Variant]:
    """Return the variants of a case on these sources of data, with their configurations validated.

    A case without an embedded sample has only the real data, whatever the sources. Must not be called from
    several threads, because Hydra composes in only one.

    Raises:
        ConfigError: the case is wrong, or could never fail.
    """
    case = load_case(name)
    variants = []
    for source in sources if case.embedded is not None else ("real",):
        try:
            variant = Variant(name, source, case, case.comparable_config(source))
            if not variant.plan(MIN_BASELINE_SEEDS).can_fail(SHARE):
                raise ConfigError(f"looks={case.looks} are too few seeds ever to fail")
        except ConfigError as error:
            raise ConfigError(f"{name}.yaml, {source} data: {error}") from error
        variants.append(variant)
    return variants


def case_names() -> list[str]:
    """Return the names of all cases."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_case(name: str) -> Case:
    """Return a case.

    Raises:
        ConfigError: there is no such case, or its file is wrong.
    """
    values = read_yaml(FOLDER / f"{name}.yaml")
    try:
        return validate(Case, values)
    except ConfigError as error:
        raise ConfigError(f"{name}.yaml: {error}") from error


def select_cases(names: str | None) -> list[str]:
    """Return the cases that `case=` names: several with commas, `all`, or `short` for a pull request.

    Raises:
        ConfigError: there is no such case.
    """
    known = case_names()
    if names == "short":
        return [name for name in known if load_case(name).short]
    selected = known if names in (None, "all") else str(names).split(",")
    for name in selected:
        cli.check_choice("case", name, known)
    return list(dict.fromkeys(selected))
