"""Write files atomically; digests of files."""

import hashlib
import os
import uuid
from pathlib import Path


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
