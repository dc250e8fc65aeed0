"""The embedded sample: scikit-learn's 1,797 handwritten digits in the format of MNIST.

scikit-learn ships the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and
C. Kaynak, UCI Machine Learning Repository, 1998): real digits by 13 people, 8x8 pixels whose values
0 to 16 count the inked pixels in a 4x4 block of the scan. They need no network, so a run falls back
to them if MNIST is not available. They are easier and fewer than MNIST: do not compare accuracies.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.data.images import ImageData

CLASSES = tuple("0123456789")
TEST_EXAMPLES = 360
FIELD = 28  # pixels a side, as in MNIST
BOX = 20  # MNIST scales each digit to a 20x20 box, then places the box in the field
FULL_INK = 16  # the largest pixel value in scikit-learn's digits


def load() -> ImageData:
    """Return the digits in MNIST's format: 1,437 training and 360 test images, uint8 (N, 28, 28).

    The last 360 are the test set. Neighbors come from the same writer: a shuffled split would put
    each writer on both sides and inflate the test accuracy. All arithmetic on pixels is exact, so
    the digest is the same on every machine.
    """
    import sklearn
    from sklearn.datasets import load_digits  # takes a second, which a run on MNIST saves

    bunch = load_digits()
    images = np.stack([center(digit, (FIELD - 1) / 2) for digit in _enlarge(bunch.images.astype(np.int64))])
    train, test = np.split(images, [-TEST_EXAMPLES])
    labels = np.split(bunch.target, [-TEST_EXAMPLES])
    source = f"embedded sample: load_digits of scikit-learn {sklearn.__version__}"
    return ImageData("digits", train, labels[0], test, labels[1], CLASSES, True, source)


def _enlarge(images: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Resize (N, 8, 8) images of 0..16 to (N, 20, 20) images of 0..255, bilinearly.

    With half-pixel centers: the center of output pixel i is at (i + 1/2) * 8 / 20 - 1/2 in input
    pixels, a whole number in units of 1/40. Outside the outermost centers the edge is repeated.
    """
    size, unit = images.shape[-1], 2 * BOX
    weights = np.zeros((BOX, size), np.int64)  # each row sums to `unit`
    for i in range(BOX):
        left, fraction = divmod((2 * i + 1) * size - BOX, unit)
        weights[i, max(left, 0)] += unit - fraction
        weights[i, min(left + 1, size - 1)] += fraction
    ink = weights @ images @ weights.T  # rows, then columns; in units of 1 / unit**2
    full = FULL_INK * unit**2
    return ((255 * ink + full // 2) // full).astype(np.uint8)  # rounded


def center(digit: NDArray[Any], middle: float) -> NDArray[Any]:
    """Place a digit of at most 20 x 20 pixels in a field (28, 28), its center of mass near pixel `middle`."""
    corner = []
    for axis in (0, 1):
        mass = digit.sum(axis=1 - axis)
        offset = round(middle - mass @ np.arange(len(mass)) / mass.sum())
        corner.append(min(max(0, offset), FIELD - len(mass)))
    (top, left), (height, width) = corner, digit.shape
    field = np.zeros((FIELD, FIELD), digit.dtype)
    field[top : top + height, left : left + width] = digit
    return field
