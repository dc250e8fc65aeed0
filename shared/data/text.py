"""Text classification data sets: texts become token ids and a vocabulary, cached on disk.

Tokens and vocabularies are those of torchtext 0.6.0, `basic_english` and `Vocab`; a test compares them.
torchtext itself imports torch, which takes seconds.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shared.data.cache import Arrays, cached_arrays
from shared.data.class_folders import list_class_folders
from shared.data.sequences import PAD, UNKNOWN, Documents
from shared.errors import DataError
from shared.files import sha256_of
from shared.input_file import read_file

SPECIALS = ("<pad>", "<unk>")  # the tokens PAD and UNKNOWN
FORMAT = 1  # of the cached file; increase it when the encoding changes
BREAK = re.compile(r"<br\s*/?>")
PUNCTUATION = str.maketrans({mark: f" {mark} " for mark in "'.,()!?"} | {";": " ", ":": " "})
LONGEST_FILE = 1 << 24  # bytes

Vocabulary = tuple[str, ...]  # the token of each id; `SPECIALS` first
Encoded = tuple[Documents, Documents, Vocabulary]  # training, test, vocabulary


class Settings(NamedTuple):
    """How a vocabulary is made."""

    vocabulary_size: int  # maximum number of tokens, the most frequent ones, in addition to `SPECIALS`
    min_frequency: int  # minimum number of occurrences of a token in the training texts


Encoding = Settings | Vocabulary  # the vocabulary to make, or one to use


@dataclass(frozen=True, eq=False)
class TextData:
    """A text classification data set."""

    name: str  # short, such as "imdb"
    train: Documents
    test: Documents
    vocabulary: Vocabulary
    classes: tuple[str, ...]
    embedded: bool  # whether this is the generated sample, which needs no network
    source: str  # where the data came from, for people
    own_classes: bool = False  # whether a user named the classes: then the names enter the digest

    @property
    def vocabulary_file(self) -> bytes:
        """Return the vocabulary as UTF-8, one token per line: the first line is token 0."""
        return "\n".join(self.vocabulary).encode()

    @property
    def sha256(self) -> str:
        """Return the hexadecimal digest of vocabulary, ids, offsets and labels."""
        digest = hashlib.sha256(self.vocabulary_file)
        for documents in (self.train, self.test):
            for array in (documents.ids.astype(np.int32), documents.offsets, documents.labels):
                digest.update(np.ascontiguousarray(array).data)
        if self.own_classes:
            digest.update(json.dumps(self.classes).encode())
        return digest.hexdigest()

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the tokens of `ids` without padding."""
        return [self.vocabulary[number] for number in ids if number != PAD]


def tokenize(text: str) -> list[str]:
    """Return the tokens of torchtext's `basic_english`: lower case, punctuation as separate tokens."""
    plain = BREAK.sub(" ", text).lower().replace('"', "").replace("<br />", " ")
    return plain.translate(PUNCTUATION).split()


def most_frequent(documents: Iterable[Sequence[str]], settings: Settings) -> Vocabulary:
    """Return `SPECIALS` and the most frequent tokens; those of the same frequency in alphabetical order."""
    counts = Counter(token for document in documents for token in document)
    frequent = [
        (-count, token)
        for token, count in counts.items()
        if count >= settings.min_frequency and token not in SPECIALS
    ]
    return (*SPECIALS, *(token for _, token in sorted(frequent)[: settings.vocabulary_size]))


def encode(texts: Sequence[Sequence[str]], labels: Sequence[Sequence[int]], settings: Encoding) -> Encoded:
    """Return training documents, test documents and the vocabulary; a terminal shows the progress.

    `texts` and `labels` are those of the training set, then those of the test set.

    Raises:
        DataError: no token of the training texts is as frequent as `settings` requires.
    """
    from rich import get_console
    from rich.progress import track

    bar: Any = {"transient": True, "disable": not get_console().is_terminal}
    tokens = [
        [tokenize(text) for text in track(split, "splitting texts into words", **bar)] for split in texts
    ]
    vocabulary = most_frequent(tokens[0], settings) if isinstance(settings, Settings) else settings
    if isinstance(settings, Settings) and len(vocabulary) == len(SPECIALS):
        raise DataError(
            f"no word occurs {settings.min_frequency} times in the {len(tokens[0]):,} training texts: "
            "add texts, or lower data.min_frequency"
        )
    # The word "<pad>" in a text is an unknown word.
    ids_of = {token: number for number, token in enumerate(vocabulary) if number != PAD}
    train, test = (_documents(*pair, ids_of) for pair in zip(tokens, labels, strict=True))
    return train, test, vocabulary


def _documents(tokens: Sequence[Sequence[str]], labels: Sequence[int], ids_of: dict[str, int]) -> Documents:
    """Return tokens as ids; an empty document becomes one unknown word."""
    encoded = [[ids_of.get(token, UNKNOWN) for token in words] or [UNKNOWN] for words in tokens]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    dtype = np.uint16 if max(ids_of.values(), default=0) < 2**16 else np.int32
    ids = np.fromiter((number for words in encoded for number in words), dtype, int(offsets[-1]))
    return Documents(ids, offsets, np.asarray(labels, np.int64))


def cached_encoding(folder: Path, digest: str, settings: Encoding, make: Callable[[], Encoded]) -> Encoded:
    """Return the result of `make`, from a file in `folder` if an earlier run left it there.

    The file is named by the settings and `digest`, that of the texts and labels.
    """

    def arrays() -> Arrays:
        train, test, vocabulary = make()
        documents = {f"train_{name}": array for name, array in vars(train).items()}
        documents |= {f"test_{name}": array for name, array in vars(test).items()}
        return documents | {"vocabulary": np.frombuffer("\n".join(vocabulary).encode(), np.uint8)}

    name = sha256_of(f"{FORMAT} {digest} {settings}".encode())[:16]
    found = cached_arrays(folder / f"encoded-{name}.npz", arrays)
    train, test = (
        Documents(*(found[f"{split}_{name}"] for name in ("ids", "offsets", "labels")))
        for split in ("train", "test")
    )
    return train, test, tuple(found["vocabulary"].tobytes().decode().split("\n"))


def load_folder(root: Path, settings: Encoding, test_fraction: float) -> TextData:
    """Return a user's own texts, as `list_class_folders` finds them; once encoded, they are cached in `root`.

    Raises:
        DataError: as `list_class_folders`, or a text is too long or not UTF-8.
    """
    folders = list_class_folders(root, {".txt"}, "texts", test_fraction)
    texts = [[_read_text(path) for path in paths] for paths in (folders.train, folders.test)]
    labels = [folders.train_labels.tolist(), folders.test_labels.tolist()]
    digest = sha256_of(json.dumps([texts, labels]).encode())
    encoded = cached_encoding(root, digest, settings, lambda: encode(texts, labels, settings))
    return TextData(
        "text_folder", *encoded, folders.classes, embedded=False, source=f"folder {root}", own_classes=True
    )


def _read_text(path: Path) -> str:
    content = read_file(path)
    if len(content) > LONGEST_FILE:
        raise DataError(f"{path}: {len(content):,} bytes; a text may have at most {LONGEST_FILE:,}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
