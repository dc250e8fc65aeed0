"""The text data sets as configured, and single texts; for every application on texts."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.config import AppConfig, Imdb, Reviews, TextFolder, Texts
from shared.data import imdb, reviews, store, text_folder
from shared.data.examples import Examples
from shared.data.text import UNKNOWN, Documents, Sequences, Settings, TextData, ids_of_words, tokenizer
from shared.errors import ConfigError
from shared.runs.progress import download_progress
from shared.training.split import hold_back


def load_texts(data: Imdb | Reviews | TextFolder) -> TextData:
    """Return the data set that the configuration names.

    Raises:
        DataError: it cannot be had.
    """
    settings = Settings(data.vocabulary_size, data.min_frequency)
    if isinstance(data, Reviews):
        return reviews.load(settings)
    if isinstance(data, TextFolder):
        return text_folder.load(Path(data.root), settings, data.test_fraction)
    with download_progress() as progress:
        return imdb.load(
            Path(data.root),
            store.archives_folder(),
            settings,
            data.download,
            data.fallback,
            progress=progress,
        )


def split_texts(texts: TextData, config: AppConfig) -> tuple[Examples, Examples, Examples]:
    """Return the examples to train, to validate and to test with, the last two by length.

    What is held back to validate is drawn by the seed from the training set; the test set stays as
    its authors made it. With limits, the examples are drawn by the seed too: files of one class lie
    together.

    Raises:
        ConfigError: a batch would be larger than what is left to train with.
    """
    data = config.data
    assert isinstance(data, Texts)
    random = np.random.default_rng([config.seed, 0])
    order = random.permutation(len(texts.train))[: data.train_limit]
    kept, validated = hold_back(order, data.validation_fraction, config.trainer.batch_size, texts.name)
    tested = random.permutation(len(texts.test))[: data.test_limit]
    train, validation, test = (
        texts.train.take(kept),
        _by_length(texts.train, validated),
        _by_length(texts.test, tested),
    )
    return (
        Examples(Sequences(train, data.longest, data.keep), train.labels),
        Examples(Sequences(validation, data.longest, data.keep), validation.labels),
        Examples(Sequences(test, data.longest, data.keep), test.labels),
    )


def _by_length(documents: Documents, which: NDArray[np.int64]) -> Documents:
    """Return the documents at `which` in an order in which little is padded."""
    return documents.take(which[np.argsort(documents.lengths[which], kind="stable")])


def known_words(text: str, vocabulary: Sequence[str], data: Texts) -> tuple[list[str], NDArray[np.int64]]:
    """Return the words of a text that a network reads, and their ids, (T,).

    Args:
        text: of any length; `-` is what comes from the standard input.
        vocabulary: the word of each id.
        data: says how many words are read, and which.

    Raises:
        ConfigError: the text has no words, or none that the network knows, or is not UTF-8.
    """
    words = tokenizer()(from_standard_input() if text == "-" else text)
    if not words:
        raise ConfigError("the text has no words")
    words = words[-data.longest :] if data.keep == "last" else words[: data.longest]
    ids = ids_of_words(words, vocabulary)
    if (ids == UNKNOWN).all():
        raise ConfigError(
            f"the network knows none of these words: {' '.join(words[:5])}"
            f"{' ...' if len(words) > 5 else ''}; its vocabulary has {len(vocabulary) - 2:,} words"
        )
    return words, ids


def from_standard_input() -> str:
    """Return the text that is sent.

    Raises:
        ConfigError: it is not UTF-8.
    """
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"the text is not UTF-8 ({error.reason} at byte {error.start})") from error
