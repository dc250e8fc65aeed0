"""Bring a picture of one digit to the form of MNIST's digits.

MNIST scales each digit to a box of 20x20 pixels, keeping its aspect ratio, and puts its center of mass
in the middle of a field of 28x28 (LeCun et al. 1998, section III.A): at pixel 14, as the test set shows.

1. The median of the picture's edge is the paper. The ink is dark if the darkest pixel is farther from
   the paper than the lightest one, and light otherwise. The pixel farthest from the paper is full ink;
   less than `GRAIN` of it counts as paper.
2. The picture is cropped to the ink, then scaled and centered as above.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.data.digits import BOX, center
from shared.errors import DataError

MIDDLE = 14  # the pixel of the center of mass
GRAIN = 0.15  # of full ink
CONTRAST = 32  # of 255: with less between paper and ink the picture is empty


class Digit(NamedTuple):
    """A digit in MNIST's form."""

    pixels: NDArray[np.uint8]  # (28, 28), 0 is paper, 255 is full ink
    dark: bool  # whether the ink was darker than the paper

    @property
    def ink(self) -> str:
        """How the ink was recognized, in words."""
        return "dark on light" if self.dark else "light on dark"


def mnist_form(picture: Image.Image, name: str) -> Digit:
    """Return the digit on a picture of any size and mode.

    Raises:
        DataError: the picture is empty; `name` is what the message calls it.
    """
    gray = np.asarray(picture.convert("L"), dtype=np.float64)
    paper = float(np.median(np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])))
    darker, lighter = paper - gray.min(), gray.max() - paper
    dark, contrast = bool(darker >= lighter), max(darker, lighter)
    if contrast < CONTRAST:
        raise DataError(f"{name}: there is nothing on it: paper and ink differ by {contrast:.0f} of 255")
    ink = (paper - gray if dark else gray - paper) / contrast
    field = center(_crop_and_scale(np.where(ink < GRAIN, 0.0, ink)), MIDDLE)
    return Digit(np.rint(255 * field).astype(np.uint8), dark)


def _crop_and_scale(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part with ink (0 to 1), its longer side 20 pixels; each is the mean of its area."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(side * BOX / max(ink.shape))) for side in ink.shape)
    image = Image.fromarray(ink.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    small = np.asarray(image, dtype=np.float64)
    return small / small.max()
