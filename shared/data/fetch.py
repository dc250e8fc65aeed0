"""Gets the files of a data set from the cache, a folder of archives, or the network, in this order.

A file is used only if its content has the MD5 digest that was published for it. (MD5 detects damage
here, not attacks; it is what the authors of the data sets published.) A verified file is moved into
the cache in one step and under a lock: a killed process, a full disk or a second process never
leaves half a file that is later taken for a whole one.
"""

import gzip
import hashlib
import http.client
import io
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from shared.errors import DataError
from shared.files import write_atomically

NETWORK_TIMEOUT = 10.0  # seconds without a byte
LOCK_PATIENCE = 1.0  # seconds of waiting for another process before saying so
CHUNK = 1 << 16  # bytes
OVERSIZE = 4  # limit of a download, in multiples of its published size: mirrors compress differently


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set: NAME in the cache, NAME or NAME.gz in the archives and at the mirrors."""

    name: str
    size: int  # bytes, decompressed
    md5: str  # the published hexadecimal digest of the decompressed content
    gzip_size: int | None = None  # bytes of the published NAME.gz; None: it is published as it is

    @property
    def remote_name(self) -> str:
        """Its name in the archives and at the mirrors."""
        return f"{self.name}.gz" if self.gzip_size else self.name

    @property
    def download_size(self) -> int:
        """Bytes of the published file."""
        return self.gzip_size or self.size


@dataclass(frozen=True)
class FileSet:
    """The files of a data set, as its authors publish them."""

    name: str  # of its folder in the cache and in the archives
    title: str  # its name in messages
    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]  # URLs, each ending in `/`, where every file can be downloaded, tried in order


def archives_folder() -> Path | None:
    """Return the folder that the environment variable `DATA_ARCHIVES` names, None if it is empty or unset."""
    folder = os.environ.get("DATA_ARCHIVES", "")
    return Path(folder) if folder else None


def fetch(file_set: FileSet, root: Path, download: bool = True) -> tuple[dict[str, bytes], str]:
    """Return the verified content of every file of a data set by name, and where it came from.

    Files that are not in the cache are added to it. Damaged files and failing mirrors are reported
    on the screen, and the next place is tried; so is a cache that cannot be written.

    Args:
        root: the cache; the files are in `root/NAME`.
        download: whether the network may be used. A download is announced before it starts.

    Raises:
        DataError: a file is in none of the places.
    """
    folder, archives = root / file_set.name, archives_folder()
    cache = _Place(f"cache {folder}", f"{folder}/", unpacked=True)
    try:
        return {file.name: cache.read(file) for file in file_set.files}, cache.name
    except (FileNotFoundError, _Unusable):
        pass  # tried again under the lock: another process may be filling the cache right now
    places, closed = [cache], []
    if archives is not None:
        places.append(_Place(f"archives {archives / file_set.name}", f"{archives / file_set.name}/"))
    else:
        closed.append("archives: DATA_ARCHIVES is not set")
    if download:
        places += [_Place(f"network {url}", url, online=True) for url in file_set.mirrors]
    else:
        closed.append("network: downloads are off")
    with _lock(folder) as writable:
        return _search(file_set, places, closed, folder if writable else None)


def _search(
    file_set: FileSet, places: "list[_Place]", closed: list[str], cache: Path | None
) -> tuple[dict[str, bytes], str]:
    """Take from each place what the ones before it lack, and keep it in the cache if there is one.

    `closed` says which places cannot be used.
    """
    contents: dict[str, bytes] = {}
    sources, tried = [], []
    for place in places:
        wanted = [file for file in file_set.files if file.name not in contents]
        if place.online and wanted:
            megabytes = sum(file.download_size for file in wanted) / 1e6
            size = f"{len(wanted)} file{'s' * (len(wanted) > 1)}, {megabytes:.1f} MB"
            print(f"downloading {file_set.title} from {place.address}: {size}", flush=True)
        problems = []
        for file in wanted:
            try:
                contents[file.name] = place.read(file)
            except FileNotFoundError:  # not reported: an empty cache is no news
                problems.append("not there")
            except _Unreachable as error:
                print(f"{place.name}: {error}")
                problems.append(str(error))
                break
            except _Unusable as error:
                print(f"{place.address}{place.name_of(file)}: {error}")
                problems.append(f"{file.name}: {error}")
            else:
                sources.append(place.name)
                if cache is not None and not place.unpacked:
                    cache = _write(cache, file.name, contents[file.name])
        if problems:
            tried.append(f"{place.name}: {', '.join(dict.fromkeys(problems))}")
    missing = [f"{file_set.name}/{file.remote_name}" for file in file_set.files if file.name not in contents]
    if missing:
        raise DataError(
            f"cannot get {file_set.title}: {'; '.join(tried + closed)}\n"
            "allow the download, or set the environment variable DATA_ARCHIVES to a folder "
            f"that contains {', '.join(missing)}"
        )
    return contents, ", ".join(dict.fromkeys(sources))


class _Unusable(Exception):
    """The place has the file, but not as it was published, or cannot deliver it."""


class _Unreachable(Exception):
    """The server cannot be reached; it need not be asked for other files."""


@dataclass(frozen=True)
class _Place:
    """Where files may be: `name` in messages; `address`, a folder or URL with its final `/`."""

    name: str
    address: str
    unpacked: bool = False
    online: bool = False

    def name_of(self, file: RemoteFile) -> str:
        return file.name if self.unpacked else file.remote_name

    def read(self, file: RemoteFile) -> bytes:
        """Return the decompressed content of a file, verified.

        Raises:
            FileNotFoundError, _Unusable, _Unreachable: see there.
        """
        location = f"{self.address}{self.name_of(file)}"
        content = _download(location, file) if self.online else _read_local(location)
        if file.gzip_size and not self.unpacked:
            try:
                content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(file.size + 1)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise _Unusable(f"damaged gzip file ({error})") from error
        if len(content) < file.size:
            raise _Unusable(f"too short, {len(content):,} of {file.size:,} bytes")
        if len(content) > file.size:
            raise _Unusable(f"too long, more than {file.size:,} bytes")
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 != file.md5:
            raise _Unusable(f"damaged, its MD5 digest is {md5}, expected {file.md5}")
        return content


def _read_local(location: str) -> bytes:
    try:
        return Path(location).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(location) from error
    except OSError as error:
        raise _Unusable(f"cannot be read ({error.strerror})") from error


def _download(url: str, file: RemoteFile) -> bytes:
    """Return what the server sends, with a progress bar on a terminal."""
    from rich import get_console
    from rich.progress import wrap_file

    limit, received = OVERSIZE * file.download_size, bytearray()
    bar: Any = {"description": file.name, "transient": True, "disable": not get_console().is_terminal}
    try:
        with (
            urllib.request.urlopen(url, timeout=NETWORK_TIMEOUT) as response,
            wrap_file(response, file.download_size, **bar) as stream,
        ):
            while chunk := stream.read(CHUNK):
                received += chunk
                if len(received) > limit:
                    raise _Unusable(f"the server sends more than {limit:,} bytes")
    except urllib.error.HTTPError as error:
        error.close()
        raise _Unusable(f"the server answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise _Unreachable(f"cannot be reached ({_reason(error)})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Unusable(f"the transfer was interrupted ({_reason(error)})") from error
    return bytes(received)


def _reason(error: BaseException) -> str:
    """Return what went wrong in the system's words, without error numbers and paths."""
    if isinstance(error, urllib.error.URLError):
        return error.reason if isinstance(error.reason, str) else _reason(error.reason)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextmanager
def _lock(cache: Path) -> Iterator[bool]:
    """Hold the lock of a cache folder; yield whether the folder can be written."""
    lock, writable = FileLock(cache.with_name(f"{cache.name}.lock")), True
    try:
        cache.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=LOCK_PATIENCE)
        except Timeout:
            print(f"{cache}: another process is filling this folder; waiting for it", flush=True)
            lock.acquire()
        for leftover in cache.glob(".*.tmp"):  # of write_atomically in a killed process
            leftover.unlink()
    except OSError as error:
        writable = False
        _report_unwritable(cache, error)
    try:
        yield writable
    finally:
        lock.release()


def _write(cache: Path, name: str, content: bytes) -> Path | None:
    """Write a file to the cache; return the cache, or None if it cannot be written."""
    try:
        write_atomically(cache / name, content)
    except OSError as error:
        _report_unwritable(cache, error)
        return None
    return cache


def _report_unwritable(cache: Path, error: OSError) -> None:
    print(f"{cache}: cannot be written ({_reason(error)}); continuing without the cache")
