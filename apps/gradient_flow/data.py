"""The embedded digits: a batch whose gradients are shown, and a few examples to overfit."""

import numpy as np
from numpy.typing import NDArray

from apps.gradient_flow.config import Config
from apps.gradient_flow.networks import Array
from shared.data import digits
from shared.data.examples import Examples
from shared.data.images import ImageData

BLOCK = 2  # pixels per side averaged into one for the dense networks: 28 x 28 becomes 14 x 14
PIXELS = (28 // BLOCK) ** 2


def load_data(config: Config) -> ImageData:
    """Return the embedded digits."""
    return digits.load()


def split(data: ImageData, config: Config) -> tuple[Examples, Examples, Examples]:
    """Return the few training examples, the validation set and the test set; inputs float64 (N, 196).

    Training and validation examples are drawn from the training images by the seed. The fraction
    `data.wrong_labels` of the training labels is drawn anew, at random.
    """
    count = config.data.train_examples
    order = shuffled_positions(data, config)
    labels = data.train_labels.copy()
    wrong = order[: round(config.data.wrong_labels * count)]
    labels[wrong] = np.random.default_rng([config.seed, 5]).integers(0, len(data.classes), len(wrong))
    scale = mean_and_std(data, config)
    train, validation = order[:count], order[count : count + config.data.validation_examples]
    return (
        Examples(network_inputs(data.train_images[train], *scale), labels[train]),
        Examples(network_inputs(data.train_images[validation], *scale), labels[validation]),
        Examples(network_inputs(data.test_images, *scale), data.test_labels),
    )


def shuffled_positions(data: ImageData, config: Config) -> NDArray[np.int64]:
    """Return the positions of all training images in the order of the seed."""
    return np.random.default_rng([config.seed, 0]).permutation(len(data.train_images))


def mean_and_std(data: ImageData, config: Config) -> tuple[float, float]:
    """Return mean and standard deviation of the pixels of the training examples."""
    train = pixels(data.train_images[shuffled_positions(data, config)[: config.data.train_examples]])
    return float(train.mean()), float(train.std())


def network_inputs(images: NDArray[np.uint8], mean: float, std: float) -> Array:
    """Return images (N, 28, 28) as standardized inputs (N, 196)."""
    return np.asarray((pixels(images) - mean) / std)


def pixels(images: NDArray[np.uint8]) -> Array:
    """Return images (N, 28, 28) as float64 (N, 196) from 0 to 1, each number the mean of a block."""
    count, height, width = images.shape
    blocks = images.reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(blocks.mean(axis=(2, 4)).reshape(count, -1) / 255)


def gradient_batches(data: ImageData, config: Config) -> tuple[Examples, Examples]:
    """Return the batch whose gradients are shown, standardized by its own mean and deviation.

    It is (N, 196) for dense networks, and (N, 28 steps, 28 pixels) for recurrent ones, which read rows.
    """
    images, labels = data.train_images[: config.data.batch], data.train_labels[: config.data.batch]
    flat, rows = pixels(images), images / 255
    return (
        Examples((flat - flat.mean()) / flat.std(), labels),
        Examples((rows - rows.mean()) / rows.std(), labels),
    )
