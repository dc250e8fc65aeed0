"""Gets a data set's files from the cache, a folder of archives, or the network, in this order.

Nothing is used before its content has the MD5 digest that was published for it. (MD5 guards against
damage here, and it is what the authors of the data sets published.) A verified file moves into the
cache in one step and under a lock, so that a killed process, a full disk or a second process never
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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from shared.errors import DataError
from shared.files import write_atomically

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]

NETWORK_TIMEOUT = 10.0  # seconds without a byte
LOCK_PATIENCE = 1.0  # seconds of waiting for another process before saying so
CHUNK = 1 << 16  # bytes
OVERSIZE = 4  # how many times its expected size a download may have: mirrors compress differently


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set: NAME in the cache, NAME.gz in the archives and at the mirrors.

    Attributes:
        name: The file's name, decompressed.
        size: Bytes, decompressed.
        md5: The published hex digest of the decompressed content.
        download_size: Bytes of the published NAME.gz; announced before a download, and times
            `OVERSIZE` the most that is received.
        packed: False for a file that is NAME everywhere and kept as it is.
    """

    name: str
    size: int
    md5: str
    download_size: int
    packed: bool = True

    @property
    def remote_name(self) -> str:
        """Its name in the archives and at the mirrors."""
        return f"{self.name}.gz" if self.packed else self.name


@dataclass(frozen=True)
class FileSet:
    """The files that make up a data set, as its authors publish them.

    Attributes:
        name: The name of its folder in the cache and in the archives.
        title: Its name in messages.
        files: Its files.
        mirrors: URLs (http or https), each ending in `/`, that have every NAME.gz; tried in
            this order.
    """

    name: str
    title: str
    files: tuple[SourceFile, ...]
    mirrors: tuple[str, ...]


@dataclass(frozen=True)
class Obtained:
    """The verified content of each file by its name, and in plain words where it came from."""

    contents: dict[str, bytes]
    source: str


