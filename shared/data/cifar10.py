"""CIFAR-10: pictures of 32x32 pixels in ten classes (Krizhevsky 2009, technical report)."""

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.data import pictures
from shared.data.cache import cached_arrays
from shared.data.fetch import FileSet, RemoteFile, archives_folder, fetch
from shared.data.images import ImageData
from shared.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32  # pixels
SUBSET = "cifar10-jpeg-subset.tar.gz"
SUBSET_COUNTS = {"train": 2_500, "test": 500}  # pictures per class
ARCHIVE = "cifar-10-python.tar.gz"

# URL and MD5 digest are those that torchvision uses (torchvision/datasets/cifar.py).
PUBLISHED = FileSet(
    name="cifar10",
    title="CIFAR-10",
    files=(RemoteFile(ARCHIVE, 170_498_071, "c58f30108f718f92721af3b95e74349a"),),
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
)


def load(root: Path, download: bool = True, published: FileSet = PUBLISHED) -> ImageData:
    """Return CIFAR-10, or the part of it that is in the archives: uint8 (N, 32, 32, 3).

    `DATA_ARCHIVES` may contain `cifar10/{train,test}/CLASS/*.jpg`, or this folder packed in
    `cifar10/cifar10-jpeg-subset.tar.gz`, or the published archive.

    Args:
        root: the cache; CIFAR-10 is in `root/cifar10`.
        download: whether the network may be used (170 MB).
        published: the archive and its digest.

    Raises:
        DataError: it is not available, or is damaged.
    """
    cache, archives = root / "cifar10", archives_folder()
    if archives is not None and not (cache / ARCHIVE).exists():
        folder = archives / "cifar10"
        if all((folder / split).is_dir() for split in SUBSET_COUNTS):
            return pictures.load_folder(folder, SIDE, 0.2, cache, "cifar10")
        if (folder / SUBSET).is_file():
            return _read_subset(folder / SUBSET, cache)
    contents, source = fetch(published, root, download)
    return _read_published(contents[ARCHIVE], source)


def _read_subset(archive: Path, cache: Path) -> ImageData:
    """Return the JPEGs of the archive, decoded once and kept as arrays."""
    facts = archive.stat()
    path = cache / f"subset_{facts.st_size}_{facts.st_mtime_ns}.npz"
    images = cached_arrays(path, lambda: {"images": _decode_subset(archive)})["images"]
    train, test = (np.repeat(np.arange(len(CLASSES)), count) for count in SUBSET_COUNTS.values())
    first, last = images[: len(train)], images[len(train) :]
    source = f"archive {archive}"
    return ImageData("cifar10_subset", first, train, last, test, CLASSES, embedded=False, source=source)


def _decode_subset(archive: Path) -> NDArray[np.uint8]:
    """Return the pictures of the training set, then of the test set, each by class and name."""
    print(f"decoding the pictures of {archive}, once", flush=True)
    found: dict[tuple[str, ...], dict[str, NDArray[np.uint8]]] = {
        (split, name): {} for split in SUBSET_COUNTS for name in CLASSES
    }
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member)  # read here; nothing is written to disk
                path = Path(member.name)  # cifar10/train/CLASS/NAME
                if file is not None and (folder := path.parts[1:-1]) in found:
                    picture = pictures.decode(file.read(), f"{archive}: {path}", SIDE)
                    found[folder][path.name] = picture
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive}: damaged ({error}); copy it again") from error
    for (split, name), images in found.items():
        if len(images) != SUBSET_COUNTS[split]:
            raise DataError(
                f"{archive}: {len(images)} pictures in {split}/{name}, expected {SUBSET_COUNTS[split]}; "
                "copy it again"
            )
    return np.stack([images[name] for images in found.values() for name in sorted(images)])


class _OnlyArrays(pickle.Unpickler):
    """Loads NumPy arrays, of which the published batches consist, and refuses to run anything else."""

    ALLOWED = ("_reconstruct", "ndarray", "dtype", "encode")

    def find_class(self, module: str, name: str) -> Any:
        """Return NumPy's constructors."""
        if module.partition(".")[0] in ("numpy", "_codecs") and name in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in CIFAR-10")


def _read_published(content: bytes, source: str) -> ImageData:
    """Return the author's archive: five batches of the training set and one test batch."""
    batches = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and "_batch" in member.name:
                batches[Path(member.name).name] = _OnlyArrays(file, encoding="bytes").load()

    def arrays(*names: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        rows = np.concatenate([batches[name][b"data"] for name in names])
        labels = np.concatenate([batches[name][b"labels"] for name in names]).astype(np.int64)
        images = rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), labels

    train = arrays(*(f"data_batch_{number}" for number in range(1, 6)))
    return ImageData("cifar10", *train, *arrays("test_batch"), CLASSES, embedded=False, source=source)
