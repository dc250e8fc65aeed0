"""Texts become ids and a vocabulary, cached on disk; generated reviews."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from shared.data import reviews, text
from shared.data.sequences import PAD, UNKNOWN, Documents, Sequences
from shared.data.text import Settings, TextData
from shared.errors import DataError

SETTINGS = Settings(vocabulary_size=50, min_frequency=1)


def encoded(train: list[str], test: list[str], settings: Settings = SETTINGS) -> TextData:
    labels = [[0] * len(train), [1] * len(test)]
    first, second, vocabulary = text.encode([train, test], labels, settings)
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
    data = encoded(["one two", "two"], ["three"])
    made = (data.train, data.test, data.vocabulary)
    calls = []

    def make() -> tuple[Documents, Documents, tuple[str, ...]]:
        calls.append(1)
        return made

    for _ in range(3):
        train, test, vocabulary = text.cached(tmp_path, "digest", SETTINGS, make)
        again = TextData("made", train, test, vocabulary, ("a", "b"), True, "here")
        assert again.sha256 == data.sha256
        assert vocabulary == data.vocabulary
    assert len(calls) == 1
    text.cached(tmp_path, "another digest", SETTINGS, make)
    text.cached(tmp_path, "digest", Settings(49, 1), make)
    assert len(calls) == 3, "other texts and other settings have files of their own"


def test_a_damaged_cache_is_named_and_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = encoded(["one two", "two"], ["three"])
    made = (data.train, data.test, data.vocabulary)
    text.cached(tmp_path, "digest", SETTINGS, lambda: made)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole.replace(b"one", b"two", 1), b""):
        path.write_bytes(damaged)
        train, _, _ = text.cached(tmp_path, "digest", SETTINGS, lambda: made)
        assert train.ids.tolist() == data.train.ids.tolist()
        assert path.read_bytes() == whole
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(str(path) in line and "making it again" in line for line in lines)


def test_a_review_of_a_million_words_is_read_up_to_the_longest() -> None:
    data = encoded(["word " * 1_000_000, "word"], ["word"])
    assert data.train.lengths.tolist() == [1_000_000, 1]
    assert Sequences(data.train, longest=400)[:2].shape == (2, 400)


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
