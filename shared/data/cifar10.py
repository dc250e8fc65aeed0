"""CIFAR-10: pictures of 32x32 pixels in ten classes (Krizhevsky 2009, technical report).

Three forms of it are read: arrays in the cache; a folder or an archive of JPEGs in the folder of
archives, a part of the data set; the archive that its author publishes and torchvision downloads.
"""

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.data import pictures, store
from shared.data.images import ImageData
from shared.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32  # pixels
SUBSET = "cifar10-jpeg-subset.tar.gz"
SUBSET_COUNTS = {"train": 2_500, "test": 500}  # pictures a class
ARCHIVE = "cifar-10-python.tar.gz"

# URL and MD5 digest are those that torchvision uses (torchvision/datasets/cifar.py).
PUBLISHED = store.FileSet(
    name="cifar10",
    title="CIFAR-10",
    files=(
        store.SourceFile(ARCHIVE, 170_498_071, "c58f30108f718f92721af3b95e74349a", 170_498_071, packed=False),
    ),
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
)


def load(
    root: Path,
    archives: Path | None,
    download: bool = True,
    say: store.Say = print,
    progress: store.Progress | None = None,
    published: store.FileSet = PUBLISHED,
) -> ImageData:
    """Return CIFAR-10, or the part of it that is in the archives: uint8 (N, 32, 32, 3).

    Args:
        root: the cache; CIFAR-10 lies in `root/cifar10`.
        archives: a folder with `cifar10/{train,test}/CLASS/*.jpg`, or with that folder packed in
            `cifar10/cifar10-jpeg-subset.tar.gz`, or None; see `store.archives_folder`.
        download: whether the network may be asked (170 MB).
        say: takes each message.
        progress: takes (file name, bytes received, bytes expected) during a download.
        published: the archive and its digest; another one serves tests.

    Raises:
        DataError: it cannot be had, or is damaged.
    """
    cache = root / "cifar10"
    if archives is not None and not (cache / ARCHIVE).exists():
        folder = archives / "cifar10"
        if all((folder / split).is_dir() for split in SUBSET_COUNTS):
            return pictures.load_folder(folder, SIDE, 0.2, "cifar10", cache, say)
        if (folder / SUBSET).is_file():
            return _subset(folder / SUBSET, cache, say)
    obtained = store.obtain(published, root, archives, download, say, progress)
    return _published(obtained.contents[ARCHIVE], obtained.source)


def _subset(archive: Path, cache: Path, say: store.Say) -> ImageData:
    """Return the JPEGs of the archive, decoded once and kept as arrays."""
    facts = archive.stat()
    counts = [len(CLASSES) * count for count in SUBSET_COUNTS.values()]
    kept = cache / f"subset_{facts.st_size}_{facts.st_mtime_ns}.npy"
    images = pictures.read_array(kept, (sum(counts), SIDE, SIDE, 3))
    if images is None:
        say(f"decoding {sum(counts):,} pictures of {archive}, once")
        images = _decoded_subset(archive)
        pictures.keep_array(kept, images, say)
    train, test = (np.repeat(np.arange(len(CLASSES)), count) for count in SUBSET_COUNTS.values())
    return ImageData(
        "cifar10_subset",
        images[: counts[0]],
        train,
        images[counts[0] :],
        test,
        CLASSES,
        embedded=False,
        source=f"archive {archive}",
    )


def _decoded_subset(archive: Path) -> NDArray[np.uint8]:
    """Return the pictures in the order train before test, by class, by name."""
    found: dict[tuple[str, str], list[tuple[str, NDArray[np.uint8]]]] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member)  # read here; nothing is written to the disk
                place = Path(member.name).parts
                if file is not None and len(place) == 4:
                    image = pictures.decode(file.read(), f"{archive}: {member.name}", SIDE)
                    found.setdefault((place[1], place[2]), []).append((place[3], image))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive}: damaged ({error}); copy it again") from error
    for split, count in SUBSET_COUNTS.items():
        for name in CLASSES:
            if len(found.get((split, name), [])) != count:
                raise DataError(
                    f"{archive}: {len(found.get((split, name), []))} pictures in {split}/{name}, "
                    f"expected {count}; copy it again"
                )
    return np.stack(
        [
            image
            for split in SUBSET_COUNTS
            for one in CLASSES
            for _, image in sorted(found[split, one], key=lambda pair: pair[0])
        ]
    )


class _OnlyArrays(pickle.Unpickler):
    """Reads what the published batches consist of, and runs nothing else."""

    ALLOWED = ("_reconstruct", "ndarray", "dtype", "encode")

    def find_class(self, module: str, name: str) -> Any:
        """Return NumPy's constructors."""
        if module.partition(".")[0] in ("numpy", "_codecs") and name in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in CIFAR-10")


def _published(content: bytes, source: str) -> ImageData:
    """Return what the author's archive holds: five batches to train with and one to test with."""
    batches = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and "_batch" in member.name:
                batches[Path(member.name).name] = _OnlyArrays(file, encoding="bytes").load()
    names = [f"data_batch_{number}" for number in range(1, 6)]
    train = [batches[name] for name in names]
    test = [batches["test_batch"]]
    arrays: list[NDArray[Any]] = []
    for split in (train, test):
        rows = np.concatenate([batch[b"data"] for batch in split])
        labels = np.concatenate([batch[b"labels"] for batch in split]).astype(np.int64)
        images = rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        arrays += [np.ascontiguousarray(images), labels]
    return ImageData(
        "cifar10", arrays[0], arrays[1], arrays[2], arrays[3], CLASSES, embedded=False, source=source
    )
