"""The text data sets of a configuration, and single texts for prediction."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.config import AppConfig
from shared.data import imdb, reviews
from shared.data.config import Imdb, Reviews, TextFolder, Texts
from shared.data.examples import Examples, hold_back
from shared.data.sequences import UNKNOWN, Documents, Sequences, pad_front
from shared.data.text import SPECIALS, Encoding, Settings, TextData, load_folder, tokenize
from shared.errors import ConfigError
from shared.input_file import read_file

FRONT_PAD = "<fill>"
NOT_WORDS = {*SPECIALS, FRONT_PAD}


def describe_ids(data: Any) -> str:
    """Return what an exported network takes, for a reader who has only the file."""
    ids = "an id is a line of the run's vocabulary.txt, counted from 0"
    if data.padding == "front":
        return f"ids (batch, {data.longest}): {ids}; texts are padded at the front with the id of {FRONT_PAD}"
    return f"ids (batch, length): {ids}, and 0 is padding, on the right"


def load_texts(config: AppConfig, own: Any = None) -> TextData:
    """Return the data set that the configuration names, with the vocabulary of the run `own`, if given.

    Raises:
        DataError: it is not available.
    """
    data = config.data
    assert isinstance(data, Imdb | Reviews | TextFolder)
    settings: Encoding = Settings(data.vocabulary_size, data.min_frequency)
    if own is not None and (isinstance(data, TextFolder) or data.name != own.name):
        settings = tuple(own.vocabulary)
    match data:
        case Reviews():
            texts = reviews.load(settings)
        case TextFolder():
            texts = load_folder(Path(data.root), settings, data.test_fraction)
        case Imdb():
            texts = imdb.load(Path(data.root), settings, data.download, data.fallback)
    return texts if data.padding == "masked" else padded_at_front(texts, data)


def padded_at_front(texts: TextData, data: Texts) -> TextData:
    """Return the texts padded at the front with `FRONT_PAD`, the last word of the vocabulary."""
    words = texts.vocabulary
    words = words if words[-1] == FRONT_PAD else (*words, FRONT_PAD)
    train, test = (
        pad_front(documents, data.longest, data.keep, len(words) - 1)
        for documents in (texts.train, texts.test)
    )
    return replace(texts, train=train, test=test, vocabulary=words)


def split_texts(texts: TextData, config: AppConfig) -> tuple[Examples, Examples, Examples]:
    """Return the training, validation and test examples, the last two sorted by length.

    The seed draws the validation set from the training set; the test set stays as its authors made
    it. Limits are drawn by the seed, too: files of one class are next to each other.

    Raises:
        ConfigError: a batch would be larger than what is left for training.
    """
    data = config.data
    assert isinstance(data, Texts)
    random = np.random.default_rng([config.seed, 0])
    order = random.permutation(len(texts.train))[: data.train_limit]
    training, validation = hold_back(order, data.validation_fraction, config.trainer.batch_size, texts.name)
    test = random.permutation(len(texts.test))[: data.test_limit]

    def examples(documents: Documents) -> Examples:
        return Examples(Sequences(documents, data.longest, data.keep), documents.labels)

    return (
        examples(texts.train.take(training)),
        examples(_by_length(texts.train, validation)),
        examples(_by_length(texts.test, test)),
    )


def _by_length(documents: Documents, which: NDArray[np.int64]) -> Documents:
    """Return the documents at the positions `which`, sorted so that little padding is needed."""
    return documents.take(which[np.argsort(documents.lengths[which], kind="stable")])


def known_words(text: str, vocabulary: Sequence[str], data: Texts) -> tuple[list[str], NDArray[np.int64]]:
    """Return the words of a text that a network reads, long ones cut, and their ids, (T,).

    With `data.padding=front`, the ids of the padding come first.

    Args:
        text: of any length, or the path of a file with one; `-` reads it from standard input.
        vocabulary: the word of each id.
        data: says how many words are read, the first or the last ones.

    Raises:
        ConfigError: the text has no words, or none that the network knows, or is not UTF-8.
        DataError: the file cannot be read.
    """
    if text == "-" or os.path.isfile(text):
        content = sys.stdin.buffer.read() if text == "-" else read_file(Path(text))
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise ConfigError(f"the text is not UTF-8 ({error.reason} at byte {error.start})") from error
    words = tokenize(text)
    if not words:
        raise ConfigError("the text has no words")
    words = words[-data.longest :] if data.keep == "last" else words[: data.longest]
    ids_of = {word: number for number, word in enumerate(vocabulary) if word not in NOT_WORDS}
    ids = np.array([ids_of.get(word, UNKNOWN) for word in words], np.int64)
    words = [word[:40] for word in words]  # to be shown
    if (ids == UNKNOWN).all():
        raise ConfigError(
            f"the network knows none of these words: {' '.join(words[:5])}"
            f"{' ...' if len(words) > 5 else ''}; its vocabulary has {len({*vocabulary} - NOT_WORDS):,} words"
        )
    padding = data.longest - len(ids) if data.padding == "front" else 0
    return words, np.concatenate([np.full(padding, len(vocabulary) - 1), ids])
