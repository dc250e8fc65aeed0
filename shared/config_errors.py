"""What is wrong with a configuration, in one or two lines."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.errors import MissingConfigException
from pydantic import BaseModel, ValidationError

from shared.config import AppConfig, schema_keys, section_choices
from shared.errors import ConfigError


def describe(schema: type[BaseModel], error: ValidationError, values: Mapping[str, Any]) -> str:
    """Return a line for each of the first two errors that pydantic found: key, rule and value."""
    lines = [_describe(schema, fault, values) for fault in error.errors(include_url=False)]
    return "\n".join(lines[:2]) + (f" (and {len(lines) - 2} more)" if len(lines) > 2 else "")


def _describe(schema: type[BaseModel], fault: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return one line about what pydantic found."""
    if fault["type"] == "value_error":  # from one of our own validators, which name their keys
        return str(fault["ctx"]["error"])
    key = _dotted_key(fault["loc"], values)
    if fault["type"] == "extra_forbidden":
        return unknown_schema_key(schema, key)
    if fault["type"] == "missing":
        return f"{key} is missing"
    rule = fault["msg"].removeprefix("Input ")
    return f"{key} {rule[0].lower()}{rule[1:]} (given {key}={fault['input']})"


def _dotted_key(location: Sequence[str | int], values: Any) -> str:
    """Return a pydantic location as a dotted key, without the names of union members in it."""
    parts = []
    in_union = False
    for step, part in enumerate(location):
        if isinstance(values, Mapping) and part == values.get("name") and not in_union:
            in_union = True  # the name of a union member, such as `momentum`, not a key
            continue
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list):
            values = values[int(part)]
        elif step < len(location) - 1:
            continue
        parts.append(str(part))
    return ".".join(parts)


def unknown_schema_key(schema: type[BaseModel], key: str) -> str:
    """Return the message that a configuration has no such key; it may belong to another choice."""
    group, _, name = key.partition(".")
    if choices := section_choices(schema, group, name):
        return f"unknown key {key!r} (it belongs to {group}={', '.join(choices)})"
    return unknown_key(key, schema_keys(schema))


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the message that there is no such key, with the closest of the known ones."""
    known = list(dict.fromkeys(known))
    section, _, last = key.rpartition(".")
    # `lr` means `optimizer.lr`: a name without its section is close to the key that ends with it.
    by_last_name = {name.rpartition(".")[2]: name for name in known}
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    close_last = difflib.get_close_matches(last, by_last_name, n=1, cutoff=0.8)
    siblings = [name for name in known if section and name.rpartition(".")[0] == section]
    if close or close_last:
        hint = f"did you mean {close[0] if close else by_last_name[close_last[0]]!r}?"
    else:
        hint = f"the keys here are {', '.join(siblings)}" if siblings else "--help lists all keys"
    return f"unknown key {key!r} ({hint})"


def composition_error(schema: type[AppConfig], error: BaseException) -> ConfigError:
    """Return the error to show for one that Hydra raised."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        own = section_choices(schema, group, "name")
        choices = [option for option in error.options if option in own] or error.options
        return ConfigError(f"unknown {group} {name!r}; choose from {', '.join(choices)}")
    key = getattr(error.__cause__, "full_key", None)
    if not key:
        return ConfigError(str(error).splitlines()[0])
    return ConfigError(unknown_schema_key(schema, key))
