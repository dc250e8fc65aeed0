"""Digests of files."""

import hashlib
from pathlib import Path

from shared.errors import DataError


def check_digest(path: Path, expected: str | None) -> None:
    """Check how the SHA-256 digest of a file begins; None takes any.

    Raises:
        DataError: it begins otherwise, or the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if expected is not None and not found.startswith(expected):
        raise DataError(
            f"{path}: its SHA-256 digest begins with {found[: len(expected)]}, expected "
            f"{expected}: it is damaged or another file; delete it, or fetch it again"
        )
