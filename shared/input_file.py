"""Read files whole, and verify them by their SHA-256 digests."""

from pathlib import Path

from shared.errors import DataError
from shared.files import sha256_of


def read_file(path: Path) -> bytes:
    """Return the content of a file, or raise DataError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def read_verified(path: Path, sha256: str | None) -> bytes:
    """Return the content of a file with this SHA-256 digest, or one that begins so.

    Raises:
        DataError: the file cannot be read, or has another digest; None and "" match no file.
    """
    content = read_file(path)
    digest = sha256_of(content)
    if not sha256 or not digest.startswith(sha256):
        raise DataError(
            f"{path} is damaged or another file: its SHA-256 digest is {digest[:16]}..., "
            f"expected {sha256 or 'none'}"
        )
    return content
