"""Write files atomically, and verify them by their SHA-256 digests."""

import hashlib
import os
import uuid
from pathlib import Path

from shared.errors import DataError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step: a reader, or a power failure, never finds half of it.

    Raises:
        OSError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def relative_path(path: Path) -> Path:
    """Return a path below the working folder relative to it, and any other as it is, to be printed."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def sha256_of(content: bytes | Path) -> str:
    """Return the SHA-256 digest of bytes, or of the file at a path, as 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with open(content, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
