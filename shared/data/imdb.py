"""IMDB: 50,000 film reviews, half of them positive (Maas et al. 2011, ACL, section 4.1)."""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from shared.data import reviews, text
from shared.data.fetch import FileSet, RemoteFile, archives_folder, fetch
from shared.data.text import Encoding, TextData
from shared.errors import DataError
from shared.files import sha256_of

CLASSES = ("neg", "pos")  # label 0, label 1
FOLDERS = [(split, label) for split in ("train", "test") for label in CLASSES]
ARCHIVE = "aclImdb_v1.tar.gz"
REVIEW = re.compile(r"(?:\./)?aclImdb/((?:train|test)/(?:neg|pos)/\d+_\d+\.txt)")
EACH = 12_500  # reviews of each class in each split
LONGEST_FILE = 1 << 24  # bytes; the longest review has 14 kB

# Name, size and MD5 digest of the archive as its authors publish it.
PUBLISHED = FileSet(
    name="imdb",
    title="IMDB",
    files=(RemoteFile(ARCHIVE, 84_125_825, "7c2ac02c03563afcf9b574c7e56c153a"),),
    mirrors=("https://ai.stanford.edu/~amaas/data/sentiment/",),
)

Files = Iterable[tuple[str, bytes]]  # names, such as train/neg/0_3.txt, and contents


def load(
    root: Path, settings: Encoding, download: bool = True, fallback: str | None = "reviews", each: int = EACH
) -> TextData:
    """Return IMDB: 25,000 training and 25,000 test reviews.

    It is searched for in `root/imdb` (the folder aclImdb or the archive), in `DATA_ARCHIVES/imdb`
    (the archive) and on the network. Archives are read where they are, without unpacking them to
    disk, and may have been repacked: gzip's checksum and the number of reviews verify them.

    Args:
        root: the cache.
        download: whether the network may be used.
        fallback: if IMDB is not available, "reviews" returns generated ones; None raises.
        each: expected number of reviews of each class in each split.

    Raises:
        DataError: IMDB is not available and `fallback` is None, or it is damaged.
    """
    cache = root / "imdb"
    try:
        source, digest, reviews_found = _find(cache, download)
    except DataError as error:
        if fallback is None:
            raise
        print(error)
        print("IMDB is not available: falling back to generated reviews; their accuracy is meaningless.")
        return reviews.load(settings)

    def make() -> text.Encoded:
        print("encoding the reviews: once, in less than a minute", flush=True)
        return text.encode(_texts(reviews_found, source, each), [[0] * each + [1] * each] * 2, settings)

    encoded = text.cached_encoding(cache, digest, settings, make)
    return TextData("imdb", *encoded, CLASSES, embedded=False, source=source)


def _find(cache: Path, download: bool) -> tuple[str, str, Files]:
    """Return where IMDB is, for people, the digest of its content, and the files, not yet read."""
    folder = cache / "aclImdb"
    if folder.is_dir():
        files = [
            (f"{split}/{label}/{path.name}", path.read_bytes())
            for split, label in FOLDERS
            for path in sorted((folder / split / label).glob("*.txt"))
        ]
        return f"cache {folder}", sha256_of(b"".join(content for _, content in files)), files
    places = {"cache": cache / ARCHIVE}
    archives = archives_folder()
    if archives is not None:
        places["archives"] = archives / "imdb" / ARCHIVE
    for kind, path in places.items():
        if path.is_file():
            return f"{kind} {path.parent}", sha256_of(path), _members(path, path)
    contents, source = fetch(PUBLISHED, cache.parent, download)
    return source, sha256_of(contents[ARCHIVE]), _members(io.BytesIO(contents[ARCHIVE]), cache / ARCHIVE)


def _members(file: BinaryIO | Path, path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the reviews in the archive; a member that leads elsewhere is refused."""
    try:
        with gzip.open(file) as content, tarfile.open(fileobj=content, mode="r|") as archive:
            for member in archive:
                if not (member.isfile() or member.isdir()) or ".." in member.name.split("/"):
                    raise DataError(f"{path}: {member.name} is not a regular file inside aclImdb")
                match = REVIEW.fullmatch(member.name)
                review = archive.extractfile(member) if match else None
                if match and review:
                    yield match[1], review.read(LONGEST_FILE)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: damaged or truncated ({error}); delete it, or get it again") from error


def _texts(files: Files, source: str, each: int) -> list[list[str]]:
    """Return the reviews of training and test set, the negative ones first, sorted by file name."""
    found: dict[str, dict[str, str]] = {f"{split}/{label}": {} for split, label in FOLDERS}
    for name, content in files:
        try:
            found[name.rpartition("/")[0]][name] = content.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{source}: {name}: not UTF-8 ({error.reason} at byte {error.start})") from error
    for folder, own in found.items():
        if len(own) != each:
            raise DataError(
                f"{source}: {len(own):,} reviews in {folder}, expected {each:,}; get the archive again"
            )
    ordered = [[own[name] for name in sorted(own)] for own in found.values()]
    return [ordered[0] + ordered[1], ordered[2] + ordered[3]]