def archives_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder that `DATA_ARCHIVES` names, or None where it is unset or empty."""
    folder = environment.get("DATA_ARCHIVES", "")
    return Path(folder) if folder else None


def obtain(
    file_set: FileSet,
    root: Path,
    archives: Path | None,
    download: bool = True,
    say: Say = print,
    progress: Progress | None = None,
) -> Obtained:
    """Return the verified content of every file of `file_set`, and fill the cache with it.

    A damaged file is named through `say` and taken from the next place. A cache that cannot be
    written costs a notice, no more.

    Args:
        file_set: What to get.
        root: The cache; the files lie in `root/NAME`.
        archives: A folder with `NAME/FILE.gz`, or None.
        download: Whether the network may be asked. A download is announced before it starts.
        say: Takes each message.
        progress: Takes (file name, bytes received, bytes expected) during a download.

    Raises:
        DataError: A file could be had from none of the places.
    """
    cache = _Cache(root / file_set.name)
    try:
        contents = {file.name: cache.read_verified(file) for file in file_set.files}
        return Obtained(contents, cache.name)
    except (_NotThere, _Unusable):
        pass  # asked again under the lock: another process may be filling the cache right now
    places: list[_Place] = [cache]
    closed = []
    if archives is not None:
        places.append(_Archives(archives / file_set.name))
    else:
        closed.append("archives: DATA_ARCHIVES is not set")
    if download:
        places += [_Mirror(url, progress) for url in file_set.mirrors]
    else:
        closed.append("network: downloads are off")
    with cache.locked(say):
        return _search(file_set, cache, places, closed, say)


def _search(
    file_set: FileSet, cache: "_Cache", places: "list[_Place]", closed: list[str], say: Say
) -> Obtained:
    """Ask each place for what the earlier ones did not have.

    `closed` says which places cannot be asked, and why; it goes into the error.
    """
    contents: dict[str, bytes] = {}
    sources: list[str] = []
    tried = []
    for place in places:
        wanted = [file for file in file_set.files if file.name not in contents]
        if not wanted:
            break
        place.announce(file_set.title, wanted, say)
        problems: list[str] = []
        for file, content in _ask(place, wanted, problems, say):
            contents[file.name] = content
            if place is not cache:
                cache.keep(file, content, say)
            if place.name not in sources:
                sources.append(place.name)
        if problems:
            tried.append(f"{place.name}: {', '.join(dict.fromkeys(problems))}")  # each one once
    missing = [file.remote_name for file in file_set.files if file.name not in contents]
    if missing:
        raise DataError(
            f"cannot get {file_set.title}: {'; '.join(tried + closed)}\n"
            "let it download, or set the environment variable DATA_ARCHIVES to a folder "
            f"that holds {', '.join(f'{file_set.name}/{name}' for name in missing)}"
        )
    return Obtained(contents, ", ".join(sources))


def _ask(
    place: "_Place", wanted: Sequence[SourceFile], problems: list[str], say: Say
) -> Iterator[tuple[SourceFile, bytes]]:
    """Yield what `place` has of the `wanted` files; add to `problems` why it lacks others."""
    for file in wanted:
        try:
            content = place.read_verified(file)
        except _NotThere as problem:
            problems.append(str(problem))  # and no message: an empty cache is no news
        except _Unusable as problem:
            say(f"{place.location(file)}: {problem}; looking elsewhere")
            problems.append(f"{file.name}: {problem}")
        except _Unreachable as problem:
            say(f"{place.name}: {problem}; looking elsewhere")
            problems.append(str(problem))
            return
        else:
            yield file, content


class _NotThere(Exception):
    """The place does not have the file."""


class _Unusable(Exception):
    """The place has the file, but not as it was published, or does not give it."""


class _Unreachable(Exception):
    """The place gives nothing at all: it need not be asked for the other files."""


class _Place(ABC):
    """Where files may be; `name` says so in messages."""

    name: str

    def announce(self, title: str, wanted: Sequence[SourceFile], say: Say) -> None:  # noqa: B027
        """Say what is about to happen; most places have nothing to say."""

    @abstractmethod
    def location(self, file: SourceFile) -> str:
        """Return the path or URL of `file`."""

    @abstractmethod
    def read(self, file: SourceFile) -> bytes:
        """Return the content of `file`, decompressed: at most one byte more than it should be.

        Raises:
            _NotThere, _Unusable, _Unreachable: see there.
        """

    def read_verified(self, file: SourceFile) -> bytes:
        """Return the content of `file` if it is what was published.

        Raises:
            _NotThere, _Unusable, _Unreachable: see there.
        """
        content = self.read(file)
        if len(content) < file.size:
            raise _Unusable(f"too short, {len(content):,} of {file.size:,} bytes")
        if len(content) > file.size:
            raise _Unusable(f"too long, more than {file.size:,} bytes")
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 != file.md5:
            raise _Unusable(f"damaged, its MD5 digest is {md5} and should be {file.md5}")
        return content


class _Cache(_Place):
    """The cache folder of one data set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"cache {folder}"
        self._writable = False

    def location(self, file: SourceFile) -> str:
        return str(self.folder / file.name)

    def read(self, file: SourceFile) -> bytes:
        with _local_file(self.folder / file.name) as stream:
            return stream.read(file.size + 1)

    @contextmanager
    def locked(self, say: Say) -> Iterator[None]:
        """Hold the lock under which files are kept; without one nothing is kept."""
        lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._acquire(lock, say)
            for leftover in self.folder.glob(".*.tmp"):  # write_atomically's, of a killed process
                leftover.unlink()
            self._writable = True
        except OSError as error:
            self._give_up(error, say)
        try:
            yield
        finally:
            self._writable = False
            lock.release()

    def _acquire(self, lock: FileLock, say: Say) -> None:
        try:
            lock.acquire(timeout=LOCK_PATIENCE)
        except Timeout:
            say(f"{self.folder}: another process is filling this folder; waiting for it")
            lock.acquire()

    def keep(self, file: SourceFile, content: bytes, say: Say) -> None:
        """Write `file` into the folder; where that fails, say so once and keep nothing more."""
        if not self._writable:
            return
        try:
            write_atomically(self.folder / file.name, content)
        except OSError as error:
            self._give_up(error, say)

    def _give_up(self, error: OSError, say: Say) -> None:
        self._writable = False
        say(f"{self.folder}: cannot be written ({_reason(error)}); going on without the cache")


