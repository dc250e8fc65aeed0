"""Texts become ids and a vocabulary, cached on disk; generated reviews."""

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from torchtext.data.utils import get_tokenizer
from torchtext.vocab import Vocab

from shared.data import reviews, text
from shared.data.sequences import PAD, Documents, Sequences, pad_front
from shared.data.text import Settings, TextData
from shared.errors import DataError

SETTINGS = Settings(vocabulary_size=50, min_frequency=1)


def text_data(train: list[str], test: list[str], settings: Settings = SETTINGS) -> TextData:
    labels = [[0] * len(train), [1] * len(test)]
    first, second, vocabulary = text.encode([train, test], labels, settings)
    return TextData("made", first, second, vocabulary, ("a", "b"), embedded=True, source="here")


def test_what_is_encoded_can_be_decoded() -> None:
    data = text_data(["A film!<br /><br />What a film.", "It's bad"], ["a bad goose"])
    train = Sequences(data.train, longest=100)
    assert data.decode(train[:1][0]) == ["a", "film", "!", "what", "a", "film", "."]
    assert data.decode(train[1:2][0]) == ["it", "'", "s", "bad"]
    test = Sequences(data.test, longest=100)[:1][0]
    assert data.decode(test) == ["a", "bad", "<unk>"], "words of the test set are not looked at"


def test_the_vocabulary_has_the_most_frequent_words() -> None:
    data = text_data(["a a a b b c"], ["a"], Settings(vocabulary_size=2, min_frequency=1))
    assert data.vocabulary == ("<pad>", "<unk>", "a", "b")
    data = text_data(["a a a b b c"], ["a"], Settings(vocabulary_size=9, min_frequency=3))
    assert data.vocabulary == ("<pad>", "<unk>", "a")
    with pytest.raises(DataError, match=r"no word occurs 4 times .* lower data\.min_frequency"):
        text_data(["a a a b b c"], ["a"], Settings(vocabulary_size=9, min_frequency=4))


MARKS = "'\".,()!?;: \n\u00a0\x1c"
PIECES = (
    "<br />",
    '<br "/>',
    "<BR>",
    "<br;/>",
    *"'\".,()!?;: \n\u00a0\x1c",
    "a",
    "B",
    "\u0130",
    "<unk>",
    "<pad>",
)


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=12), max_size=6), st.integers(1, 5))
def test_tokens_and_vocabulary_are_those_of_torchtext(pieces: list[list[str]], size: int) -> None:
    basic_english = get_tokenizer("basic_english")
    texts = ["".join(parts) for parts in pieces]
    tokens = [text.tokenize(one) for one in texts]
    assert tokens == [basic_english(text.BREAK.sub(" ", one)) for one in texts]
    counts = Counter(token for document in tokens for token in document)
    for least in (1, 2):
        theirs = Vocab(counts, size, least, specials=list(text.SPECIALS))
        assert text.most_frequent(tokens, Settings(size, least)) == tuple(theirs.itos)


def test_the_id_of_the_padding_at_the_front_may_need_more_bits_than_the_words() -> None:
    documents = Documents(np.array([65_535, 3], np.uint16), np.array([0, 1, 2]), np.array([0, 1]))
    padded = pad_front(documents, 2, "last", pad_id=65_536)
    assert padded.ids.tolist() == [65_536, 65_535, 65_536, 3]


def test_a_text_cannot_say_padding() -> None:
    data = text_data(["<pad> a <unk>"], ["a"])
    assert PAD not in data.train.ids


@given(
    st.lists(st.lists(st.integers(1, 60_000), min_size=1, max_size=9), min_size=1, max_size=8),
    st.integers(1, 12),
    st.sampled_from(["first", "last"]),
    st.data(),
)
def test_batches_are_padded_on_the_right(
    documents: list[list[int]], longest: int, keep: Literal["first", "last"], data: st.DataObject
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
    data = text_data(["one two", "two"], ["three"])
    made = (data.train, data.test, data.vocabulary)
    calls = []

    def make() -> tuple[Documents, Documents, tuple[str, ...]]:
        calls.append(1)
        return made

    for _ in range(3):
        train, test, vocabulary = text.cached_encoding(tmp_path, "digest", SETTINGS, make)
        again = TextData("made", train, test, vocabulary, ("a", "b"), True, "here")
        assert again.sha256 == data.sha256
        assert vocabulary == data.vocabulary
    assert len(calls) == 1
    text.cached_encoding(tmp_path, "another digest", SETTINGS, make)
    text.cached_encoding(tmp_path, "digest", Settings(49, 1), make)
    assert len(calls) == 3, "other texts and other settings have files of their own"


def test_a_damaged_cache_is_named_and_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = text_data(["one two", "two"], ["three"])
    made = (data.train, data.test, data.vocabulary)
    text.cached_encoding(tmp_path, "digest", SETTINGS, lambda: made)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole.replace(b"one", b"two", 1), b""):
        path.write_bytes(damaged)
        train, _, _ = text.cached_encoding(tmp_path, "digest", SETTINGS, lambda: made)
        assert train.ids.tolist() == data.train.ids.tolist()
        assert path.read_bytes() == whole
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(str(path) in line and "making it again" in line for line in lines)


def test_a_review_of_a_million_words_is_read_up_to_the_longest() -> None:
    data = text_data(["word " * 1_000_000, "word"], ["word"])
    assert data.train.lengths.tolist() == [1_000_000, 1]
    assert Sequences(data.train, longest=400)[:2].shape == (2, 400)


def test_generated_reviews_are_the_same_every_time_and_half_of_each() -> None:
    texts, labels = reviews.generate(2000, np.random.default_rng(0))
    again, _ = reviews.generate(2000, np.random.default_rng(0))
    assert texts == again
    assert sum(labels) == 1000
    assert len(set(texts)) > 1900


