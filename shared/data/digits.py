"""The embedded sample: scikit-learn's 1,797 handwritten digits, brought to MNIST's form.

scikit-learn ships the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and
C. Kaynak, UCI Machine Learning Repository, 1998): real digits by 13 people, 8x8 pixels whose values
0 to 16 count the inked pixels in a 4x4 block of the scan. They need no network, so they stand in
where MNIST cannot be had. They are easier and fewer than MNIST: never compare the accuracies.
"""

import numpy as np

from shared.data.images import ImageData

TEST_EXAMPLES = 360
FIELD = 28  # pixels a side, as in MNIST
BOX = 20  # MNIST scales each digit into a 20x20 box, then places the box in the field
FULL_INK = 16  # the largest pixel value in scikit-learn's digits


def load() -> ImageData:
    """Return the digits in MNIST's form: 1,437 training and 360 test images, uint8 (N, 28, 28).

    The last 360 are the test set. They are not drawn at random, because the digits stand in the
    order in which they were collected and neighbors come from the same writer: a shuffled split
    would put each writer on both sides and flatter the test accuracy.

    All arithmetic on pixels is exact, so the digest is the same on every machine.
    """
    # Imported here: it takes a second, and a run that has MNIST does not need it.
    import sklearn
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = _center(_enlarge(bunch.images.astype(np.int64)))
    labels = bunch.target.astype(np.int64)
    return ImageData(
        name="digits",
        train_images=images[:-TEST_EXAMPLES],
        train_labels=labels[:-TEST_EXAMPLES],
        test_images=images[-TEST_EXAMPLES:],
        test_labels=labels[-TEST_EXAMPLES:],
        classes=tuple("0123456789"),
        embedded=True,
        source=f"embedded sample: load_digits of scikit-learn {sklearn.__version__}",
    )


def _enlarge(images: np.ndarray) -> np.ndarray:
    """Resize int64 (N, 8, 8) images of 0..16 to uint8 (N, 20, 20) images of 0..255."""
    weights, unit = _bilinear_weights(images.shape[-1], BOX)
    ink = weights @ images @ weights.T  # rows, then columns; in units of 1 / unit**2
    full = FULL_INK * unit**2
    rounded: np.ndarray = (255 * ink + full // 2) // full
    return rounded.astype(np.uint8)


def _bilinear_weights(size: int, new_size: int) -> tuple[np.ndarray, int]:
    """Return the int64 (new_size, size) matrix that resizes a line of pixels, and its row sum.

    Pixels are areas and their values belong to their centers ("half-pixel centers"): the center of
    output pixel i lies at `(i + 1/2) * size / new_size - 1/2` in input pixels. Counted in units
    of 1 / (2 * new_size) that is a whole number, so the weights are whole numbers too. Beyond the
    outermost centers the edge pixel is repeated.
    """
    unit = 2 * new_size
    weights = np.zeros((new_size, size), dtype=np.int64)
    for i in range(new_size):
        left, fraction = divmod((2 * i + 1) * size - new_size, unit)
        weights[i, max(left, 0)] += unit - fraction
        weights[i, min(left + 1, size - 1)] += fraction
    return weights, unit


def _center(digits: np.ndarray) -> np.ndarray:
    """Place uint8 (N, 20, 20) digits in (N, 28, 28) fields, center of mass in the middle.

    MNIST does the same. Shifts are whole pixels, and a digit never leaves its field.
    """
    ink = digits.sum(axis=(1, 2), dtype=np.int64)
    position = np.arange(BOX)
    offsets = []
    for axis in (1, 2):
        center = digits.sum(axis=3 - axis, dtype=np.int64) @ position / ink
        offset = np.rint((FIELD - 1) / 2 - center).astype(np.int64)
        offsets.append(offset.clip(0, FIELD - BOX))
    fields = np.zeros((len(digits), FIELD, FIELD), dtype=np.uint8)
    for field, digit, top, left in zip(fields, digits, *offsets, strict=True):
        field[top : top + BOX, left : left + BOX] = digit
    return fields
