"""What a configuration may hold, and what is wrong with one, in one or two lines."""

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import MissingConfigException, OverrideParseException
from pydantic import BaseModel, ValidationError

from shared import CONF
from shared.errors import ConfigError

NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?", re.IGNORECASE)
LAUNCHERS = {"joblib", "ray", "rq", "submitit"}  # Hydra's, each a package of its own


def validation_error(
    schema: type[BaseModel], error: ValidationError, values: Mapping[str, Any], overrides: Sequence[str]
) -> ConfigError:
    """Return the error to show for what pydantic found: a line for each of the first two faults.

    Raises:
        ConfigError: `check_overrides` finds the cause on the command line.
    """
    check_overrides(schema, overrides)
    applications = literals(schema.model_fields["app"].annotation) if "app" in schema.model_fields else []
    if applications and values.get("app") not in applications:
        app, own = values.get("app"), applications[0]
        return ConfigError(f"this configuration is for {app}, not {own}: start python -m apps.{app}")
    lines = [_describe(schema, fault, values) for fault in error.errors(include_url=False)]
    return ConfigError("\n".join(lines[:2]) + (f" (and {len(lines) - 2} more)" if len(lines) > 2 else ""))


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
    found = f"{key} {rule[0].lower()}{rule[1:]} (given {key}={fault['input']})"
    if isinstance(fault["input"], str) and NUMBER.fullmatch(fault["input"]):
        found += f"; it is a string: convert it with oc.decode, or let the shell expand it: {key}=$NAME"
    return found


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


def unknown_choice(group: str, name: str, choices: Sequence[str]) -> str:
    """Return the message that a group has no such file, with the closest of the choices."""
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown {group} {name!r}{hint}; choose from {', '.join(choices)}"


def composition_error(
    schema: type[BaseModel], error: BaseException, overrides: Sequence[str], multirun: bool = False
) -> ConfigError:
    """Return the error to show for one that Hydra raised.

    Raises:
        ConfigError: `check_overrides` finds the cause on the command line.
    """
    if isinstance(error, OSError) and error.filename is not None:
        return ConfigError(
            f"cannot create the run folder {error.filename}: {error.strerror}; "
            f"choose another with hydra.{'sweep' if multirun else 'run'}.dir=PATH"
        )
    check_overrides(schema, overrides, multirun)
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if group == "hydra/launcher" and (plugin := name.partition("_")[0]) in LAUNCHERS:
            install = f".venv/bin/pip install hydra-{plugin}-launcher"
            return ConfigError(f"the plugin of {group}={name} is not installed; run {install}")
        own = section_choices(schema, group, "name")
        choices = [option for option in error.options if option in own] or error.options
        return ConfigError(unknown_choice(group, name, choices))
    key = getattr(error.__cause__, "full_key", None)
    if key:
        return ConfigError(unknown_schema_key(schema, key))
    lines = str(error).splitlines()[:2]  # the second may say what to do
    return ConfigError("\n".join(line for line in lines if line and not line[0].isspace()) or repr(error))


def check_overrides(schema: type[BaseModel], overrides: Sequence[str], multirun: bool = False) -> None:
    """Check overrides one by one; with `multirun` a key may have several values, one for each job.

    Raises:
        ConfigError: one cannot be parsed, names a key or a choice that the application does not have,
            or has several values.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        key, equals, value = str(error.override).partition("=")
        quoted = f"{key}={QuotedString(value, Quote.single).with_quotes()}"
        quoted = shlex.quote(quoted) if set(quoted) & set('"$`!') else f'"{quoted}"'
        hint = f"quote special characters in a value twice: {quoted}"
        hint = hint if equals else "an override is KEY=VALUE, as in optimizer.lr=0.01"
        raise ConfigError(f"cannot read {error.override!r}: {hint}") from error
    known = list(schema_keys(schema))
    multirun |= any(override.key_or_group == "hydra.mode" for override in parsed)
    for override in parsed:
        key = override.key_or_group
        if override.is_hydra_override():
            continue
        # A name without a dot may be a group of --config-dir; for that, Hydra has to compose.
        if "." in key and re.sub(r"(\.\d+|\[\d+\])+$", "", key) not in known:
            raise ConfigError(unknown_schema_key(schema, key))
        for value in _values_of(override) if key in schema.model_fields and (CONF / key).is_dir() else ():
            exists = not isinstance(value, str) or (CONF / key / f"{value}.yaml").is_file()
            if exists and value not in group_choices(schema, key):
                name = "null" if value is None else str(value)
                raise ConfigError(unknown_choice(key, name, group_choices(schema, key)))
        if override.is_sweep_override() and not multirun:
            raise ConfigError(f"{override.input_line} holds several values: add -m (with make: ARGS=-m)")


def _values_of(override: Override) -> Iterator[Any]:
    """Yield what a group is to be set to: several names with -m, none where its keys are given as a dict."""
    if override.is_choice_sweep():
        yield from override.sweep_string_iterator()
    elif not override.is_delete() and not override.is_sweep_override():
        value = override.value()
        yield from () if isinstance(value, dict) else (value,)


def group_choices(schema: type[BaseModel], group: str) -> list[str]:
    """Return the files of a config group, without the models and data sets of other applications."""
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    own = section_choices(schema, group, "name")
    return [name for name in names if name in own or not own]


def sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a field can hold: one, the members of a union, or none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for member in get_args(annotation) for section in sections(member)]


def literals(annotation: Any) -> list[Any]:
    """Return the values that a Literal, or a union with one in it, allows."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for member in get_args(annotation) for value in literals(member)]


def schema_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every dotted key that a schema knows, sections and all members of unions included."""
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}"
        for section in sections(field.annotation):
            yield from schema_keys(section, f"{prefix}{name}.")


def section_choices(schema: type[BaseModel], field: str, key: str) -> list[str]:
    """Return the names of those members of a union that have a key: momentum for optimizer, nesterov."""
    members = sections(schema.model_fields[field].annotation) if field in schema.model_fields else []
    return [
        name
        for section in members
        if {"name", key} <= section.model_fields.keys()
        for name in literals(section.model_fields["name"].annotation)
    ]
