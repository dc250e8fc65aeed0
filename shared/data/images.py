"""What every image loader returns, and gray images that stay bytes until they are used."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ImageData:
    """An image classification data set, with the training and test set that its authors chose.

    Attributes:
        name: its short name, such as "mnist".
        train_images: uint8 (N, H, W), 0 is background and 255 full ink, or RGB, (N, H, W, 3).
        train_labels: int64 (N,), indices into `classes`.
        test_images, test_labels: the same for M test examples.
        classes: the name of each class.
        embedded: whether this is the bundled sample, which needs no network.
        source: where the data came from, for people: "cache data/mnist".
        own_classes: whether a user named the classes: then the names enter the digest.
        sha256: hexadecimal digest of names, dtypes, shapes and elements of the four arrays, and of
            the class names with `own_classes`.

    Raises:
        ValueError: the arrays are not as described here, or do not fit each other.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    embedded: bool
    source: str
    own_classes: bool = False
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        self._check("train", self.train_images, self.train_labels)
        self._check("test", self.test_images, self.test_labels)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise ValueError(
                f"{self.name}: training images are {self.train_images.shape[1:]}, "
                f"test images {self.test_images.shape[1:]}"
            )
        digest = hashlib.sha256()
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            array = getattr(self, name)
            digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode("ascii"))
            digest.update(np.ascontiguousarray(array).data)
        if self.own_classes:
            digest.update(json.dumps(self.classes).encode())
        object.__setattr__(self, "sha256", digest.hexdigest())  # the class is frozen

    def _check(self, split: str, images: NDArray[Any], labels: NDArray[Any]) -> None:
        gray_or_rgb = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
        if images.dtype != np.uint8 or not gray_or_rgb or images.size == 0:
            raise ValueError(
                f"{self.name}: {split} images must be uint8 (N, H, W) or (N, H, W, 3), not empty; "
                f"these are {images.dtype} {images.shape}"
            )
        if labels.dtype != np.int64 or labels.shape != (len(images),):
            raise ValueError(
                f"{self.name}: {split} labels must be int64 ({len(images)},), one per image; "
                f"these are {labels.dtype} {labels.shape}"
            )
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise ValueError(
                f"{self.name}: {split} labels range from {labels.min()} to {labels.max()}, "
                f"but there are {len(self.classes)} classes"
            )

    def limit(self, train: int | None, test: int | None) -> "ImageData":
        """Return a view of the first `train` training and `test` test examples; None keeps all.

        MNIST's examples are in random order, so the first ones are a fair sample.
        """
        return replace(
            self,
            train_images=self.train_images[:train],
            train_labels=self.train_labels[:train],
            test_images=self.test_images[:test],
            test_labels=self.test_labels[:test],
        )


@dataclass(frozen=True, eq=False)
class Standardized:
    """Gray images kept as bytes, a quarter of float32's memory; indexing standardizes them.

    Attributes:
        pixels: uint8 (N, H, W).
        table: the standardized value of each of the 256 gray levels, float32 (256,).
    """

    pixels: Any
    table: Any

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Return some images, float32 (n, H, W)."""
        images: NDArray[np.float32] = self.table.take(self.pixels[rows])
        return images
