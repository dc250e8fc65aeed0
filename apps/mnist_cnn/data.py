"""The data: MNIST or the embedded digits, split, standardized, and shifted or distorted for training."""

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
    fraction, batch_size = config.data.validation_fraction, config.trainer.batch_size
    kept, held_back = hold_back(order, fraction, batch_size, images.name)
    table = gray_table(*mean_and_std(images, config))
    pixels, labels = images.train_images, images.train_labels
    return (
        Examples(Standardized(pixels[kept], table), labels[kept]),
        Examples(Standardized(pixels[held_back], table), labels[held_back]),
        Examples(Standardized(images.test_images, table), images.test_labels),
    )


def mean_and_std(images: ImageData, config: Config) -> tuple[float, float]:
    """Return the numbers that pixels are standardized by; see `pixels` of the configuration."""
    return (0.0, 1.0) if config.pixels == "unit" else images.mean_and_std


def gray_table(mean: float, std: float) -> NDArray[np.float32]:
    """Return the input for each of the 256 gray values, (256,)."""
    return ((np.arange(256) / 255 - mean) / std).astype(np.float32)


def augmentation(config: Config) -> Augment:
    """Return the function that distorts the training images of an epoch and shifts them on their device."""

    def augment(images: Standardized, random: np.random.Generator) -> Standardized:
        if config.data.distortion:
            from shared.data.distortion import distort

            images = replace(images, pixels=distort(images.pixels, random, config.data.distortion))
        if not isinstance(images.pixels, np.ndarray):
            from shared.training import torch_inputs

            return replace(images, pixels=torch_inputs.shift(images.pixels, random, config.data.shift))
        return replace(images, pixels=shift(images.pixels, random, config.data.shift))

    return augment
