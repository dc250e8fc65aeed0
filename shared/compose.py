"""Compose a configuration from `conf/` with Hydra, and report a wrong override in one line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from yaml import YAMLError  # type: ignore[import-untyped]  # OmegaConf lets it through

from shared.config import AnyAppConfig, AnySection, AppConfig, schema_keys, section_choices
from shared.errors import ConfigError

CONF = Path(__file__).parents[1] / "conf"
HYDRA_VERSION_BASE = "1.3"


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        ConfigError: it is missing or damaged.
    """
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
        shown = path.relative_to(CONF.parent) if path.is_relative_to(CONF) else path
        raise ConfigError(f"{shown} cannot be read: {str(error).splitlines()[0]}") from error


@cache
def compose(app: str, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return an application's configuration with these overrides; interpolations stay unresolved.

    Raises:
        ConfigError: Hydra cannot compose it.
    """
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base=HYDRA_VERSION_BASE):
            values: Any = OmegaConf.to_container(hydra.compose(app, overrides=list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    return dict(values)


def config_from_overrides(app: str, schema: type[AnyAppConfig], overrides: Sequence[str]) -> AnyAppConfig:
    """Return the validated configuration of a command line, without a run folder.

    Raises:
        ConfigError: as on that command line.
    """
    check_overrides(schema, overrides)
    try:
        values = compose(app, tuple(overrides))
    except ConfigError as error:
        from shared.config_errors import composition_error

        raise composition_error(schema, error.__cause__ or error) from error
    return validate(schema, values)


def validate(schema: type[AnySection], values: Mapping[str, Any]) -> AnySection:
    """Return the validated configuration.

    Args:
        schema: the application's `Config`, say.
        values: nested dicts and lists, as Hydra composed and resolved them.

    Raises:
        ConfigError: one line for each of the first two errors: the key, the rule and the value.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        from shared.config_errors import describe

        raise ConfigError(describe(schema, error, values)) from None


def check_overrides(schema: type[AppConfig], overrides: Sequence[str], multirun: bool = False) -> None:
    """Check overrides before Hydra composes them.

    Args:
        schema: the application's `Config`.
        overrides: KEY=VALUE words of Hydra's grammar.
        multirun: whether a key may have several values, one for each job.

    Raises:
        ConfigError: one cannot be parsed, names a key or a choice that the application does not have,
            or has several values.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise ConfigError(
            f"cannot read {error.override!r}: an override is KEY=VALUE, as in optimizer.lr=0.01"
        ) from error
    known = list(schema_keys(schema))
    multirun |= any(override.key_or_group == "hydra.mode" for override in parsed)
    for override in parsed:
        key = override.key_or_group
        if override.is_hydra_override():
            continue
        # A name without a dot may be a group of --config-dir; for that, Hydra has to compose.
        if "." in key and re.sub(r"(\.\d+|\[\d+\])+$", "", key) not in known:
            from shared.config_errors import unknown_schema_key

            raise ConfigError(unknown_schema_key(schema, key))
        for value in _values_of(override) if key in schema.model_fields and (CONF / key).is_dir() else ():
            exists = not isinstance(value, str) or (CONF / key / f"{value}.yaml").is_file()
            if exists and value not in group_choices(schema, key):
                name = "null" if value is None else str(value)
                choices = ", ".join(group_choices(schema, key))
                raise ConfigError(f"unknown {key} {name!r}; choose from {choices}")
        if override.is_sweep_override() and not multirun:
            raise ConfigError(f"{override.input_line} holds several values: add -m to run each in turn")


def _values_of(override: Override) -> Iterator[Any]:
    """Yield what a group is to be set to: several names with -m, none where its keys are given as a dict."""
    if override.is_choice_sweep():
        yield from override.sweep_string_iterator()
    elif not override.is_delete() and not override.is_sweep_override():
        value = override.value()
        yield from () if isinstance(value, dict | list) else (value,)


def group_choices(schema: type[AppConfig], group: str) -> list[str]:
    """Return the files of a config group, without the models and data sets of other applications."""
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    own = section_choices(schema, group, "name")
    return [name for name in names if name in own or not own]