class _Archives(_Place):
    """A folder with the gzip files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"archives {folder}"

    def location(self, file: SourceFile) -> str:
        return str(self.folder / file.remote_name)

    def read(self, file: SourceFile) -> bytes:
        with _local_file(self.folder / file.remote_name) as stream:
            return _decompress(stream, file)


class _Mirror(_Place):
    """A folder on a web server with the gzip files."""

    def __init__(self, url: str, progress: Progress | None) -> None:
        self.url = url
        self.name = f"network {url}"
        self._progress = progress

    def announce(self, title: str, wanted: Sequence[SourceFile], say: Say) -> None:
        megabytes = sum(file.download_size for file in wanted) / 1e6
        files = "1 file" if len(wanted) == 1 else f"{len(wanted)} files"
        say(f"downloading {title} from {self.url}: {files}, {megabytes:.1f} MB")

    def location(self, file: SourceFile) -> str:
        return f"{self.url}{file.remote_name}"

    def read(self, file: SourceFile) -> bytes:
        try:
            with _web().open(self.location(file), timeout=NETWORK_TIMEOUT) as response:
                received = self._receive(response, file)
        except urllib.error.HTTPError as error:
            error.close()
            raise _Unusable(f"the server answers {error.code} {error.reason}") from error
        except (urllib.error.URLError, TimeoutError) as error:
            raise _Unreachable(f"cannot be reached ({_reason(error)})") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Unusable(f"the transfer broke off ({_reason(error)})") from error
        return _decompress(io.BytesIO(received), file)

    def _receive(self, response: http.client.HTTPResponse, file: SourceFile) -> bytes:
        received = bytearray()
        limit = OVERSIZE * file.download_size
        while chunk := response.read(CHUNK):
            received += chunk
            if len(received) > limit:
                raise _Unusable(f"more than {limit:,} bytes come, {file.download_size:,} were expected")
            if self._progress is not None:
                self._progress(file.name, len(received), file.download_size)
        return bytes(received)


def _web() -> urllib.request.OpenerDirector:
    """Return an opener for http and https and nothing else, after a redirect either.

    `urllib.request.urlopen` would also read `file:` and `ftp:` URLs.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


@contextmanager
def _local_file(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for reading.

    Raises:
        _NotThere: There is no such file.
        _Unusable: It cannot be opened or read.
    """
    try:
        with open(path, "rb") as stream:
            yield stream
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _NotThere("not there") from error
    except OSError as error:
        raise _Unusable(f"cannot be read ({_reason(error)})") from error


def _decompress(stream: BinaryIO, file: SourceFile) -> bytes:
    """Return what the gzip `stream` holds, at most one byte more than `file` should.

    A file that is not packed is returned as it is.

    Raises:
        _Unusable: The stream is cut short or damaged.
    """
    if not file.packed:
        return stream.read(file.size + 1)
    try:
        with gzip.GzipFile(fileobj=stream) as content:
            return content.read(file.size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _Unusable(f"damaged gzip file ({error})") from error


def _reason(error: BaseException) -> str:
    """Return what went wrong in the system's words, without error numbers and paths."""
    if isinstance(error, urllib.error.URLError):
        return error.reason if isinstance(error.reason, str) else _reason(error.reason)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
