"""Text classification data sets: texts become token ids and a vocabulary, cached on disk.

Texts become tokens by torchtext's `basic_english` and ids by a `torchtext.vocab.Vocab` of the
training texts. torchtext imports torch, so it is imported only when something is encoded.
"""

import hashlib
import io
import json
import re
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.data.sequences import PAD, UNKNOWN, Documents
from shared.errors import DataError
from shared.files import sha256_of, write_atomically

SPECIALS = ("<pad>", "<unk>")  # the tokens PAD and UNKNOWN
FORMAT = 1  # of the cached file; increase it when the encoding changes
BREAK = re.compile(r"<br\s*/?>")
SECONDS_BETWEEN_LINES = 5.0

Encoded = tuple[Documents, Documents, tuple[str, ...]]  # training, test, vocabulary


@dataclass(frozen=True)
class Settings:
    """How texts become ids.

    Attributes:
        vocabulary_size: maximum number of tokens, the most frequent ones, in addition to `SPECIALS`.
        min_frequency: minimum number of occurrences of a token in the training texts.
    """

    vocabulary_size: int
    min_frequency: int


@dataclass(frozen=True, eq=False)
class TextData:
    """A text classification data set.

    Attributes:
        name: its short name, such as "imdb".
        train: the training documents.
        test: the test documents.
        vocabulary: the token of each id; `SPECIALS` first.
        classes: the name of each class.
        embedded: whether this is the generated sample, which needs no network.
        source: where the data came from, for people.
        own_classes: whether a user named the classes: then the names enter the digest.
    """

    name: str
    train: Documents
    test: Documents
    vocabulary: tuple[str, ...]
    classes: tuple[str, ...]
    embedded: bool
    source: str
    own_classes: bool = False

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


def tokenizer() -> Callable[[str], list[str]]:
    """Return torchtext's `basic_english`: lower case, punctuation as separate tokens."""
    from torchtext.data.utils import get_tokenizer  # imports torch

    basic: Callable[[str], list[str]] = get_tokenizer("basic_english")
    return lambda text: basic(BREAK.sub(" ", text))


def ids_of_words(words: Iterable[str], vocabulary: Sequence[str]) -> NDArray[np.int64]:
    """Return the ids of the words of one text, (T,); `UNKNOWN` for those not in the vocabulary."""
    ids_of = {word: number for number, word in enumerate(vocabulary) if number != PAD}
    return np.array([ids_of.get(word, UNKNOWN) for word in words], np.int64)


def encode(texts: Sequence[Sequence[str]], labels: Sequence[Sequence[int]], settings: Settings) -> Encoded:
    """Return training documents, test documents and the vocabulary; print progress every few seconds.

    Args:
        texts: the training texts and the test texts.
        labels: their labels.
        settings: the size of the vocabulary.

    Raises:
        DataError: no token of the training texts is as frequent as `settings` requires.
    """
    from torchtext.vocab import Vocab  # imports torch

    tokenize = tokenizer()
    tokens: list[list[list[str]]] = []
    last_line, done, total = time.monotonic(), 0, sum(map(len, texts))
    for split in texts:
        tokens.append([])
        for text in split:
            tokens[-1].append(tokenize(text))
            done += 1
            if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                print(f"splitting texts into words: {done:,} of {total:,}", flush=True)
    counts = Counter(token for document in tokens[0] for token in document)
    vocab = Vocab(counts, settings.vocabulary_size, settings.min_frequency, specials=list(SPECIALS))
    if len(vocab) == len(SPECIALS):
        raise DataError(
            f"no word occurs {settings.min_frequency} times in the training texts; lower data.min_frequency"
        )
    ids_of = dict(vocab.stoi)
    ids_of.pop(SPECIALS[PAD], None)  # the word "<pad>" in a text is an unknown word
    train, test = (_documents(*pair, ids_of) for pair in zip(tokens, labels, strict=True))
    return train, test, tuple(vocab.itos)


def _documents(tokens: Sequence[Sequence[str]], labels: Sequence[int], ids_of: dict[str, int]) -> Documents:
    """Return tokens as ids; an empty document becomes one unknown word."""
    encoded = [[ids_of.get(token, UNKNOWN) for token in words] or [UNKNOWN] for words in tokens]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    dtype = np.uint16 if max(ids_of.values(), default=0) < 2**16 else np.int32
    ids = np.fromiter((number for words in encoded for number in words), dtype, int(offsets[-1]))
    return Documents(ids, offsets, np.asarray(labels, np.int64))


def digest_of(texts: Sequence[Sequence[str]], labels: Sequence[Sequence[int]]) -> str:
    """Return a hexadecimal digest of the texts and labels of training and test set."""
    digest = hashlib.sha256()
    for split, split_labels in zip(texts, labels, strict=True):
        digest.update(f"{len(split)} {split_labels}\n".encode())
        for text in split:
            digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


def cached(folder: Path, digest: str, settings: Settings, make: Callable[[], Encoded]) -> Encoded:
    """Return the result of `make`, from a file in `folder` if an earlier run left it there.

    Args:
        folder: the cache. If it cannot be written, a message says so.
        digest: of the texts and labels; digest and settings name the file.
        settings: how the texts are encoded.
        make: encodes the texts; called if the file is missing or damaged.
    """
    path = folder / f"encoded-{sha256_of(f'{FORMAT} {digest} {settings}'.encode())[:16]}.npz"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"{path}: damaged ({error}); encoding the texts again")
    encoded = make()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _to_npz(*encoded))
    except OSError as error:
        print(f"{path}: cannot be written ({error.strerror}); the next run encodes the texts again")
    return encoded


def _to_npz(train: Documents, test: Documents, vocabulary: tuple[str, ...]) -> bytes:
    arrays = {"vocabulary": np.frombuffer("\n".join(vocabulary).encode(), np.uint8)}
    for split, documents in (("train", train), ("test", test)):
        arrays |= {f"{split}_{name}": array for name, array in vars(documents).items()}
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def _read(path: Path) -> Encoded:
    with np.load(path, allow_pickle=False) as file:  # the zip's own checksums detect damage
        train, test = (
            Documents(*(file[f"{split}_{name}"] for name in ("ids", "offsets", "labels")))
            for split in ("train", "test")
        )
        return train, test, tuple(file["vocabulary"].tobytes().decode().split("\n"))
