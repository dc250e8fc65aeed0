"""The two tasks as configured: what is to be learned, and the one whose weights help."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from apps.resnet_transfer.config import Cifar10, Config, DigitPictures, ImageFolder
from shared.data import cifar10, digits, pictures
from shared.data.examples import Examples
from shared.data.images import ImageData
from shared.data.split import hold_back
from shared.errors import ConfigError, DataError

OLD_DIGITS, NEW_DIGITS = tuple("01234"), tuple("56789")  # of the source task, and to be learned


def load_target(config: Config) -> ImageData:
    """Return the pictures to be learned, uint8 (N, size, size, 3).

    Raises:
        ConfigError: a class is not in the data set.
        DataError: the data set cannot be had.
    """
    data = config.data
    if isinstance(data, ImageFolder):
        return pictures.load_folder(Path(data.root), data.size, data.test_fraction, cache=Path(data.cache))
    if isinstance(data, DigitPictures):
        return digit_pictures(NEW_DIGITS, data.size)
    try:
        images = cifar10.load(Path(data.root), data.download)
    except DataError as error:
        if data.fallback is None:
            raise
        print(error)
        print("Going on without CIFAR-10: the embedded digits stand in, 5 to 9 to be learned.")
        return digit_pictures(NEW_DIGITS, data.size)
    return resized(only(images, data.classes, "data.classes"), data.size)


def load_source(config: Config, target: ImageData) -> ImageData:
    """Return the pictures of the source task, none of whose classes is one of `target`.

    Raises:
        ConfigError: a class is not in the data set.
    """
    data = config.data
    if target.embedded:
        return digit_pictures(OLD_DIGITS, data.size)
    if isinstance(data, Cifar10):
        images, names = cifar10.load(Path(data.root), data.download), list(data.source_classes)
    else:
        assert isinstance(data, ImageFolder)
        try:
            images = cifar10.load(Path(data.cache).parent, data.download)
        except DataError as error:
            print(error)
            print("The source task is telling apart the embedded digits 0 to 4: a poor one.")
            return digit_pictures(OLD_DIGITS, data.size)
        taken = {name.lower() for name in target.classes}
        names = [name for name in images.classes if name not in taken]
    return resized(only(images, names, "data.source_classes"), data.size)


def digit_pictures(names: Sequence[str], size: int) -> ImageData:
    """Return the embedded digits of these names in three equal colors."""
    gray = digits.load()
    images = ImageData(
        gray.name,
        _colored(gray.train_images),
        gray.train_labels,
        _colored(gray.test_images),
        gray.test_labels,
        gray.classes,
        gray.embedded,
        gray.source,
    )
    return resized(only(images, names, "data.classes"), size)


def _colored(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[..., None], 3, axis=3)


def only(images: ImageData, names: Sequence[str], key: str) -> ImageData:
    """Return the pictures of some classes, which are counted anew in the order given.

    Raises:
        ConfigError: there is no such class; `key` is where it was named.
    """
    unknown = [name for name in names if name not in images.classes]
    if unknown or len(set(names)) < len(names):
        raise ConfigError(
            f"{key}={','.join(names)}: the classes of {images.name} are "
            f"{', '.join(images.classes)}, each once at most"
        )
    place = np.full(len(images.classes), -1)
    place[[images.classes.index(name) for name in names]] = np.arange(len(names))
    arrays = []
    for pixels, labels in (
        (images.train_images, images.train_labels),
        (images.test_images, images.test_labels),
    ):
        kept = place[labels] >= 0
        arrays += [pixels[kept], place[labels[kept]]]
    return ImageData(
        f"{images.name} ({len(names)} classes)",
        arrays[0],
        arrays[1],
        arrays[2],
        arrays[3],
        tuple(names),
        images.embedded,
        images.source,
    )


def resized(images: ImageData, size: int) -> ImageData:
    """Return the data set with pictures of `size` pixels a side."""
    return ImageData(
        images.name,
        pictures.resized(images.train_images, size),
        images.train_labels,
        pictures.resized(images.test_images, size),
        images.test_labels,
        images.classes,
        images.embedded,
        images.source,
    )


def split(images: ImageData, config: Config) -> tuple[Examples, Examples, Examples]:
    """Return the examples to train, to validate and to test with: uint8 (N, size, size, 3).

    Raises:
        ConfigError: as `divided`; a batch would be larger than what there is to train with, or
            too small.
    """
    train_set, validation_set, test_set = divided(images, config)
    count = len(train_set)
    if config.trainer.batch_size > count:
        raise ConfigError(
            f"trainer.batch_size={config.trainer.batch_size} is larger than the training set: "
            f"{count} examples of {images.name}"
        )
    if config.transfer.mode != "frozen" and one_value_left(config, count):
        raise ConfigError(
            f"trainer.batch_size={config.trainer.batch_size} leaves a batch of a single picture "
            f"({count} examples), of which batch normalization knows one value a map: choose "
            "another batch size"
        )
    return train_set, validation_set, test_set


def divided(images: ImageData, config: Config) -> tuple[Examples, Examples, Examples]:
    """Return the examples as `split`, whatever the batches are.

    What is held back to validate is drawn first, then `per_class` of each class from the rest: with
    one seed the fewer are among the more. Nothing is chosen by the validation examples.

    Raises:
        ConfigError: a class has not as many.
    """
    data, random = config.data, np.random.default_rng([config.seed, 0])
    order = random.permutation(len(images.train_images))
    kept, validated = hold_back(order, data.validation_fraction, 1, images.name)
    if data.per_class is not None:
        kept = _of_each_class(random.permutation(kept), images, data.per_class)
    tested = random.permutation(len(images.test_images))
    tested = np.sort(tested[: data.test_limit])
    return (
        Examples(images.train_images[kept], images.train_labels[kept]),
        Examples(images.train_images[validated], images.train_labels[validated]),
        Examples(images.test_images[tested], images.test_labels[tested]),
    )


def one_value_left(config: Config, examples: int) -> bool:
    """Whether a batch of one picture comes up whose last maps have a single pixel."""
    batch = config.trainer.batch_size
    shrunk = 32 if config.model.stem == "imagenet" else 8  # pixels of a picture for each of a map
    return config.data.size <= shrunk and (batch == 1 or examples % batch == 1)


def _of_each_class(order: np.ndarray, images: ImageData, count: int) -> np.ndarray:
    """Return the first `count` positions of each class in `order`, sorted."""
    chosen = []
    for label, name in enumerate(images.classes):
        own = order[images.train_labels[order] == label]
        if len(own) < count:
            raise ConfigError(f"data.per_class={count}: {name} has {len(own):,} pictures to train with")
        chosen.append(own[:count])
    return np.sort(np.concatenate(chosen))
