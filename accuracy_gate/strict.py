"""JSON as anybody writes it, read strictly: what is no JSON or has two meanings is refused.

Python's own reader takes NaN for a number, numbers that no float can hold, and of a key that is
there twice the last one.
"""

import json
import reprlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from shared.errors import ConfigError

LARGEST = 1e100  # sums and squares of larger numbers might not be finite
DEEPEST = 50  # objects and lists within each other; beyond some hundreds Python itself gives up


def load(text: str | bytes, origin: str) -> Any:
    """Return what a JSON text says.

    Args:
        text: the content of a file.
        origin: its name, for the messages.

    Raises:
        ConfigError: it is not JSON, or a key is there twice in an object.
    """

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise ConfigError(f"{origin}: the key {named(key)} is there twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{origin} is not JSON: {error}") from error


def expect(right: bool, place: str, what: str, value: Any) -> None:
    """Refuse a value that is not what it should be.

    Raises:
        ConfigError: `right` is false.
    """
    if not right:
        raise ConfigError(f"{place} should be {what} (given {reprlib.repr(value)})")


def is_number(value: Any) -> bool:
    """Whether it is a number that can be computed with; NaN, infinity, true and false are none."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and abs(value) <= LARGEST


def is_whole(value: Any) -> bool:
    """Whether it is a whole number that can be computed with."""
    return isinstance(value, int) and is_number(value)


def named(key: Any) -> str:
    """Return a key as a message shows it: as it is where that is one short line."""
    text = str(key)
    return text if text.isprintable() and len(text) <= 40 else reprlib.repr(text)


def check_writable(value: Any, place: str, depth: int = 1) -> None:
    """Refuse what could not be written as JSON again.

    Raises:
        ConfigError: a number is not finite, or it is nested too deep.
    """
    if isinstance(value, dict | list):
        if depth > DEEPEST:
            raise ConfigError(f"{place[:80]}: nested more than {DEEPEST} deep")
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            check_writable(inner, f"{place}.{named(key)}", depth + 1)
    elif isinstance(value, float):
        expect(is_number(value), place, "a finite number, 1e100 at most", value)
