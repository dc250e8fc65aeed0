"""What every text loader returns: token ids of training and test documents, and their vocabulary.

Texts become tokens by torchtext's `basic_english` and ids by a `torchtext.vocab.Vocab` of the
training documents alone, once: what comes out is cached under a key made of the content and the
settings. torchtext imports torch, so it is imported here only when something is encoded.
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
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError
from shared.files import write_atomically

Say = Callable[[str], None]
Keep = Literal["first", "last"]

PAD, UNKNOWN = 0, 1  # ids; no token of a text is PAD
SPECIALS = ("<pad>", "<unk>")
FORMAT = 1  # of the cached file; another number makes old files useless
BREAK = re.compile(r"<br\s*/?>")
SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class Settings:
    """How texts become ids.

    Attributes:
        vocabulary_size: At most so many tokens, the most frequent ones, beside `SPECIALS`.
        min_frequency: Only tokens that occur so often in the training documents.
    """

    vocabulary_size: int
    min_frequency: int


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents as ids, one after the other, and their labels.

    Attributes:
        ids: uint16 or int32 (M,), no `PAD` among them.
        offsets: int64 (N + 1,); document n is ids[offsets[n]:offsets[n + 1]], never empty.
        labels: int64 (N,), an index into the data set's classes.
    """

    ids: NDArray[Any]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return how many tokens each document has, (N,)."""
        return np.diff(self.offsets)

    def take(self, which: NDArray[np.int64]) -> "Documents":
        """Return the documents at the positions `which`, in that order."""
        parts = [self.ids[self.offsets[n] : self.offsets[n + 1]] for n in which]
        offsets = np.concatenate([[0], np.cumsum(self.lengths[which])])
        return Documents(np.concatenate(parts), offsets, self.labels[which])


@dataclass(frozen=True, eq=False)
class TextData:
    """A text classification data set.

    Attributes:
        name: Its short name, such as "imdb".
        train: The documents to train with.
        test: The documents to test with.
        vocabulary: The token of each id; `SPECIALS` first.
        classes: The name of each class.
        embedded: Whether this is the generated sample that needs no network.
        source: In plain words, where the data came from.
        own_classes: Whether a user has named the classes: then their names are data too.
        sha256: Hex digest of vocabulary, ids, offsets and labels, and of such names.
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
        """Return the vocabulary as UTF-8, a token a line: the first line is token 0."""
        return "\n".join(self.vocabulary).encode()

    @property
    def sha256(self) -> str:
        """Return the digest of what the networks see."""
        digest = hashlib.sha256(self.vocabulary_file)
        for documents in (self.train, self.test):
            for array in (documents.ids.astype(np.int32), documents.offsets, documents.labels):
                digest.update(np.ascontiguousarray(array).data)
        if self.own_classes:
            digest.update(json.dumps(self.classes).encode())
        return digest.hexdigest()

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the tokens that `ids` stand for, padding left out."""
        return [self.vocabulary[number] for number in ids if number != PAD]


class Sequences:
    """Documents as the inputs of a network: what is taken out is padded to one length.

    Indexing with positions (n,) or a slice gives int64 (n, T), T being the length of the longest of
    them, `longest` at most: of a longer document its last words are kept, where most reviews come
    to their verdict, or its first ones. `PAD` fills up the others, on the right.

    Attributes:
        lengths: how many words of each document are taken, int64 (N,).
        starts: where they begin in `documents.ids`, int64 (N,).
    """

    def __init__(self, documents: Documents, longest: int, keep: Keep = "last") -> None:
        self.documents = documents
        self.lengths = np.minimum(documents.lengths, longest)
        self.starts = documents.offsets[:-1]
        if keep == "last":
            self.starts = documents.offsets[1:] - self.lengths

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, which: NDArray[np.int64] | slice) -> NDArray[np.int64]:
        lengths = self.lengths[which]
        steps = np.arange(lengths.max(initial=0))
        there = steps < lengths[:, None]
        padded = np.full(there.shape, PAD, np.int64)
        padded[there] = self.documents.ids[(self.starts[which][:, None] + steps)[there]]
        return padded


def tokenizer() -> Callable[[str], list[str]]:
    """Return torchtext's `basic_english`: lower case, punctuation as tokens of its own."""
    from torchtext.data.utils import get_tokenizer  # imports torch

    basic: Callable[[str], list[str]] = get_tokenizer("basic_english")
    return lambda text: basic(BREAK.sub(" ", text))


