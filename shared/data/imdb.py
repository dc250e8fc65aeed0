"""IMDB: 50,000 film reviews, half of them positive (Maas et al. 2011, ACL, section 4.1)."""

import gzip
import hashlib
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from shared.data import reviews, store, text
from shared.data.text import Say, Settings, TextData
from shared.errors import DataError

CLASSES = ("neg", "pos")  # label 0, label 1
ARCHIVE = "aclImdb_v1.tar.gz"
REVIEW = re.compile(r"(?:\./)?aclImdb/(train|test)/(neg|pos)/(\d+_\d+\.txt)")
EACH = 12_500  # reviews of a class in a split
LONGEST_FILE = 1 << 24  # bytes; the longest review has 14 kB

# Name, size and MD5 digest of the archive as its authors publish it.
PUBLISHED = store.FileSet(
    name="imdb",
    title="IMDB",
    files=(
        store.SourceFile(ARCHIVE, 84_125_825, "7c2ac02c03563afcf9b574c7e56c153a", 84_125_825, packed=False),
    ),
    mirrors=("https://ai.stanford.edu/~amaas/data/sentiment/",),
)

Reviews = dict[tuple[str, str], list[str]]  # texts by (split, class)


def load(
    root: Path,
    archives: Path | None,
    settings: Settings,
    download: bool = True,
    fallback: str | None = "reviews",
    say: Say = print,
    progress: store.Progress | None = None,
    each: int = EACH,
) -> TextData:
    """Return IMDB: 25,000 reviews to train with and 25,000 to test with.

    It is looked for in `root/imdb` (the folder aclImdb or the archive), in `archives/imdb` (the
    archive) and on the network. An archive is read where it lies, without unpacking it to disk.

    Args:
        root: The cache.
        archives: A folder with `imdb/aclImdb_v1.tar.gz`, or None; see `store.archives_folder`.
        settings: How the texts are encoded.
        download: Whether the network may be asked.
        fallback: "reviews" goes on with generated ones where IMDB cannot be had; None does not.
        say: Takes each message.
        progress: Takes (file name, bytes received, bytes expected) during a download.
        each: How many reviews each class of each split must have; another number serves tests.

    Raises:
        DataError: IMDB cannot be had and `fallback` is None, or what is there is damaged.
    """
    cache = root / "imdb"
    try:
        source, digest, read = _find(cache, archives, download, say, progress)
    except DataError as error:
        if fallback is None:
            raise
        say(str(error))
        say("Going on without IMDB: generated reviews stand in. Their accuracy says nothing about IMDB's.")
        return reviews.load(settings)

    def make() -> tuple[text.Documents, text.Documents, tuple[str, ...]]:
        say("encoding the reviews: once, in less than a minute")
        found = read()
        _check_counts(found, source, each)
        texts = [found[split, "neg"] + found[split, "pos"] for split in ("train", "test")]
        labels = [[0] * each + [1] * each] * 2
        return text.encode(texts, labels, settings, say)

    train, test, vocabulary = text.cached(cache, digest, settings, make, say)
    return TextData("imdb", train, test, vocabulary, CLASSES, embedded=False, source=source)


def _find(
    cache: Path, archives: Path | None, download: bool, say: Say, progress: store.Progress | None
) -> tuple[str, str, Callable[[], Reviews]]:
    """Return where IMDB is, in words, the digest of its content, and what reads it."""
    if (cache / "aclImdb").is_dir():
        found = _read_folder(cache / "aclImdb")
        return f"cache {cache / 'aclImdb'}", _digest(found), lambda: found
    places = [("cache", cache / ARCHIVE)]
    if archives is not None:
        places.append(("archives", archives / "imdb" / ARCHIVE))
    for kind, path in places:
        if path.is_file():
            return f"{kind} {path.parent}", _file_digest(path), partial(_read_archive, path)
    obtained = store.obtain(PUBLISHED, cache.parent, archives, download, say, progress)
    digest = hashlib.sha256(obtained.contents[ARCHIVE]).hexdigest()
    return obtained.source, digest, partial(_read_archive, cache / ARCHIVE)


def _read_archive(path: Path) -> Reviews:
    """Return the reviews in the archive, those of each class in the order of their file names.

    Nothing is written to disk. A member with a link or a path that leads elsewhere is refused.
    """
    named: dict[tuple[str, str], dict[str, str]] = {}
    try:
        with gzip.open(path) as content, tarfile.open(fileobj=content, mode="r|") as archive:
            for member in archive:
                if not (member.isfile() or member.isdir()) or ".." in member.name.split("/"):
                    raise DataError(f"{path}: {member.name} is no plain file inside of aclImdb")
                match = REVIEW.fullmatch(member.name)
                if match and member.isfile():
                    review = archive.extractfile(member).read(LONGEST_FILE)  # type: ignore[union-attr]
                    split, label, name = match.groups()
                    place = f"{path}: {member.name}"
                    named.setdefault((split, label), {})[name] = _decoded(review, place)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: damaged or cut short ({error}); delete it, or get it again") from error
    return {key: [texts[name] for name in sorted(texts)] for key, texts in named.items()}


def _read_folder(folder: Path) -> Reviews:
    """Return the reviews in an unpacked archive."""
    found: Reviews = {}
    for split in ("train", "test"):
        for label in CLASSES:
            place = folder / split / label
            paths = sorted(place.glob("*.txt"), key=lambda path: path.name)
            if not paths:
                raise DataError(f"{place}: there are no reviews; unpack the archive again")
            found[split, label] = [_decoded(path.read_bytes(), str(path)) for path in paths]
    return found


def _decoded(content: bytes, place: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8 ({error.reason} at byte {error.start})") from error


def _check_counts(found: Reviews, source: str, each: int) -> None:
    for split in ("train", "test"):
        for label in CLASSES:
            count = len(found.get((split, label), []))
            if count != each:
                raise DataError(
                    f"{source}: {count:,} reviews in {split}/{label}, expected {each:,}; "
                    "get the archive again"
                )


def _digest(found: Reviews) -> str:
    digest = hashlib.sha256()
    for part in _parts(found):
        digest.update(part)
    return digest.hexdigest()


def _parts(found: Reviews) -> Iterator[bytes]:
    for key, texts in sorted(found.items()):
        yield f"{key} {len(texts)}\n".encode()
        for one in texts:
            yield hashlib.sha256(one.encode()).digest()


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
