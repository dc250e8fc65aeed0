"""What `python -m apps.APP --help` prints: the choices, and every key with its value and meaning."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from shared import CONF
from shared.compose import config_from_overrides, read_yaml
from shared.config import AppConfig
from shared.config_errors import group_choices, literals
from shared.runs.repeat import hydra_text

FOOTER = """
hydra.run.dir=PATH sets the run folder; -m KEY=A,B runs each value in turn;
--hydra-help lists Hydra's own options.
exit status: 0 done, 2 wrong command or configuration, 3 data missing or damaged,
4 training diverged, 130 interrupted"""


def print_help(app: str, config_name: str, schema: type[AppConfig], overrides: Sequence[str]) -> None:
    """Print the form of the command line, the choices, and every key with its value and meaning.

    Raises:
        ConfigError: an override is wrong.
    """
    config = config_from_overrides(config_name, schema, overrides)
    print(f"usage: python -m apps.{app} [KEY=VALUE ...]\n\nchoices:")
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    for group in sorted(folders & schema.model_fields.keys()):  # conf/regression is no group
        print(f"  {group}={{{', '.join(group_choices(schema, group))}}}")
    files = sorted((CONF / "experiment").glob("*.yaml"))
    if experiments := [path.stem for path in files if read_yaml(path)["app"] == app]:
        print(f"  +experiment={{{', '.join(experiments)}}}  (docs/decks.md)")
    print("\nkeys, with their current values:")
    for key, value, meaning in key_table(config):
        print(f"  {f'{key}={hydra_text(value)}':<36}  {meaning}".rstrip())
    print(FOOTER)


def key_table(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted key, value, meaning) for every key of a configuration that can be overridden."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from key_table(value, f"{prefix}{name}.")
        elif name != "name" and f"{prefix}{name}" not in ("app", "run_dir"):
            choices = ", ".join(map(str, literals(field.annotation)))
            yield f"{prefix}{name}", value, f"{field.description}{f' [{choices}]' if choices else ''}"