def ids_of_words(words: Iterable[str], vocabulary: Sequence[str]) -> NDArray[np.int64]:
    """Return the ids of the words of one text, (T,); `UNKNOWN` for those not in the vocabulary."""
    ids_of = {word: number for number, word in enumerate(vocabulary) if number != PAD}
    return np.array([ids_of.get(word, UNKNOWN) for word in words], np.int64)


def encode(
    texts: Sequence[Sequence[str]], labels: Sequence[Sequence[int]], settings: Settings, say: Say
) -> tuple[Documents, Documents, tuple[str, ...]]:
    """Return training documents, test documents and the vocabulary.

    Args:
        texts: The training texts and the test texts.
        labels: Their labels.
        settings: How many tokens the vocabulary has.
        say: Takes a line of progress every few seconds.

    Raises:
        DataError: No token of the training texts is as frequent as `settings` asks for.
    """
    from torchtext.vocab import Vocab  # imports torch

    tokenize = tokenizer()
    tokens: list[list[list[str]]] = []
    said, done, total = time.monotonic(), 0, sum(len(split) for split in texts)
    for split in texts:
        tokens.append([])
        for text in split:
            tokens[-1].append(tokenize(text))
            done += 1
            if time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                say(f"splitting texts into words: {done:,} of {total:,}")
    counts = Counter(token for document in tokens[0] for token in document)
    vocab = Vocab(
        counts, max_size=settings.vocabulary_size, min_freq=settings.min_frequency, specials=list(SPECIALS)
    )
    if len(vocab) == len(SPECIALS):
        raise DataError(
            f"no word occurs {settings.min_frequency} times in the training texts; lower data.min_frequency"
        )
    ids_of = dict(vocab.stoi)
    ids_of.pop(SPECIALS[PAD], None)  # a text that says "<pad>" says an unknown word
    train, test = (
        _documents(split, split_labels, ids_of) for split, split_labels in zip(tokens, labels, strict=True)
    )
    return train, test, tuple(vocab.itos)


def _documents(tokens: Sequence[Sequence[str]], labels: Sequence[int], ids_of: dict[str, int]) -> Documents:
    """Return tokens as ids; a document without any is one unknown word."""
    encoded = [[ids_of.get(token, UNKNOWN) for token in words] or [UNKNOWN] for words in tokens]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    dtype = np.uint16 if max(ids_of.values(), default=0) < 2**16 else np.int32
    ids = np.fromiter((number for words in encoded for number in words), dtype, int(offsets[-1]))
    return Documents(ids, offsets, np.asarray(labels, np.int64))


def cached(
    folder: Path,
    content_digest: str,
    settings: Settings,
    make: Callable[[], tuple[Documents, Documents, tuple[str, ...]]],
    say: Say = print,
) -> tuple[Documents, Documents, tuple[str, ...]]:
    """Return what `make` gives, from a file in `folder` where an earlier run has left it.

    Args:
        folder: The cache of the data set; what cannot be written there costs a notice, no more.
        content_digest: Of the texts and labels; with the settings it names the file.
        settings: How the texts are encoded.
        make: Encodes; called when there is no file yet, or a damaged one.
        say: Takes each message.
    """
    key = hashlib.sha256(f"{FORMAT} {content_digest} {settings}".encode()).hexdigest()[:16]
    path = folder / f"encoded-{key}.npz"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        say(f"{path}: damaged ({error}); encoding the texts again")
    made = make()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _packed(made))
    except OSError as error:
        say(f"{path}: cannot be written ({error.strerror}); the next run encodes the texts again")
    return made


def _packed(made: tuple[Documents, Documents, tuple[str, ...]]) -> bytes:
    train, test, vocabulary = made
    content = io.BytesIO()
    np.savez(
        content,
        vocabulary=np.frombuffer("\n".join(vocabulary).encode(), np.uint8),
        **{
            f"{name}_{part}": getattr(documents, part)
            for name, documents in (("train", train), ("test", test))
            for part in ("ids", "offsets", "labels")
        },
    )
    return content.getvalue()


def _read(path: Path) -> tuple[Documents, Documents, tuple[str, ...]]:
    with np.load(path, allow_pickle=False) as file:  # the zip's own checksums notice damage
        train, test = (
            Documents(*(file[f"{name}_{part}"] for part in ("ids", "offsets", "labels")))
            for name in ("train", "test")
        )
        return train, test, tuple(file["vocabulary"].tobytes().decode().split("\n"))
