"""A strict JSON reader: rejects whatever is not JSON or is ambiguous.

Python's own reader accepts numbers that no float can hold, and keeps the last value of a duplicate key.
"""

import json
import reprlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

LARGEST = 1e100  # sums and squares of larger numbers might overflow
DEEPEST = 50  # nested objects and lists; Python itself gives up after some hundreds


class InvalidResults(Exception):
    """The results cannot be read or compared; the message is one line for the user."""


def load(text: str | bytes, origin: str) -> Any:
    """Return the content of a JSON text.

    Args:
        text: the content of a file.
        origin: its name, for the messages.

    Raises:
        InvalidResults: the text is not JSON, or an object has a duplicate key.
    """

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise InvalidResults(f"{origin}: duplicate key {printable(key)}")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InvalidResults(f"{origin} is not JSON: {error}") from error


def expect(condition: bool, place: str, expected: str, value: Any) -> None:
    """Check a value.

    Raises:
        InvalidResults: `condition` is false.
    """
    if not condition:
        raise InvalidResults(f"{place} should be {expected} (given {reprlib.repr(value)})")


def is_number(value: Any) -> bool:
    """Whether a value is a finite number of a usual size; booleans are not numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number of a usual size."""
    return isinstance(value, int) and is_number(value)


def printable(key: Any) -> str:
    """Return a key for a message: unquoted if it is one short line."""
    text = str(key)
    return text if text.isprintable() and len(text) <= 40 else reprlib.repr(text)


def check_writable(value: Any, place: str, depth: int = 1) -> None:
    """Check that a value can be written as JSON again.

    Raises:
        InvalidResults: a number is not finite, or the value is nested too deeply.
    """
    if isinstance(value, dict | list):
        if depth > DEEPEST:
            raise InvalidResults(f"{place[:80]}: nested more than {DEEPEST} deep")
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            check_writable(inner, f"{place}.{printable(key)}", depth + 1)
    elif isinstance(value, float):
        expect(is_number(value), place, "a finite number, 1e100 at most", value)
