"""The images of both tasks: the target task, and the source task whose weights help it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from apps.resnet_transfer.config import Cifar10, Config, DigitPictures, ImageFolder
from shared.data import cifar10, digits, pictures
from shared.data.examples import Examples, hold_back
from shared.data.images import ImageData
from shared.errors import ConfigError, DataError

LARGEST_AT_ONCE = 64  # pixels on each side; larger images are scaled when they are read, to save memory
SOURCE_DIGITS, TARGET_DIGITS = "01234", "56789"


def load_data(config: Config) -> ImageData:
    """Return the images of the target task, uint8 (N, H, W, 3); `split` scales large ones.

    Raises:
        ConfigError: the data set has no such class.
        DataError: the data set is unavailable or damaged.
    """
    data = config.data
    if isinstance(data, ImageFolder):
        return pictures.load_folder(Path(data.root), data.pixels, data.test_fraction, Path(data.cache))
    if isinstance(data, DigitPictures):
        return digit_pictures(TARGET_DIGITS, data.pixels)
    try:
        images = cifar10.load(Path(data.root), data.download)
    except DataError as error:
        if data.fallback is None:
            raise
        print(f"{error}\nContinuing without CIFAR-10: the target task is the embedded digits 5 to 9.")
        return digit_pictures(TARGET_DIGITS, data.pixels)
    return resize(select_classes(images, data.classes, "data.classes"), data.pixels)


def load_source_data(config: Config, target: ImageData) -> ImageData:
    """Return the images of the source task, which has no class of `target`.

    Raises:
        ConfigError: the data set has no such class.
        DataError: CIFAR-10 is unavailable or damaged.
    """
    data = config.data
    if target.embedded:
        return digit_pictures(SOURCE_DIGITS, data.pixels)
    if isinstance(data, Cifar10):
        images, names = cifar10.load(Path(data.root), data.download), list(data.source_classes)
    else:
        assert isinstance(data, ImageFolder)
        try:
            images = cifar10.load(Path(data.cache).parent, data.download)
        except DataError as error:
            print(f"{error}\nThe source task falls back to the embedded digits 0 to 4, a poor substitute.")
            return digit_pictures(SOURCE_DIGITS, data.pixels)
        used = {name.lower() for name in target.classes}
        names = [name for name in images.classes if name not in used]
    return resize(select_classes(images, names, "data.source_classes"), data.pixels)


def digit_pictures(names: Sequence[str], size: int) -> ImageData:
    """Return the embedded digits with these names, in three equal color channels."""
    gray = digits.load()
    train, test = (np.repeat(one[..., None], 3, axis=3) for one in (gray.train_images, gray.test_images))
    images = replace(gray, train_images=train, test_images=test)
    return resize(select_classes(images, names, "data.classes"), size)


def select_classes(images: ImageData, names: Sequence[str], key: str) -> ImageData:
    """Return the images of these classes; labels index `names`. `key` is for messages."""
    if not set(names) <= set(images.classes) or len(set(names)) < len(names):
        raise ConfigError(
            f"{key}={','.join(names)}: choose different classes of {images.name}: {', '.join(images.classes)}"
        )
    new_label = np.full(len(images.classes), -1)
    new_label[[images.classes.index(name) for name in names]] = np.arange(len(names))
    train, test = new_label[images.train_labels], new_label[images.test_labels]
    return replace(
        images,
        name=f"{images.name} ({len(names)} classes)",
        train_images=images.train_images[train >= 0],
        train_labels=train[train >= 0],
        test_images=images.test_images[test >= 0],
        test_labels=test[test >= 0],
        classes=tuple(names),
    )


def resize(images: ImageData, size: int) -> ImageData:
    """Return the data set with images of `size` x `size` pixels; large ones are left as they are."""
    if size > LARGEST_AT_ONCE:
        return images
    return replace(
        images,
        train_images=pictures.resize(images.train_images, size),
        test_images=pictures.resize(images.test_images, size),
    )


def split(images: ImageData, config: Config) -> tuple[Examples, Examples, Examples]:
    """Return the training, validation and test examples, uint8 (N, size, size, 3).

    The validation set is drawn first, then `per_class` images of each class from the rest: with the
    same seed, a smaller training set is a subset of a larger one. Validation is for monitoring only.

    Raises:
        ConfigError: a class has fewer than `per_class` images.
    """
    data, random = config.data, np.random.default_rng([config.seed, 0])
    order = random.permutation(len(images.train_images))
    train, validation = hold_back(order, data.validation_fraction, 1, images.name)
    if data.per_class is not None and len(train):
        train = first_of_each_class(random.permutation(train), images, data.per_class)
    test = np.sort(random.permutation(len(images.test_images))[: data.test_limit])
    size = data.pixels
    return (
        Examples(pictures.Resized(images.train_images[train], size), images.train_labels[train]),
        Examples(pictures.Resized(images.train_images[validation], size), images.train_labels[validation]),
        Examples(pictures.Resized(images.test_images[test], size), images.test_labels[test]),
    )


def first_of_each_class(order: np.ndarray, images: ImageData, count: int) -> np.ndarray:
    """Return the first `count` positions of each class in `order`, sorted."""
    chosen = []
    for label, name in enumerate(images.classes):
        positions = order[images.train_labels[order] == label]
        if len(positions) < count:
            raise ConfigError(f"data.per_class={count}: class {name} has {len(positions)} training images")
        chosen.append(positions[:count])
    return np.sort(np.concatenate(chosen))


def check_batches(config: Config, examples: int) -> None:
    """Check that `examples` training examples can be divided into usable batches.

    Raises:
        ConfigError: a batch is larger than the training set, or so small that batch normalization
            sees a single value per channel.
    """
    batch = config.trainer.batch_size
    if batch > examples:
        raise ConfigError(f"trainer.batch_size={batch} is larger than the training set ({examples} examples)")
    downsampling = 32 if config.model.stem == "imagenet" else 8  # image pixels per pixel of the last maps
    one_pixel = config.data.pixels <= downsampling
    if config.transfer.mode != "frozen" and one_pixel and (batch == 1 or examples % batch == 1):
        raise ConfigError(
            f"trainer.batch_size={batch} leaves a batch of a single image ({examples} examples), for which "
            "batch normalization has one value per channel: choose another batch size"
        )
