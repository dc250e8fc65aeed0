"""Anybody's own texts: a folder, in it a folder a class, in it a text a file."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shared.data import text
from shared.data.text import Say, Settings, TextData
from shared.errors import DataError

SPLITS = ("train", "test")
LONGEST_FILE = 1 << 24  # bytes

Texts = dict[str, list[str]]  # by class


def load(root: Path, settings: Settings, test_fraction: float, say: Say = print) -> TextData:
    """Return the texts in `root/train/CLASS/*.txt` and `root/test/CLASS/*.txt`.

    Where there are no folders `train` and `test`, the classes are the folders of `root` itself, and
    those to test with are drawn by a fixed seed from the file names. Hidden files and folders are
    left out. The encoded texts are cached in `root`.

    Args:
        root: The folder.
        settings: How the texts are encoded.
        test_fraction: How many texts of each class are kept to test with, one at least, where
            `root` does not say which.
        say: Takes each message.

    Raises:
        DataError: There are not two classes, one has no texts (or a single one where they have to
            be split), the test set has a class that the training set has not, or a text is not
            UTF-8.
    """
    if all((root / split).is_dir() for split in SPLITS):
        train, test = (_read(root / split) for split in SPLITS)
        unknown = sorted(set(test) - set(train))
        if unknown:
            raise DataError(f"{root / 'test'}: the class {unknown[0]} has no folder in {root / 'train'}")
    else:
        train, test = _split(_read(root), root, test_fraction)
    classes = sorted(train)
    pairs = [[(one, texts) for one in classes for texts in split.get(one, [])] for split in (train, test)]
    texts = [[content for _, content in split] for split in pairs]
    labels = [[classes.index(one) for one, _ in split] for split in pairs]
    train_set, test_set, vocabulary = text.cached(
        root, _digest(texts, labels), settings, lambda: text.encode(texts, labels, settings, say), say
    )
    return TextData(
        "text_folder",
        train_set,
        test_set,
        vocabulary,
        tuple(classes),
        embedded=False,
        source=f"folder {root}",
        own_classes=True,
    )


def _read(folder: Path) -> Texts:
    """Return the texts of each class folder, in the order of the file names."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; data.root=PATH names the texts")
    found = {
        place.name: [_text(path) for path in sorted(place.glob("[!.]*.txt"))]
        for place in sorted(folder.iterdir())
        if place.is_dir() and not place.name.startswith(".")
    }
    if len(found) < 2:
        raise DataError(
            f"{folder}: expected a folder for each of at least two classes, with one text a .txt "
            f"file; found {', '.join(found) or 'none'}"
        )
    for name, texts in found.items():
        if not texts:
            raise DataError(f"{folder / name}: this class has no texts (*.txt)")
    return found


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise DataError(f"{path}: cannot be read (it is no file)")
        size = path.stat().st_size
        if size > LONGEST_FILE:
            raise DataError(f"{path}: {size:,} bytes; a text may have {LONGEST_FILE:,} at most")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _split(found: Texts, root: Path, test_fraction: float) -> tuple[Texts, Texts]:
    """Return training and test texts of each class, drawn by a fixed seed."""
    random = np.random.default_rng(0)
    train, test = {}, {}
    for name, texts in found.items():
        if len(texts) < 2:
            raise DataError(f"{root / name}: one text cannot be split into training and test set")
        shuffled = [texts[position] for position in random.permutation(len(texts))]
        kept = min(max(1, round(test_fraction * len(texts))), len(texts) - 1)
        train[name], test[name] = shuffled[kept:], shuffled[:kept]
    return train, test


def _digest(texts: Sequence[Sequence[str]], labels: Sequence[Sequence[int]]) -> str:
    digest = hashlib.sha256()
    for split, split_labels in zip(texts, labels, strict=True):
        digest.update(f"{len(split)} {split_labels}\n".encode())
        for one in split:
            digest.update(hashlib.sha256(one.encode()).digest())
    return digest.hexdigest()
