"""The data: MNIST or the embedded digits, split, standardized, and shifted for training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.mnist_cnn.config import Config
from shared.data.examples import Examples, hold_back
from shared.data.images import ImageData, Standardized, shift
from shared.training.loop import Augment


def load_data(config: Config) -> ImageData:
    """Return the data set that the configuration names, cut to its limits.

    Raises:
        DataError: MNIST is not available, and `data.fallback` is null.
    """
    if config.data.name == "digits":
        from shared.data import digits

        images = digits.load()
    else:
        from shared.data import mnist

        images = mnist.load(Path(config.data.root), config.data.download, config.data.fallback)
    return images.limit(config.data.train_limit, config.data.test_limit)


def split(images: ImageData, config: Config) -> tuple[Examples, Examples, Examples]:
    """Return the training, validation and test examples: images, float32 (N, 28, 28).

    The seed draws the validation examples from the training set. The test set stays as its authors
    made it.

    Raises:
        ConfigError: a batch would be larger than the remaining training set.
    """
    order = np.random.default_rng([config.seed, 0]).permutation(len(images.train_images))
    kept, held_back = hold_back(
        order, config.data.validation_fraction, config.trainer.batch_size, images.name
    )
    table = gray_table(images, config)
    pixels, labels = images.train_images, images.train_labels
    return (
        Examples(Standardized(pixels[kept], table), labels[kept]),
        Examples(Standardized(pixels[held_back], table), labels[held_back]),
        Examples(Standardized(images.test_images, table), images.test_labels),
    )


def test_examples(trained_on: ImageData, images: ImageData, config: Config) -> Examples:
    """Return the test examples of `images`, their pixels scaled as the network was trained."""
    return Examples(Standardized(images.test_images, gray_table(trained_on, config)), images.test_labels)


def gray_table(images: ImageData, config: Config) -> NDArray[np.float32]:
    """Return the input for each of the 256 gray values, (256,); see `pixels` of the configuration."""
    values = np.arange(256) / 255
    if config.pixels == "unit":
        return values.astype(np.float32)
    # In parts, because bincount converts what it counts to int64.
    parts = np.array_split(images.train_images, 100)
    counts = np.sum([np.bincount(part.ravel(), minlength=256) for part in parts], axis=0)
    mean = np.average(values, weights=counts)
    std = np.sqrt(np.average((values - mean) ** 2, weights=counts))
    return ((values - mean) / std).astype(np.float32)


def augmentation(config: Config) -> Augment:
    """Return the function that shifts the training images of an epoch, on their device."""

    def augment(images: Standardized, random: np.random.Generator) -> Standardized:
        if not isinstance(images.pixels, np.ndarray):
            from shared.training import torch_inputs

            return replace(images, pixels=torch_inputs.shift(images.pixels, random, config.data.shift))
        return replace(images, pixels=shift(images.pixels, random, config.data.shift))

    return augment
