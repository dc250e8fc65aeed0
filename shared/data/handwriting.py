"""A picture of one digit, brought to the form in which MNIST's digits are.

MNIST scales each digit into a box of 20x20 pixels, its aspect kept, and places its center of mass
in the middle of a field of 28x28 (LeCun et al. 1998, section III.A): at pixel 14, as the test set
shows. A picture comes to that form in these steps.

1. Paper and ink: the median of the picture's edge is the paper. The ink is dark where the darkest
   pixel is farther from the paper than the lightest one, and light otherwise. The pixel farthest
   from the paper is full ink, and what has less than `GRAIN` of it is paper too.
2. What lies around the ink is cut off; the rest is scaled and placed as above.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import DataError

BOX, FIELD = 20, 28  # pixels a side
MIDDLE = 14  # the pixel where the center of mass goes
GRAIN = 0.15  # of full ink
CONTRAST = 32  # of 255: with less between paper and ink there is nothing on the picture


@dataclass(frozen=True)
class Digit:
    """A digit in MNIST's form.

    Attributes:
        pixels: uint8 (28, 28), 0 is paper, 255 is full ink.
        dark: whether it was dark on a light ground.
    """

    pixels: NDArray[np.uint8]
    dark: bool

    @property
    def taken(self) -> str:
        """Say what was taken for the ink."""
        return "dark on light" if self.dark else "light on dark"


def mnist_form(picture: Image.Image, name: str) -> Digit:
    """Return the digit on a picture of any size and mode.

    Raises:
        DataError: there is nothing on it; `name` is what the message calls it.
    """
    ink, dark = ink_of(np.asarray(picture.convert("L"), dtype=np.float64), name)
    return Digit(placed(scaled(cropped(ink))), dark)


def ink_of(gray: NDArray[np.float64], name: str) -> tuple[NDArray[np.float64], bool]:
    """Return how much ink is where, (H, W), 0 to 1, and whether it is dark.

    Args:
        gray: (H, W), 0 is black, 255 is white.
        name: for the message.

    Raises:
        DataError: paper and ink are hardly told apart.
    """
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    paper = float(np.median(edge))
    darker, lighter = paper - gray.min(), gray.max() - paper
    dark, most = bool(darker >= lighter), max(darker, lighter)
    if most < CONTRAST:
        raise DataError(f"{name}: there is nothing on it: from paper to ink {most:.0f} of 255")
    ink = (paper - gray if dark else gray - paper) / most
    return np.where(ink < GRAIN, 0.0, ink), dark


def cropped(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part with ink in it."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def scaled(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return it with a longer side of 20 pixels, each the mean of its area; the most is 1 again."""
    factor = BOX / max(ink.shape)
    height, width = (max(1, round(side * factor)) for side in ink.shape)
    image = Image.fromarray(ink.astype(np.float32))
    small = np.asarray(image.resize((width, height), Image.Resampling.BOX), dtype=np.float64)
    return small / small.max()


def placed(ink: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the field, uint8 (28, 28), with the center of mass of the ink in the middle."""
    corner = []
    for axis in (0, 1):
        along = ink.sum(axis=1 - axis)
        center = along @ np.arange(len(along)) / along.sum()
        corner.append(min(max(0, round(MIDDLE - center)), FIELD - len(along)))
    (top, left), (height, width) = corner, ink.shape
    field = np.zeros((FIELD, FIELD), dtype=np.uint8)
    field[top : top + height, left : left + width] = np.rint(255 * ink)
    return field
