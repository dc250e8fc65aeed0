"""What every image loader returns, and gray images that stay bytes until they are used."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ImageData:
    """An image classification data set, with the training and test set that its authors chose.

    Raises:
        ValueError: the arrays are not as described here, or do not fit each other.
    """

    name: str  # short, such as "mnist"
    train_images: NDArray[np.uint8]  # (N, H, W), 0 is background and 255 full ink, or RGB, (N, H, W, 3)
    train_labels: NDArray[np.int64]  # (N,), indices into `classes`
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    embedded: bool  # whether this is the bundled sample, which needs no network
    source: str  # where the data came from, for people: "cache data/mnist"
    own_classes: bool = False  # whether a user named the classes: then the names enter the digest

    def __post_init__(self) -> None:
        self._check("train", self.train_images, self.train_labels)
        self._check("test", self.test_images, self.test_labels)
        train, test = self.train_images.shape[1:], self.test_images.shape[1:]
        if train != test:
            raise ValueError(f"{self.name}: training images are {train}, test images {test}")

    @cached_property
    def mean_and_std(self) -> tuple[float, float]:
        """Mean and standard deviation of the training pixels, 0 to 1."""
        # In parts, because bincount converts what it counts to int64.
        parts, values = np.array_split(self.train_images, 100), np.arange(256) / 255
        counts = np.sum([np.bincount(part.ravel(), minlength=256) for part in parts], axis=0)
        mean = np.average(values, weights=counts)
        return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))

    @cached_property
    def sha256(self) -> str:
        """The hexadecimal digest of the arrays, and of the class names with `own_classes`."""
        digest = hashlib.sha256()
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            array = getattr(self, name)
            digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode("ascii"))
            digest.update(np.ascontiguousarray(array).data)
        if self.own_classes:
            digest.update(json.dumps(self.classes).encode())
        return digest.hexdigest()

    def _check(self, split: str, images: NDArray[Any], labels: NDArray[Any]) -> None:
        gray_or_rgb = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
        last = len(self.classes) - 1
        if images.dtype != np.uint8 or not gray_or_rgb or 0 in images.shape[split == "train" :]:
            problem = f"images must be uint8 (N, H, W) or (N, H, W, 3), not {images.dtype} {images.shape}"
        elif labels.dtype != np.int64 or labels.shape != (len(images),):
            problem = f"labels must be int64 ({len(images)},), not {labels.dtype} {labels.shape}"
        elif labels.min(initial=0) < 0 or labels.max(initial=0) > last:
            problem = f"labels must be 0 to {last}, not {labels.min()} to {labels.max()}"
        else:
            return
        raise ValueError(f"{self.name}: {split} {problem}")

    def limit(self, train: int | None, test: int | None) -> "ImageData":
        """Return the first `train` and `test` examples (None: all); MNIST's are in random order."""
        return replace(
            self,
            train_images=self.train_images[:train],
            train_labels=self.train_labels[:train],
            test_images=self.test_images[:test],
            test_labels=self.test_labels[:test],
        )


@dataclass(frozen=True, eq=False)
class Standardized:
    """Gray images kept as bytes, a quarter of float32's memory; indexing standardizes them."""

    pixels: Any  # uint8 (N, H, W): an array, a tensor, or `Shifted`
    table: Any  # the standardized value of each of the 256 gray levels, float32 (256,)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Return some images, float32 (n, H, W)."""
        return self.table.take(self.pixels[rows])


@dataclass(frozen=True, eq=False)
class Shifted:
    """Images that are shifted when they are indexed: shifting all of them would delay the first step."""

    images: Any  # (N, H, W), of any dtype
    corners: NDArray[np.int64]  # row and column of each image within its margins, (2, N)
    margin: int  # pixels around an image

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[Any]:
        """Return some images (n, H, W); the margins have the value of the first image's first pixel."""
        images, sides = self.images[rows], (self.margin, self.margin)
        padded = np.pad(images, ((0, 0), sides, sides), constant_values=self.images[0, 0, 0])
        windows = sliding_window_view(padded, images.shape[1:], axis=(1, 2))
        return windows[np.arange(len(images)), *self.corners[:, rows]]


def shift(images: NDArray[Any], random: np.random.Generator, pixels: int) -> "Shifted | NDArray[Any]":
    """Return images (N, H, W) that are shifted by up to `pixels` in each direction, at random."""
    corners = random.integers(0, 2 * pixels + 1, (2, len(images)))
    return Shifted(images, corners, pixels) if pixels else images
