"""MNIST: 70,000 handwritten digits of 28x28 pixels (LeCun, Cortes and Burges, 1998)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.data import digits
from shared.data.fetch import FileSet, RemoteFile, fetch
from shared.data.images import ImageData
from shared.errors import DataError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

# Names and MD5 digests of the decompressed files as LeCun published them. torchvision reads the
# same files from the same two mirrors (torchvision/datasets/mnist.py).
PUBLISHED = FileSet(
    name="mnist",
    title="MNIST",
    files=(
        RemoteFile(TRAIN_IMAGES, 47_040_016, "6bbc9ace898e44ae57da46a324031adb", 9_912_422),
        RemoteFile(TRAIN_LABELS, 60_008, "a25bea736e30d166cdddb491f175f624", 28_881),
        RemoteFile(TEST_IMAGES, 7_840_016, "2646ac647ad5339dbf082846283269ea", 1_648_877),
        RemoteFile(TEST_LABELS, 10_008, "27ae3e4e09519cfbb04c329615203637", 4_542),
    ),
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
)


def load(
    root: Path, download: bool = True, fallback: str | None = "digits", published: FileSet = PUBLISHED
) -> ImageData:
    """Return MNIST: 60,000 training and 10,000 test images, uint8 (N, 28, 28), read-only.

    Args:
        root: the cache; MNIST is in `root/mnist`.
        download: whether the network may be used.
        fallback: if MNIST is not available, `"digits"` returns the embedded sample; None raises.
        published: the files and their digests; tests pass another set of the same names.

    Raises:
        DataError: MNIST is not available, and `fallback` is None.
    """
    try:
        contents, source = fetch(published, root, download)
    except DataError as error:
        if fallback is None:
            raise
        print(
            f"{error}\nMNIST is not available: falling back to the embedded sample, 1,797 real handwritten "
            "8x8 digits from scikit-learn. Its accuracy says nothing about MNIST's."
        )
        return digits.load()
    arrays = {name: read_idx(content) for name, content in contents.items()}
    train, test = arrays[TRAIN_IMAGES], arrays[TEST_IMAGES]
    train_labels, test_labels = (arrays[name].astype(np.int64) for name in (TRAIN_LABELS, TEST_LABELS))
    return ImageData("mnist", train, train_labels, test, test_labels, digits.CLASSES, False, source)


def read_idx(content: bytes) -> NDArray[np.uint8]:
    """Return the array in an IDX file of unsigned bytes: uint8, read-only, of the file's shape.

    The format, from the end of LeCun's MNIST page (yann.lecun.com/exdb/mnist): two zero bytes, a
    byte for the element type, a byte for the number of dimensions, the length of each dimension
    as a big-endian 32-bit integer, then the elements in C order.
    """
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