@pytest.mark.parametrize("pairs", [1, 2])
def test_a_bag_of_words_cannot_tell_generated_reviews(pairs: int) -> None:
    texts, labels = reviews.generate(6000, np.random.default_rng(1))
    counts = CountVectorizer(ngram_range=(1, pairs)).fit_transform(texts)
    model = LogisticRegression(max_iter=500).fit(counts[:5000], labels[:5000])
    assert 0.4 < model.score(counts[5000:], labels[5000:]) < 0.55


# data=text_folder: one folder per class


def write(root: Path, texts: dict[str, list[str]]) -> Path:
    for name, contents in texts.items():
        (root / name).mkdir(parents=True)
        for number, content in enumerate(contents):
            (root / name / f"{number:03}.txt").write_text(content)
    return root


def load_folder(root: Path) -> TextData:
    return text.load_folder(root, SETTINGS, test_fraction=0.25)


def decoded_splits(data: TextData) -> dict[str, list[str]]:
    """Return the words of each document as `CLASS: words`, by split."""
    return {
        split: [
            f"{data.classes[label]}: {' '.join(data.decode(Sequences(documents, 9)[n : n + 1][0]))}"
            for n, label in enumerate(documents.labels)
        ]
        for split, documents in (("train", data.train), ("test", data.test))
    }


def test_folders_are_classes_and_a_quarter_is_kept_to_test(tmp_path: Path) -> None:
    texts = {"sea": [f"wave {n}" for n in range(8)], "city": [f"tram {n}" for n in range(4)]}
    data = load_folder(write(tmp_path, texts))
    assert data.classes == ("city", "sea")
    assert (len(data.train), len(data.test)) == (9, 3)
    assert data.test.labels.tolist() == [0, 1, 1]
    both = decoded_splits(data)
    unknown = {line for line in both["test"] if "<unk>" in line}
    assert unknown, "the vocabulary is that of the training texts"
    assert not set(both["train"]) & set(both["test"])
    again = load_folder(tmp_path)
    assert again.sha256 == data.sha256
    assert [path.name for path in tmp_path.glob("encoded-*")], "cached beside the texts"
    (tmp_path / "sea").rename(tmp_path / "town")
    renamed = load_folder(tmp_path)
    assert (renamed.vocabulary, renamed.classes) == (data.vocabulary, ("city", "town"))
    assert renamed.sha256 != data.sha256, "what they are called is data too"


def test_a_changed_text_is_encoded_again(tmp_path: Path) -> None:
    write(tmp_path, {"a": ["x", "x x"], "b": ["y", "y y"]})
    before = load_folder(tmp_path)
    (tmp_path / "b" / "000.txt").write_text("z")
    (tmp_path / "b" / "001.txt").write_text("z z")
    assert load_folder(tmp_path).sha256 != before.sha256


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, "expected a folder for each of at least two classes.*found none"),
        ({"a": ["x", "y"]}, "expected a folder for each of at least two classes.*found a$"),
        ({"a": ["x", "y"], "b": []}, r"b: this class has no texts \(\.txt\)"),
        ({"a": ["x", "y"], "b": ["z"]}, "b: one file cannot be split"),
        (
            {"train/a": ["x"], "train/b": ["y"], "test/a": ["x"], "test/c": ["z"]},
            "test: the class c has no folder in .*train",
        ),
        ({"train/a": ["x"], "train/b": [], "test/a": ["x"], "test/b": ["y"]}, "b: this class has no texts"),
        ({"test/a": ["x"], "test/b": ["y"]}, "no word occurs 1 times in the 0 training texts: add"),
        ({"a": ["", " "], "b": ["", ""]}, "no word occurs 1 times in the 2 training texts: add"),
    ],
)
def test_what_is_wrong_is_named(texts: dict[str, list[str]], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_folder(write(tmp_path, texts))


def test_files_that_are_no_texts(tmp_path: Path) -> None:
    write(tmp_path, {"a": ["x", "y"], "b": ["z", "z"]})
    (tmp_path / "a" / "picture.txt").write_bytes(b"\x89PNG\xff")
    with pytest.raises(DataError, match=r"a/picture\.txt: not UTF-8"):
        load_folder(tmp_path)
    (tmp_path / "a" / "picture.txt").unlink()
    (tmp_path / "a" / "folder.txt").mkdir()
    assert len(load_folder(tmp_path).train) == 2, "a folder is not a text"
    with pytest.raises(DataError, match=r"nowhere: no such folder; set data\.root"):
        load_folder(tmp_path / "nowhere")


def test_an_empty_file_and_a_byte_order_mark(tmp_path: Path) -> None:
    write(tmp_path / "train", {"a": ["x", ""], "b": ["\ufeffz", "z"]})
    write(tmp_path / "test", {"a": ["x"], "b": ["", "z"]})
    data = load_folder(tmp_path)
    assert decoded_splits(data)["train"] == ["a: x", "a: <unk>", "b: z", "b: z"]
    assert decoded_splits(data)["test"] == ["a: x", "b: <unk>", "b: z"]


def test_hidden_files_are_no_texts_and_every_class_keeps_one(tmp_path: Path) -> None:
    write(tmp_path, {"a": ["x", "y"], "b": ["z", "z"], ".hidden": ["h"], "__MACOSX/a": ["h"]})
    (tmp_path / "a" / "._0.txt").write_bytes(b"\xff")
    data = text.load_folder(tmp_path, SETTINGS, test_fraction=0.9)
    assert data.train.labels.tolist() == data.test.labels.tolist() == [0, 1]
