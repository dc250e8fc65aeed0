"""IMDB from each place, and what can be wrong with its archive."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shared.data import imdb
from shared.data.sequences import Sequences
from shared.data.text import Settings, TextData
from shared.errors import DataError
from tests.data.web import Answer, Serve

SETTINGS = Settings(vocabulary_size=50, min_frequency=1)

Change = Callable[[tarfile.TarFile], None]


def write_archive(folder: Path, change: Change | None = None, skip: str = "") -> Path:
    """Write imdb/aclImdb_v1.tar.gz with three reviews per class; return its path."""
    (folder / "imdb").mkdir(parents=True)
    with tarfile.open(folder / "imdb" / imdb.ARCHIVE, "w:gz") as file:
        add(file, "aclImdb/README", b"not a review")
        for split in ("train", "test"):
            for label in imdb.CLASSES:
                for number in range(3):
                    name = f"aclImdb/{split}/{label}/{number}_1.txt"
                    if name != skip:
                        add(file, name, f"a {label} film , number {number}".encode())
        if change:
            change(file)
    return folder / "imdb" / imdb.ARCHIVE


def add(file: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    file.addfile(member, io.BytesIO(content))


def load(root: Path, download: bool = False) -> TextData:
    return imdb.load(root, SETTINGS, download, fallback=None, each=3)


def test_imdb_is_read_from_the_archive_and_then_from_the_cache(archives: Path, tmp_path: Path) -> None:
    write_archive(archives)
    data = load(tmp_path)
    assert (len(data.train), len(data.test), data.embedded) == (6, 6, False)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.decode(Sequences(data.train, 9)[:1][0]) == ["a", "neg", "film", ",", "number", "0"]
    (cached,) = (tmp_path / "imdb").iterdir()
    assert cached.name.startswith("encoded-")
    assert load(tmp_path).sha256 == data.sha256


def test_an_unpacked_folder_is_the_same_data(archives: Path, tmp_path: Path) -> None:
    with tarfile.open(write_archive(archives)) as file:
        file.extractall(tmp_path / "cache" / "imdb", filter="data")
    data = load(tmp_path / "cache")
    assert data.source == f"cache {tmp_path / 'cache' / 'imdb' / 'aclImdb'}"
    assert data.sha256 == load(tmp_path / "other").sha256


def test_an_archive_cut_short_is_named(archives: Path, tmp_path: Path) -> None:
    path = write_archive(archives)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=rf"{path}: damaged or truncated"):
        load(tmp_path)
    assert not list(tmp_path.rglob("encoded-*"))


def link(file: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("aclImdb/train/pos/9_1.txt")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    file.addfile(member)


@pytest.mark.parametrize(
    ("change", "skip", "message"),
    [
        (None, "aclImdb/test/neg/1_1.txt", "2 reviews in test/neg, expected 3"),
        (link, "", "9_1.txt is not a regular file"),
        (lambda file: add(file, "aclImdb/../../evil.txt", b"x"), "", "evil.txt is not a regular file"),
        (lambda file: add(file, "aclImdb/train/pos/9_1.txt", b"\xff\xfe"), "", "9_1.txt: not UTF-8"),
        (lambda file: add(file, "aclImdb/train/pos/9_1.txt", b"x"), "", "4 reviews in train/pos, exp"),
    ],
)
def test_another_content_is_refused(
    change: Change | None, skip: str, message: str, archives: Path, tmp_path: Path
) -> None:
    write_archive(archives, change, skip)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "cache")
    assert {path.name for path in tmp_path.iterdir()} <= {"archives", "cache"}


def test_an_unpacked_folder_without_reviews_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "imdb" / "aclImdb" / "train" / "neg").mkdir(parents=True)
    with pytest.raises(DataError, match="aclImdb: 0 reviews in train/neg, expected 3"):
        load(tmp_path)


def test_imdb_is_downloaded_once_and_verified(
    archives: Path, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_archive(tmp_path / "served").read_bytes()
    web = serve({imdb.ARCHIVE: Answer(content)})

    def publish(md5: str) -> None:
        file = replace(imdb.PUBLISHED.files[0], size=len(content), md5=md5)
        published = replace(imdb.PUBLISHED, files=(file,), mirrors=(web.url,))
        monkeypatch.setattr(imdb, "PUBLISHED", published)

    publish("0" * 32)
    with pytest.raises(DataError, match="digest"):
        load(tmp_path, download=True)
    assert not (tmp_path / "imdb" / imdb.ARCHIVE).exists()
    publish(hashlib.md5(content).hexdigest())
    first = load(tmp_path, download=True)
    assert (first.name, len(first.train)) == ("imdb", 6)
    assert load(tmp_path, download=True).sha256 == first.sha256
    assert len(web.requests) == 2, "the last time it came from the cache"


def test_without_imdb_a_run_falls_back_to_generated_reviews(
    archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match=r"(?s)cannot get IMDB: .*imdb/aclImdb_v1\.tar\.gz"):
        load(tmp_path)
    data = imdb.load(tmp_path, SETTINGS, download=False)
    assert (data.name, data.embedded) == ("reviews", True)
    assert "falling back to generated reviews" in capsys.readouterr().out
