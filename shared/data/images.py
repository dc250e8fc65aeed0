"""What every image loader returns, and images that stay bytes until they are used."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, eq=False)
class ImageData:
    """An image classification data set, with the split its authors chose.

    Attributes:
        name: The data set's short name, such as `"mnist"`.
        train_images: uint8, shape (N, H, W), 0 is background, 255 is full ink; or of colors,
            (N, H, W, 3), red, green and blue.
        train_labels: int64, shape (N,); an index into `classes`.
        test_images: uint8, shape (M, H, W) or (M, H, W, 3).
        test_labels: int64, shape (M,).
        classes: The name of each class.
        embedded: Whether this is the bundled sample that needs no network.
        source: In plain words, where the data came from: `"cache data/mnist"`.
        own_classes: Whether a user has named the classes: then their names are data too.
        sha256: Hex digest of the four arrays, in the order above. Each one enters as the ASCII
            line `"NAME DTYPE SHAPE\\n"`, for example `"train_labels int64 (60000,)\\n"`, then
            its elements in C order; with `own_classes` JSON's list of their names comes last.
            Computed here, so that it always describes these arrays.

    Raises:
        ValueError: A dtype or shape is not as above, images and labels differ in number, the
            training and test images differ in size, or a label names no class.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    embedded: bool
    source: str
    own_classes: bool = False
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        self._check_split("train", self.train_images, self.train_labels)
        self._check_split("test", self.test_images, self.test_labels)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise ValueError(
                f"{self.name}: training images are {self.train_images.shape[1:]}, "
                f"test images {self.test_images.shape[1:]}"
            )
        object.__setattr__(self, "sha256", self._digest())  # the one way to set a frozen field

    def _check_split(self, split: str, images: np.ndarray, labels: np.ndarray) -> None:
        fits = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
        if images.dtype != np.uint8 or not fits or images.size == 0:
            raise ValueError(
                f"{self.name}: {split} images must be uint8 (N, H, W) or (N, H, W, 3), not empty; "
                f"these are {images.dtype} {images.shape}"
            )
        if labels.dtype != np.int64 or labels.shape != (len(images),):
            raise ValueError(
                f"{self.name}: {split} labels must be int64 ({len(images)},), one an image; "
                f"these are {labels.dtype} {labels.shape}"
            )
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise ValueError(
                f"{self.name}: {split} labels run from {labels.min()} to {labels.max()}, "
                f"but there are {len(self.classes)} classes"
            )

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name in ARRAYS:
            array = getattr(self, name)
            digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode("ascii"))
            digest.update(np.ascontiguousarray(array).data)
        if self.own_classes:
            digest.update(json.dumps(self.classes).encode())
        return digest.hexdigest()

    def limited(self, train: int | None, test: int | None) -> "ImageData":
        """Return the first `train` training and the first `test` test examples at most.

        MNIST's examples stand in random order, so the first n are a fair sample. `None`, or more
        than there are, keeps all. The arrays are views, and `sha256` describes what is left.

        Raises:
            ValueError: A limit is below 1.
        """
        for limit in (train, test):
            if limit is not None and limit < 1:
                raise ValueError(f"{self.name}: a limit must be 1 or more, not {limit:,}")
        return replace(
            self,
            train_images=self.train_images[:train],
            train_labels=self.train_labels[:train],
            test_images=self.test_images[:test],
            test_labels=self.test_labels[:test],
        )


@dataclass(frozen=True, eq=False)
class Standardized:
    """Gray images kept as bytes; what is taken out of them comes standardized.

    A quarter of the memory of float32, to keep and to change: a batch is looked up in 0.1 ms.

    Attributes:
        pixels: uint8 (N, H, W).
        table: what each of the 256 gray values becomes, float32 (256,). On a GPU both are tensors,
            and batches are looked up in training/torch_inputs.py.
    """

    pixels: Any
    table: Any

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Return some images, float32 (n, H, W)."""
        images: NDArray[np.float32] = self.table.take(self.pixels[rows])
        return images
