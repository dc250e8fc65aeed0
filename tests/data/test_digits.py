"""The embedded digits, and what every image data set promises."""

import numpy as np
import pytest

from shared.data import digits
from shared.data.images import ImageData

# Whole-number arithmetic makes the images the same everywhere; a change here is a new data set,
# and results recorded with the old one can no longer be compared.
DIGITS_SHA256 = "771c89abd0f4cbb69b3314904d3587f2637e3b40e90296133ef5801966d35eb9"


@pytest.fixture(scope="module")
def data() -> ImageData:
    return digits.load()


def image_data(**changes: object) -> ImageData:
    """Six training and four test images of 2x3 pixels in two classes, with ``changes``."""
    fields: dict = {
        "name": "made-up",
        "train_images": np.arange(36, dtype=np.uint8).reshape(6, 2, 3),
        "train_labels": np.array([0, 1, 0, 1, 0, 1]),
        "test_images": np.arange(24, dtype=np.uint8).reshape(4, 2, 3),
        "test_labels": np.array([1, 1, 0, 0]),
        "classes": ("zero", "one"),
        "embedded": True,
        "source": "made up",
    }
    return ImageData(**(fields | changes))


def test_digits_have_the_form_of_mnist(data: ImageData) -> None:
    assert data.train_images.shape == (1437, 28, 28)
    assert data.test_images.shape == (360, 28, 28)
    assert data.train_images.dtype == data.test_images.dtype == np.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert data.classes == tuple("0123456789")
    assert data.train_images.min() == 0
    assert data.train_images.max() == 255
    assert data.embedded
    assert "scikit-learn" in data.source


def test_digits_are_the_same_on_every_machine(data: ImageData) -> None:
    assert data.sha256 == digits.load().sha256 == DIGITS_SHA256


def test_digits_keep_every_example_and_the_order_of_scikit_learn(data: ImageData) -> None:
    from sklearn.datasets import load_digits

    labels = np.concatenate([data.train_labels, data.test_labels])
    np.testing.assert_array_equal(labels, load_digits().target)


def test_digits_stand_in_the_middle_of_the_field(data: ImageData) -> None:
    """MNIST's center of mass is the field's center; whole-pixel shifts leave up to half a pixel."""
    ink = data.train_images.astype(float)
    total = ink.sum(axis=(1, 2))
    for axis in (1, 2):
        center = ink.sum(axis=3 - axis) @ np.arange(28) / total
        assert np.abs(center - 13.5).max() <= 0.5 + 1e-9


def test_digits_images_and_labels_belong_together(data: ImageData) -> None:
    """The nearest training image has the right label; guessing would be right in 10 %."""
    train = data.train_images.reshape(len(data.train_images), -1).astype(float)
    test = data.test_images.reshape(len(data.test_images), -1).astype(float)
    # |a - b|^2 = |a|^2 - 2ab + |b|^2, and |a|^2 does not change which b is nearest.
    nearest = ((train**2).sum(axis=1) - 2 * test @ train.T).argmin(axis=1)
    assert (data.train_labels[nearest] == data.test_labels).mean() > 0.9


def test_limit_keeps_the_first_examples() -> None:
    whole = image_data()
    part = whole.limit(train=3, test=1)
    np.testing.assert_array_equal(part.train_images, whole.train_images[:3])
    np.testing.assert_array_equal(part.train_labels, whole.train_labels[:3])
    np.testing.assert_array_equal(part.test_images, whole.test_images[:1])
    np.testing.assert_array_equal(part.test_labels, whole.test_labels[:1])
    assert part.sha256 != whole.sha256
    for most in (None, None), (6, 4), (7, 5):
        assert whole.limit(*most).sha256 == whole.sha256


@pytest.mark.parametrize("field", ["train_images", "train_labels", "test_images", "test_labels"])
def test_sha256_sees_a_change_in_each_array(field: str) -> None:
    changed = getattr(image_data(), field).copy()
    changed[0] = 1 - changed[0]
    assert image_data(**{field: changed}).sha256 != image_data().sha256


def test_sha256_sees_shapes() -> None:
    turned = image_data(
        train_images=image_data().train_images.reshape(6, 3, 2),
        test_images=image_data().test_images.reshape(4, 3, 2),
    )
    assert turned.sha256 != image_data().sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": np.zeros((6, 2, 3))}, "train images must be uint8"),
        ({"test_images": np.zeros((4, 6), np.uint8)}, "test images must be uint8"),
        ({"test_images": np.zeros((0, 2, 3), np.uint8)}, "not empty"),
        ({"test_images": np.zeros((4, 3, 3), np.uint8)}, "test images .3, 3."),
        ({"train_labels": np.zeros(5, np.int64)}, "one per image"),
        ({"train_labels": np.zeros(6, np.uint8)}, "must be int64"),
        ({"test_labels": np.array([0, 1, 2, 0])}, "range from 0 to 2, but there are 2 classes"),
        ({"test_labels": np.array([0, 1, -1, 0])}, "range from -1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_data(**changes)
