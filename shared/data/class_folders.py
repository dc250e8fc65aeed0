"""A user's own data: a folder per class, containing a file per example."""

from collections.abc import Collection
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError


class ClassFolders(NamedTuple):
    """The files of a training and a test set, class by class, and their labels, int64 (N,)."""

    classes: tuple[str, ...]
    train: list[Path]
    test: list[Path]
    train_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]


def list_class_folders(
    root: Path, suffixes: Collection[str], kind: str, test_fraction: float
) -> ClassFolders:
    """Return the files in `root/train/CLASS/*` and `root/test/CLASS/*`.

    If there are no folders `train` and `test`, the classes are the folders of `root` itself, and a
    fixed seed draws the test set. Without `train`, or if it is empty, the training set is empty: enough
    to evaluate. Hidden files and folders and other file types are ignored.

    Args:
        root: the folder.
        suffixes: of the files, in lower case: {".txt"}.
        kind: what the files are, for messages: "texts".
        test_fraction: of each class's files, at least one, if the test set has to be drawn.

    Raises:
        DataError: there are fewer than two classes, a class has no files (or a single one that would
            have to be split), or the test set has a class that the training set lacks.
    """
    train: dict[str, list[Path]] = {}
    test: dict[str, list[Path]] = {}
    names = {folder.name for folder in _visible_folders(root)}
    if names == {"test"} or {"train", "test"} <= names:
        test = _list(root / "test", suffixes, kind)
        train = {name: [] for name in test}
        if _visible_folders(root / "train"):
            train = _list(root / "train", suffixes, kind)
        unknown = sorted(set(test) - set(train))
        if unknown:
            raise DataError(
                f"{root / 'test'}: the class {unknown[0]} has no folder in {root / 'train'}: add "
                f"{kind} for training, or remove it"
            )
    else:
        random = np.random.default_rng(0)
        for name, paths in _list(root, suffixes, kind).items():
            if len(paths) < 2:
                raise DataError(
                    f"{root / name}: one file cannot be split into training and test set: add some"
                )
            shuffled = [paths[position] for position in random.permutation(len(paths))]
            count = min(max(1, round(test_fraction * len(paths))), len(paths) - 1)
            train[name], test[name] = shuffled[count:], shuffled[:count]
    test = {name: test.get(name, []) for name in train}
    labels = (np.repeat(np.arange(len(train)), [*map(len, files.values())]) for files in (train, test))
    return ClassFolders(tuple(train), [*chain(*train.values())], [*chain(*test.values())], *labels)


def _list(folder: Path, suffixes: Collection[str], kind: str) -> dict[str, list[Path]]:
    """Return the files of each class folder, sorted by name."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; set data.root to the folder with the {kind}")
    found = {
        place.name: sorted(
            path
            for path in place.iterdir()
            if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
        )
        for place in _visible_folders(folder)
    }
    if len(found) < 2:
        raise DataError(
            f"{folder}: expected a folder for each of at least two classes, with {kind} in it; "
            f"found {', '.join(found) or 'none'}"
        )
    for name, paths in found.items():
        if not name.isprintable():  # bytes that are not UTF-8 are not printable, either
            raise DataError(f"{folder}: {name!r} is not a valid class name; rename the folder")
        if not paths:
            raise DataError(f"{folder / name}: this class has no {kind} ({', '.join(sorted(suffixes))})")
    return found


def _visible_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without those that hold no data; [] if there is none."""
    return [place for place in sorted(folder.glob("*/")) if not place.name.startswith((".", "__MACOSX"))]
