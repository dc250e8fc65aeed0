"""The command line of every tool: its parser, its KEY=VALUE words and its exit status."""

import argparse
import difflib
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from shared import console
from shared.errors import INTERRUPTED_STATUS, ConfigError, SuiteError

FAILED_CHECK = 5  # exit status: an accuracy or equality check failed


def parser(tool: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m tools.TOOL`; --help prints the description as it stands."""
    return argparse.ArgumentParser(
        prog=f"python -m tools.{tool}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(action: Callable[[], int | None], treat_kills_as_ctrl_c: bool = False) -> int:
    """Run `action` and return the exit status of the tool: what it returns, or 0 for None.

    A SuiteError is printed in one or two lines and gives its own status; Ctrl-C gives 130. With
    `treat_kills_as_ctrl_c`, SIGTERM and SIGHUP end the tool as Ctrl-C does.
    """
    console.ignore_closed_output()
    if treat_kills_as_ctrl_c:
        console.treat_kills_as_ctrl_c()
    try:
        try:
            return action() or 0
        except ModuleNotFoundError as error:
            from shared.extras import check_module

            check_module(error)
            raise
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.status
    except KeyboardInterrupt as interrupt:
        print(f"interrupted{': ' if interrupt.args else ''}{interrupt}", file=sys.stderr)
        return INTERRUPTED_STATUS


def parse_keys(words: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Return the KEY=VALUE words of a command as a dict.

    Raises:
        ConfigError: a key is unknown or given twice, or a word has no value.
    """
    keys: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            from shared.config_errors import unknown_key  # imports Hydra, which most tools do not need

            raise ConfigError(unknown_key(key, known))
        if key in keys:
            raise ConfigError(f"{key}= is given twice")
        if not value:
            raise ConfigError(f"cannot read {word!r}: give it as {key}=VALUE")
        keys[key] = value
    return keys


def create_folder(folder: Path) -> Path:
    """Create the folder of the results, unless it exists and is empty; return it.

    Raises:
        ConfigError: it has files in it, or cannot be created.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; choose another folder with out=FOLDER")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create {folder}: {error.strerror}; give out=FOLDER") from error
    return folder


def parse_count(keys: Mapping[str, str], key: str, default: int, least: int = 1) -> int:
    """Return the whole number that `keys` holds under `key`, or the default.

    Raises:
        ConfigError: it is not a whole number from `least` to a billion.
    """
    text = keys.get(key, str(default))
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) < least:
        wanted = f"a whole number, {least} or more" if len(text) < 10 else "below a billion"
        raise ConfigError(f"{key} should be {wanted} (given {key}={text:.40})")
    return int(text)


def check_choice(what: str, name: str, choices: Collection[str]) -> None:
    """Check that there is a `what` called `name`.

    Raises:
        ConfigError: there is none; the message names the closest choice, or all of them.
    """
    if name not in choices:
        by_lower = {choice.lower(): choice for choice in choices}
        close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
        hint = f" (did you mean {by_lower[close[0]]!r}?)" if close else f"; choose from {', '.join(choices)}"
        raise ConfigError(f"unknown {what} {name!r}{hint}")
