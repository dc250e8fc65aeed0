"""Texts as ids: what is encoded can be decoded, is cached, and damage is noticed."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from shared.data import imdb, reviews, text
from shared.data.text import PAD, UNKNOWN, Documents, Sequences, Settings, TextData
from shared.errors import DataError

SETTINGS = Settings(vocabulary_size=50, min_frequency=1)


def quiet(line: str) -> None:
    """Take messages and say nothing."""


def encoded(train: list[str], test: list[str], settings: Settings = SETTINGS) -> TextData:
    labels = [[0] * len(train), [1] * len(test)]
    first, second, vocabulary = text.encode([train, test], labels, settings, quiet)
    return TextData("made", first, second, vocabulary, ("a", "b"), embedded=True, source="here")


def test_what_is_encoded_can_be_decoded() -> None:
    data = encoded(["A film!<br /><br />What a film.", "It's bad"], ["a bad goose"])
    train = Sequences(data.train, longest=100)
    assert data.decode(train[:1][0]) == ["a", "film", "!", "what", "a", "film", "."]
    assert data.decode(train[1:2][0]) == ["it", "'", "s", "bad"]
    test = Sequences(data.test, longest=100)[:1][0]
    assert data.decode(test) == ["a", "bad", "<unk>"], "words of the test set are not looked at"


def test_the_vocabulary_has_the_most_frequent_words() -> None:
    data = encoded(["a a a b b c"], ["a"], Settings(vocabulary_size=2, min_frequency=1))
    assert data.vocabulary == ("<pad>", "<unk>", "a", "b")
    data = encoded(["a a a b b c"], ["a"], Settings(vocabulary_size=9, min_frequency=3))
    assert data.vocabulary == ("<pad>", "<unk>", "a")
    with pytest.raises(DataError, match=r"no word occurs 4 times .* lower data\.min_frequency"):
        encoded(["a a a b b c"], ["a"], Settings(vocabulary_size=9, min_frequency=4))


def test_an_empty_text_is_one_unknown_word() -> None:
    data = encoded(["a b", ""], [" <br /> "])
    assert data.train.ids.tolist()[-1] == UNKNOWN
    assert data.test.ids.tolist() == [UNKNOWN]


def test_a_text_cannot_say_padding() -> None:
    data = encoded(["<pad> a <unk>"], ["a"])
    assert PAD not in data.train.ids


@given(
    st.lists(st.lists(st.integers(1, 60_000), min_size=1, max_size=9), min_size=1, max_size=8),
    st.integers(1, 12),
    st.sampled_from(["first", "last"]),
    st.data(),
)
def test_batches_are_padded_on_the_right(
    documents: list[list[int]], longest: int, keep: text.Keep, data: st.DataObject
) -> None:
    offsets = np.cumsum([0, *map(len, documents)])
    flat = np.array([number for one in documents for number in one], np.uint16)
    labels = np.zeros(len(documents), np.int64)
    which = data.draw(st.lists(st.integers(0, len(documents) - 1), min_size=1, max_size=5))
    batch = Sequences(Documents(flat, offsets, labels), longest, keep)[np.array(which)]
    part = slice(longest) if keep == "first" else slice(-longest, None)
    cut = [documents[number][part] for number in which]
    width = max(map(len, cut))
    assert batch.dtype == np.int64
    assert batch.tolist() == [one + [PAD] * (width - len(one)) for one in cut]
    taken = Documents(flat, offsets, labels).take(np.array(which))
    assert [len(documents[number]) for number in which] == taken.lengths.tolist()
    assert taken.ids.tolist() == [number for n in which for number in documents[n]]


def test_the_second_start_reads_what_the_first_has_left(tmp_path: Path) -> None:
    data = encoded(["one two", "two"], ["three"])
    made = (data.train, data.test, data.vocabulary)
    calls = []

    def make() -> tuple[Documents, Documents, tuple[str, ...]]:
        calls.append(1)
        return made

    for _ in range(3):
        train, test, vocabulary = text.cached(tmp_path, "digest", SETTINGS, make, quiet)
        again = TextData("made", train, test, vocabulary, ("a", "b"), True, "here")
        assert again.sha256 == data.sha256
        assert vocabulary == data.vocabulary
    assert len(calls) == 1
    text.cached(tmp_path, "another digest", SETTINGS, make, quiet)
    text.cached(tmp_path, "digest", Settings(49, 1), make, quiet)
    assert len(calls) == 3, "other texts and other settings have files of their own"


def test_a_damaged_cache_is_named_and_made_anew(tmp_path: Path) -> None:
    data = encoded(["one two", "two"], ["three"])
    made = (data.train, data.test, data.vocabulary)
    text.cached(tmp_path, "digest", SETTINGS, lambda: made, quiet)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    said: list[str] = []
    for damaged in (whole[: len(whole) // 2], whole.replace(b"one", b"two", 1), b""):
        path.write_bytes(damaged)
        train, _, _ = text.cached(tmp_path, "digest", SETTINGS, lambda: made, said.append)
        assert train.ids.tolist() == data.train.ids.tolist()
        assert path.read_bytes() == whole
    assert len(said) == 3
    assert all(str(path) in line and "encoding the texts again" in line for line in said)


Change = Callable[[tarfile.TarFile], None]


def archive(folder: Path, each: int = 3, change: Change | None = None, skip: str = "") -> Path:
    """Write archives/imdb/aclImdb_v1.tar.gz with `each` reviews of a class, and return archives."""
    (folder / "imdb").mkdir(parents=True)
    with tarfile.open(folder / "imdb" / imdb.ARCHIVE, "w:gz") as file:
        add(file, "aclImdb/README", b"not a review")
        for split in ("train", "test"):
            for label in imdb.CLASSES:
                for number in range(each):
                    name = f"aclImdb/{split}/{label}/{number}_1.txt"
                    if name != skip:
                        add(file, name, f"a {label} film , number {number}".encode())
        if change:
            change(file)
    return folder


def add(file: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    file.addfile(member, io.BytesIO(content))


def load(root: Path, archives: Path | None) -> TextData:
    return imdb.load(root, archives, SETTINGS, download=False, fallback=None, say=quiet, each=3)


def test_imdb_comes_from_the_archive_and_then_from_the_cache(tmp_path: Path) -> None:
    archives = archive(tmp_path / "archives")
    data = load(tmp_path / "cache", archives)
    assert (len(data.train), len(data.test), data.embedded) == (6, 6, False)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.decode(Sequences(data.train, 9)[:1][0]) == ["a", "neg", "film", ",", "number", "0"]
    (cached,) = (tmp_path / "cache" / "imdb").iterdir()
    assert cached.name.startswith("encoded-")
    assert load(tmp_path / "cache", archives).sha256 == data.sha256


def test_an_unpacked_folder_is_the_same_data(tmp_path: Path) -> None:
    archives = archive(tmp_path / "archives")
    with tarfile.open(archives / "imdb" / imdb.ARCHIVE) as file:
        for member in file:
            path = tmp_path / "cache" / "imdb" / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.extractfile(member).read())  # type: ignore[union-attr]
    assert load(tmp_path / "cache", None).sha256 == load(tmp_path / "other", archives).sha256


def test_an_archive_cut_short_is_named(tmp_path: Path) -> None:
    archives = archive(tmp_path / "archives", each=3)
    path = archives / "imdb" / imdb.ARCHIVE
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=rf"{path}: damaged or cut short"):
        load(tmp_path / "cache", archives)
    assert not list((tmp_path / "cache").rglob("encoded-*"))


def link(file: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("aclImdb/train/pos/9_1.txt")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    file.addfile(member)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (link, "9_1.txt is no plain file"),
        (lambda file: add(file, "aclImdb/../../evil.txt", b"x"), "evil.txt is no plain file"),
        (lambda file: add(file, "aclImdb/train/pos/9_1.txt", b"\xff\xfe"), "9_1.txt: not UTF-8"),
        (lambda file: add(file, "aclImdb/train/pos/9_1.txt", b"x"), "4 reviews in train/pos, exp"),
    ],
)
def test_a_strange_archive_is_refused(change: Change, said: str, tmp_path: Path) -> None:
    archives = archive(tmp_path / "archives", change=change)
    with pytest.raises(DataError, match=said):
        load(tmp_path / "cache", archives)
    assert {path.name for path in tmp_path.iterdir()} <= {"archives", "cache"}


def test_a_missing_review_is_noticed(tmp_path: Path) -> None:
    archives = archive(tmp_path / "archives", skip="aclImdb/test/neg/1_1.txt")
    with pytest.raises(DataError, match="2 reviews in test/neg, expected 3"):
        load(tmp_path / "cache", archives)


def test_a_class_folder_without_reviews_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache" / "imdb" / "aclImdb" / "train" / "neg").mkdir(parents=True)
    with pytest.raises(DataError, match="aclImdb/train/neg: there are no reviews"):
        load(tmp_path / "cache", None)


def test_a_review_of_a_million_words_is_read_up_to_the_longest() -> None:
    data = encoded(["word " * 1_000_000, "word"], ["word"])
    assert data.train.lengths.tolist() == [1_000_000, 1]
    assert Sequences(data.train, longest=400)[:2].shape == (2, 400)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a server on the loopback interface, for the files in tmp_path/served."""
    (tmp_path / "served").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_imdb_is_downloaded_once_and_verified(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (archive(tmp_path / "archives") / "imdb" / imdb.ARCHIVE).read_bytes()
    (tmp_path / "served" / imdb.ARCHIVE).write_bytes(content)

    def publish(md5: str) -> None:
        file = replace(imdb.PUBLISHED.files[0], size=len(content), download_size=len(content), md5=md5)
        published = replace(imdb.PUBLISHED, files=(file,), mirrors=(served,))
        monkeypatch.setattr(imdb, "PUBLISHED", published)

    def from_network() -> TextData:
        return imdb.load(tmp_path / "cache", None, SETTINGS, download=True, fallback=None, say=quiet, each=3)

    publish("0" * 32)
    with pytest.raises(DataError, match="digest"):
        from_network()
    assert not (tmp_path / "cache" / "imdb" / imdb.ARCHIVE).exists()
    publish(hashlib.md5(content).hexdigest())
    first = from_network()
    assert (first.name, len(first.train)) == ("imdb", 6)
    (tmp_path / "served" / imdb.ARCHIVE).unlink()
    assert from_network().sha256 == first.sha256, "the second time from the cache"


def test_imdb_from_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)cannot get IMDB: .*imdb/aclImdb_v1\.tar\.gz"):
        load(tmp_path / "cache", None)
    said: list[str] = []
    data = imdb.load(tmp_path, None, SETTINGS, download=False, say=said.append)
    assert (data.name, data.embedded) == ("reviews", True)
    assert "generated reviews stand in" in said[-1]


def test_generated_reviews_are_the_same_every_time_and_half_of_each() -> None:
    texts, labels = reviews.generate(2000, np.random.default_rng(0))
    again, _ = reviews.generate(2000, np.random.default_rng(0))
    assert texts == again
    assert sum(labels) == 1000
    assert len(set(texts)) > 1900


@pytest.mark.parametrize(("pairs", "at_most"), [(1, 0.55), (2, 0.55)])
def test_a_bag_of_words_cannot_tell_generated_reviews(pairs: int, at_most: float) -> None:
    texts, labels = reviews.generate(6000, np.random.default_rng(1))
    counts = CountVectorizer(ngram_range=(1, pairs)).fit_transform(texts)
    model = LogisticRegression(max_iter=500).fit(counts[:5000], labels[:5000])
    assert 0.4 < model.score(counts[5000:], labels[5000:]) < at_most
