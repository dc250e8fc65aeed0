"""Decode pictures that a user gives, of any kind and size, to uint8 (size, size, 3).

The result is what a viewer would show: EXIF orientation applied, gray and CMYK converted to RGB,
16 and 32 bits per channel reduced to 8, transparency on white. A picture that cannot be decoded
completely is refused.
"""

import contextlib
import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from shared.data.cache import cached_arrays
from shared.data.class_folders import list_class_folders
from shared.data.images import ImageData
from shared.distributed import available_cores
from shared.errors import DataError
from shared.files import sha256_of
from shared.input_file import read_file

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # Pillow would also run Ghostscript on PostScript
WHITE_VALUES = (1, 255, 65_535)  # what white may be in 32 bits per channel
MAX_PIXELS = 50_000_000  # per picture; a file of 1 MB can claim to have billions
POOL_MIN_BYTES = 20_000_000  # total file size from which a process pool, which takes a second to start, pays
CACHE_MAX_BYTES = 2 * 2**30
CACHE_FORMAT = 2  # increase it when decoding changes

Pixels = NDArray[np.uint8]


def decode(content: bytes, name: str, size: int) -> Pixels:
    """Return the largest centered square of a picture in a file, scaled to uint8 (size, size, 3).

    Raises:
        DataError: it is not a picture, is truncated, or has more than `MAX_PIXELS` pixels.
    """
    square = decode_whole(content, name)
    if square.size != (size, size):
        square = ImageOps.fit(square, (size, size), Image.Resampling.BILINEAR)
    return np.array(square, dtype=np.uint8)


def decode_whole(content: bytes, name: str) -> Image.Image:
    """Return a picture in its own size, in RGB.

    Raises:
        DataError: as `decode`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings about sizes; the limit here is our own
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(
                        f"{name}: {image.width:,} x {image.height:,} pixels, and the limit is "
                        f"{MAX_PIXELS:,}: make it smaller, or remove it"
                    )
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))  # before the conversion, which drops EXIF
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        problem = "too large" if isinstance(error, Image.DecompressionBombError) else "not a picture"
        raise DataError(f"{name}: {problem}: remove it, or replace it with the right file") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{name}: damaged or truncated ({error}): remove it, or copy it again") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any mode with 8 bits per channel, transparent pixels on white."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        values = np.asarray(image).astype(np.int64).clip(0, 65535) // 257
        image = Image.fromarray(values.astype(np.uint8))
    if image.mode in ("I", "F"):
        image = Image.fromarray(_scale_to_8_bits(np.asarray(image, dtype=np.float64)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _scale_to_8_bits(values: NDArray[np.float64]) -> Pixels:
    """Return gray values of 32 bits, integers or floats, for which no format defines white.

    White is the smallest of `WHITE_VALUES` that no value exceeds. If a value is negative or exceeds
    all of these, black is the smallest and white the largest value. NaN becomes black.
    """
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    if low >= 0 and high <= WHITE_VALUES[-1]:
        low, high = 0.0, next(white for white in WHITE_VALUES if high <= white)
    filled = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return np.asarray(np.rint(255 * (filled - low) / max(high - low, 1e-300)), dtype=np.uint8)


def resize(images: Pixels, size: int) -> Pixels:
    """Return images (N, H, W, 3) scaled bilinearly to (N, size, size, 3)."""
    if images.shape[1:3] == (size, size):
        return images
    scaled = np.empty((len(images), size, size, 3), np.uint8)
    for number, image in enumerate(images):
        scaled[number] = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    return scaled


@dataclass(frozen=True)
class Resized:
    """Images that are scaled when they are read, since all of them at once may not fit into memory.

    An index, an array of rows or a slice, returns uint8 (n, size, size, 3).
    """

    images: Pixels  # (N, H, W, 3)
    size: int

    @property
    def evaluation_batch(self) -> int:
        """The number of images whose activations fit into a processor's cache."""
        return min(250, max(1, 2**19 // self.size**2))

    def __getitem__(self, rows: Any) -> Pixels:
        return resize(self.images[rows], self.size)


def decode_files(paths: Sequence[Path], size: int) -> Pixels:
    """Return the pictures in these files, uint8 (N, size, size, 3); large sets use several processes.

    Raises:
        DataError: as `decode`, or a file cannot be read.
    """
    pictures = np.empty((len(paths), size, size, 3), np.uint8)
    workers = min(8, available_cores())
    decode_all: Any = map
    with contextlib.ExitStack() as stack:
        if workers > 1 and sum(path.stat().st_size for path in paths) >= POOL_MIN_BYTES:
            # Spawned, because fork would copy the locks of BLAS threads.
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
            decode_all = partial(pool.map, chunksize=32)
        for number, picture in enumerate(decode_all(partial(_decode_file, size=size), paths)):
            pictures[number] = picture
    return pictures


def _decode_file(path: Path, size: int) -> Pixels:
    return decode(read_file(path), str(path), size)


def load_folder(
    root: Path, size: int, test_fraction: float, cache: Path, name: str | None = None
) -> ImageData:
    """Return a user's own pictures, uint8 (N, size, size, 3), as `list_class_folders` finds them.

    The data set is called `name`, or as the folder is (its bytes that are not UTF-8 become `?`). The
    decoded arrays are kept in the folder `cache`, in a file named by a digest of the pictures' paths, sizes
    and modification times.

    Raises:
        DataError: as `list_class_folders`, or a picture cannot be decoded.
    """
    folders = list_class_folders(root, SUFFIXES, "pictures", test_fraction)
    paths, count = [*sorted(folders.train), *sorted(folders.test)], len(folders.train)
    path = cache / f"pictures_{_cache_key(paths, size)}.npz"
    arrays = cached_arrays(path, lambda: {"pictures": decode_files(paths, size)}, CACHE_MAX_BYTES)
    train, test = arrays["pictures"][:count], arrays["pictures"][count:]
    origin: Any = {"embedded": False, "source": f"folder {root}", "own_classes": True}
    name = name or root.resolve().name.encode(errors="replace").decode() or "image_folder"
    return ImageData(name, train, folders.train_labels, test, folders.test_labels, folders.classes, **origin)


def _cache_key(paths: Sequence[Path], size: int) -> str:
    statuses = [f"{path.resolve()}\n{path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in paths]
    text = f"{CACHE_FORMAT} {size} {len(paths)}\n{''.join(statuses)}"
    return sha256_of(text.encode(errors="surrogateescape"))[:24]  # a name may have any bytes


def shift_and_mirror(images: Pixels, random: np.random.Generator, pixels: int, mirror: bool) -> Pixels:
    """Return each color image shifted by up to `pixels` and, half of them, mirrored, at random.

    Args:
        images: (N, H, W, 3). Their edges are repeated to fill the gaps.
        random: draws the offsets and which images are mirrored.
        pixels: the largest offset; 0 shifts nothing.
        mirror: whether left and right may be exchanged.
    """
    down, right = random.integers(0, 2 * pixels + 1, (2, len(images)))
    mirrored = random.random(len(images)) < 0.5
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    shifted = np.empty_like(images)
    for number, (top, left) in enumerate(zip(down, right, strict=True)):
        shifted[number] = padded[number, top : top + height, left : left + width]
    if mirror:
        shifted[mirrored] = shifted[mirrored, :, ::-1]
    return shifted
