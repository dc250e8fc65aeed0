"""Compose a configuration from `conf/` with Hydra, without a run folder."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]  # OmegaConf lets it through

from shared import CONF
from shared.config import AnyAppConfig, validate
from shared.errors import ConfigError


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


@contextlib.contextmanager
def hydra_initialized() -> Iterator[None]:
    """Let `hydra.compose` read `conf/` in this block, also where a notebook has initialized Hydra itself."""
    singleton = GlobalHydra.instance()
    before = singleton.hydra
    singleton.clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


@cache
def compose(app: str, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return an application's configuration with these overrides; interpolations stay unresolved.

    Raises:
        ConfigError: Hydra cannot compose it.
    """
    try:
        with hydra_initialized():
            composed = hydra.compose(app, overrides=list(overrides))
            return cast(dict[str, Any], OmegaConf.to_container(composed))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(str(error).splitlines()[0]) from error


def config_from_overrides(app: str, schema: type[AnyAppConfig], overrides: Sequence[str]) -> AnyAppConfig:
    """Return the validated configuration of a command line.

    Raises:
        ConfigError: as on that command line.
    """
    try:
        values = compose(app, tuple(overrides))
    except ConfigError as error:
        from shared.config_errors import composition_error

        raise composition_error(schema, error.__cause__ or error, overrides) from error
    return validate(schema, values, overrides)
