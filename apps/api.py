"""Train from Python as `python -m apps.NAME` does, in this process.

from apps.api import compose, train
metrics = train(compose("mnist_cnn", ["optimizer.lr=0.01"]))
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from shared.cli import validate_job
from shared.compose import hydra_initialized
from shared.config import AppConfig
from shared.config_errors import composition_error
from shared.errors import ConfigError


def compose(app: str, overrides: Sequence[str] = ()) -> AppConfig:
    """Return the validated configuration of a command line.

    The run folder is a new one in outputs/, or the one that the override `hydra.run.dir=PATH` names.

    Raises:
        ConfigError: as on that command line.
    """
    schema = schema_of(app)
    try:
        with hydra_initialized():
            composed = hydra.compose(app, list(overrides), return_hydra_config=True)
            folder = Path(composed.hydra.run.dir).absolute()
    except (HydraException, OmegaConfBaseException) as error:
        raise composition_error(schema, error, overrides) from error
    with open_dict(composed):
        del composed["hydra"]
    composed.run_dir = str(folder)
    return validate_job(schema, composed, overrides)


def train(config: AppConfig | DictConfig) -> dict[str, Any]:
    """Train once with what `compose` or `hydra.compose` returned; return the content of metrics.json.

    Raises:
        SuiteError: what ends that command with an error.
    """
    if isinstance(config, DictConfig):
        if OmegaConf.is_interpolation(config, "run_dir"):  # ${hydra:...}, which only a command sets
            config = config.copy()
            config.run_dir = compose(config.app).run_dir
        config = validate_job(schema_of(config.app), config, ())
    metrics: dict[str, Any] = importlib.import_module(f"apps.{config.app}.train").train(config)
    return metrics


def schema_of(app: str) -> type[AppConfig]:
    """Return the `Config` of an application.

    Raises:
        ConfigError: there is no such application.
    """
    names = sorted(path.parent.name for path in Path(__file__).parent.glob("*/config.py"))
    if app not in names:
        raise ConfigError(f"unknown application {app!r}; choose from {', '.join(names)}")
    schema: type[AppConfig] = importlib.import_module(f"apps.{app}.config").Config
    return schema
