"""Pictures of any kind and size, decoded to one: uint8 (size, size, 3); and folders of them.

What comes out is what a person sees: turned as the camera says, gray and CMYK as red, green and
blue, 16 and 32 bits brought down to 8, transparency on white. What cannot be decoded to its last
line is refused.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from shared.data.class_folders import list_class_folders
from shared.data.images import ImageData
from shared.errors import DataError
from shared.files import read_file, write_atomically

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
# What files called so may really be: Pillow reads much more, PostScript through another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
WHITES = (1, 255, 65_535)  # what it may be in 32 bits
MOST_PIXELS = 50_000_000  # of a picture; one of 1 MB can claim to have billions
POOL_FROM = 20_000_000  # bytes of files from which processes pay: they take a second to start
CACHE_UP_TO = 2 * 2**30  # bytes of arrays
FORM = 2  # of what is cached; another number where decoding changes

Pixels = NDArray[np.uint8]


def decode(content: bytes, name: str, size: int) -> Pixels:
    """Return the picture in `content` as uint8 (size, size, 3).

    The largest square in its middle is scaled, bilinearly over the area of each new pixel.

    Args:
        content: a file's content, in one of `FORMATS`.
        name: what it is called, for messages.
        size: pixels a side.

    Raises:
        DataError: it is no picture, cut short, or has more than `MOST_PIXELS` pixels.
    """
    square = decode_whole(content, name)
    if square.size != (size, size):
        square = ImageOps.fit(square, (size, size), Image.Resampling.BILINEAR)
    return np.array(square, dtype=np.uint8)


def decode_whole(content: bytes, name: str) -> Image.Image:
    """Return the picture in `content` as it is seen, in its own size: 8 bits a color.

    Raises:
        DataError: as `decode`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of sizes; the limit here is our own
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise DataError(
                        f"{name}: {image.width:,} x {image.height:,} pixels; a picture may have "
                        f"{MOST_PIXELS:,} at most: make it smaller, or take it out"
                    )
                image.load()
                return _in_color(ImageOps.exif_transpose(image))  # colors keep no EXIF
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        kind = "too large" if isinstance(error, Image.DecompressionBombError) else "not a picture"
        raise DataError(f"{name}: {kind}: take it out, or put the right file there") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{name}: damaged or cut short ({error}): take it out, or copy it again") from error


def _in_color(image: Image.Image) -> Image.Image:
    """Return an image of any mode in red, green and blue, 8 bits each."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):  # 16 bits: the high ones are kept
        values = np.asarray(image).astype(np.int64).clip(0, 65535) // 257
        image = Image.fromarray(values.astype(np.uint8))
    if image.mode in ("I", "F"):
        image = Image.fromarray(_without_a_scale(np.asarray(image, dtype=np.float64)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _without_a_scale(values: NDArray[np.float64]) -> Pixels:
    """Return the gray values of 32 bits, integers or not, of which no format says what white is.

    It is the smallest of `WHITES` that no value exceeds. Where one is negative, or larger than all
    of these, black is the smallest and white the largest value. What is not a number is black.
    """
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    if low >= 0 and high <= WHITES[-1]:
        low, high = 0.0, next(white for white in WHITES if high <= white)
    filled = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return np.asarray(np.rint(255 * (filled - low) / max(high - low, 1e-300)), dtype=np.uint8)


def resize(images: Pixels, size: int) -> Pixels:
    """Return pictures (N, H, W, 3) in another size, (N, size, size, 3), bilinearly."""
    if images.shape[1:3] == (size, size):
        return images
    scaled = np.empty((len(images), size, size, 3), np.uint8)
    for number, image in enumerate(images):
        scaled[number] = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    return scaled


def decode_files(paths: Sequence[Path], size: int) -> Pixels:
    """Return the pictures in these files, uint8 (N, size, size, 3); in processes where that pays.

    Raises:
        DataError: as `decode`, or a file cannot be read.
    """
    workers = min(8, os.process_cpu_count() if hasattr(os, "process_cpu_count") else _cores())
    pictures = np.empty((len(paths), size, size, 3), np.uint8)
    one = partial(_decode_file, size=size)
    if workers < 2 or sum(path.stat().st_size for path in paths) < POOL_FROM:
        for number, path in enumerate(paths):
            pictures[number] = one(path)
        return pictures
    # Not forked: the threads of BLAS would be forked with their locks.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            for number, picture in enumerate(pool.map(one, paths, chunksize=32)):
                pictures[number] = picture
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return pictures


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode_file(path: Path, size: int) -> Pixels:
    return decode(read_file(path), str(path), size)


def load_folder(
    root: Path, size: int, test_fraction: float, name: str = "image_folder", cache: Path | None = None
) -> ImageData:
    """Return the pictures in `root/train/CLASS/*` and `root/test/CLASS/*`.

    Args:
        root: the folder; see `list_class_folders`.
        size: pixels a side of the result.
        test_fraction: fraction of each class's pictures that are used for testing, if `root` does
            not have both sets.
        name: of the data set.
        cache: where the decoded arrays are kept, under a digest of the files' names, sizes and
            times; None keeps nothing.

    Raises:
        DataError: as `list_class_folders`, or a picture cannot be decoded.
    """
    folders = list_class_folders(root, SUFFIXES, "pictures", test_fraction)
    paths, count = [*sorted(folders.train), *sorted(folders.test)], len(folders.train)
    kept = None if cache is None else cache / f"pictures_{_key(paths, size)}.npy"
    pictures = None if kept is None else read_array(kept, (len(paths), size, size, 3))
    if pictures is None:
        pictures = decode_files(paths, size)
        if kept is not None and pictures.nbytes <= CACHE_UP_TO:
            keep_array(kept, pictures)
    return ImageData(
        name,
        pictures[:count],
        folders.train_labels,
        pictures[count:],
        folders.test_labels,
        folders.classes,
        embedded=False,
        source=f"folder {root}",
        own_classes=True,
    )


def _key(paths: Sequence[Path], size: int) -> str:
    digest = hashlib.sha256(f"{FORM} {size} {len(paths)}\n".encode())
    for path in paths:
        facts = path.stat()
        digest.update(f"{path.resolve()}\n{facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def read_array(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """Return a kept array, its content checked against its digest; None where that is not so."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:32], content[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    array: Pixels = np.load(io.BytesIO(content), allow_pickle=False)
    return array if array.shape == shape and array.dtype == np.uint8 else None


def keep_array(path: Path, array: Pixels) -> None:
    """Write an array with its digest in front; where that fails, say so and go on."""
    stream = io.BytesIO()
    np.save(stream, array)
    content = stream.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        print(f"{path}: cannot be written ({error.strerror}); the pictures are decoded every time")
