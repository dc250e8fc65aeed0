"""The embedded digits, and what every image data set promises."""

import numpy as np
import pytest

from shared.data import digits
from shared.data.images import ImageData

# Whole-number arithmetic makes the images the same everywhere; a change here is a new data set,
# and results recorded with the old one can no longer be compared.
DIGITS_SHA256 = "771c89abd0f4cbb69b3314904d3587f2637e3b40e90296133ef5801966d35eb9"


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


def test_digits_are_in_the_form_of_mnist_and_the_same_on_every_machine() -> None:
    data = digits.load()
    assert data.train_images.shape == (1437, 28, 28)
    assert data.test_images.shape == (360, 28, 28)
    assert data.classes == tuple("0123456789")
    assert data.embedded
    assert "scikit-learn" in data.source
    assert data.sha256 == digits.load().sha256 == DIGITS_SHA256


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
        ({"test_images": np.zeros((0, 2, 3), np.uint8)}, r"not uint8 \(0, 2, 3\)"),
        ({"test_images": np.zeros((4, 3, 3), np.uint8)}, r"test images \(3, 3\)"),
        ({"train_labels": np.zeros(5, np.int64)}, r"int64 \(6,\), not int64 \(5,\)"),
        ({"train_labels": np.zeros(6, np.uint8)}, "must be int64"),
        ({"test_labels": np.array([0, 1, 2, 0])}, "must be 0 to 1, not 0 to 2"),
        ({"test_labels": np.array([0, 1, -1, 0])}, "not -1 to 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_data(**changes)
