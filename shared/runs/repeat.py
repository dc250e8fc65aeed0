"""The command that repeats a run: the overrides that differ from the defaults."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from shared import CONF
from shared.compose import compose
from shared.errors import ConfigError
from shared.nested import flat

# What starts Python here: the environment of `make install` need not be activated.
PYTHON = ".venv/bin/python" if Path(sys.prefix) == CONF.parent / ".venv" else "python"
# Strings that Hydra reads without quotes, and words that it would not read as strings.
PLAIN_STRING = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
RESERVED_WORDS = {"null", "true", "false", "nan", "inf"}
GROUPS = ("model", "data", "optimizer")


def app_command(app: str, overrides: Sequence[str]) -> str:
    """Return the shell command that starts an application with these overrides."""
    return shlex.join([PYTHON, "-m", f"apps.{app}", *overrides])


def rerun_overrides(values: Mapping[str, Any]) -> list[str]:
    """Return the overrides that compose to the configuration `values`.

    Args:
        values: nested dicts, lists and scalars, with every key of the application.

    Raises:
        ConfigError: the application, model, data set or optimizer does not exist, or a key is unknown
            or missing: another version of this code made the run.
    """
    app = values.get("app")
    if not isinstance(app, str) or not _exists("", app) or compose(app, ()).get("app") != app:
        raise ConfigError(f"there is no application {app}")
    choices = [f"debug={values['debug']}"] if values.get("debug") is not None else []
    for group in GROUPS:
        section = values.get(group)
        name = section.get("name") if isinstance(section, Mapping) else None
        if compose(app, tuple(choices))[group].get("name") != name:
            if not isinstance(name, str) or not _exists(group, name):
                raise ConfigError(f"there is no {group} {name}")
            choices.append(f"{group}={name}")
    defaults, wanted = flat(compose(app, tuple(choices))), flat(values)
    for one, other, what in ((wanted, defaults, "unknown"), (defaults, wanted, "missing")):
        if strange := [key for key in one if key not in other and key != "run_dir"]:
            raise ConfigError(f"made by another version: the key {strange[0]} is {what}")
    differing = [key for key in wanted if key != "run_dir" and wanted[key] != defaults[key]]
    return choices + [f"{key}={hydra_text(wanted[key])}" for key in differing]


def _exists(group: str, name: str) -> bool:
    """Return whether a group has a file of this name, which comes from an editable file."""
    return name in {path.stem for path in (CONF / group).glob("*.yaml")}


def hydra_text(value: Any) -> str:
    """Return a scalar or a list as text that Hydra's override grammar reads as the same value."""
    if isinstance(value, list):
        return f"[{','.join(map(hydra_text, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    if PLAIN_STRING.fullmatch(value) and value.lower() not in RESERVED_WORDS:
        return value
    escaped = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", value)
    return str(QuotedString(escaped, Quote.single).with_quotes())
