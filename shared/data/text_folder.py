"""A user's own texts: a folder per class, containing a text per file."""

from pathlib import Path

from shared.data import text
from shared.data.class_folders import list_class_folders
from shared.data.text import Settings, TextData
from shared.errors import DataError
from shared.files import read_file

LONGEST_FILE = 1 << 24  # bytes


def load(root: Path, settings: Settings, test_fraction: float) -> TextData:
    """Return the texts in `root/train/CLASS/*.txt` and `root/test/CLASS/*.txt`.

    Args:
        root: the folder; see `list_class_folders`. The encoded texts are cached in it.
        settings: how the texts are encoded.
        test_fraction: fraction of each class's texts that are used for testing, if `root` does not
            have both sets.

    Raises:
        DataError: as `list_class_folders`, or a text is too long or not UTF-8.
    """
    folders = list_class_folders(root, {".txt"}, "texts", test_fraction)
    texts = [[_read(path) for path in paths] for paths in (folders.train, folders.test)]
    labels = [folders.train_labels.tolist(), folders.test_labels.tolist()]
    encoded = text.cached(
        root, text.digest_of(texts, labels), settings, lambda: text.encode(texts, labels, settings)
    )
    return TextData(
        "text_folder", *encoded, folders.classes, embedded=False, source=f"folder {root}", own_classes=True
    )


def _read(path: Path) -> str:
    content = read_file(path)
    if len(content) > LONGEST_FILE:
        raise DataError(f"{path}: {len(content):,} bytes; a text may have at most {LONGEST_FILE:,}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
