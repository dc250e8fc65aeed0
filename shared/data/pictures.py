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

from shared.data.images import ImageData
from shared.data.store import Say
from shared.errors import DataError
from shared.files import write_atomically

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
# What files called so may really be: Pillow reads much more, PostScript through another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
WHITES = (1, 255, 65_535)  # what it may be in 32 bits
MOST_PIXELS = 50_000_000  # of a picture; one of 1 MB can claim to have billions
POOL_FROM = 20_000_000  # bytes of files from which processes pay: they take a second to start
CACHE_UP_TO = 2 * 2**30  # bytes of arrays
FORM = 2  # of what is cached; another number where decoding changes
SPLITS = ("train", "test")

Pixels = NDArray[np.uint8]
Files = dict[str, list[Path]]  # by class


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


def resized(images: Pixels, size: int) -> Pixels:
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
    return decode(read(path), str(path), size)


def read(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def load_folder(
    root: Path,
    size: int,
    test_fraction: float,
    name: str = "image_folder",
    cache: Path | None = None,
    say: Say = print,
) -> ImageData:
    """Return the pictures in `root/train/CLASS/*` and `root/test/CLASS/*`.

    Where there are no folders `train` and `test`, the classes are the folders of `root` itself, and
    a fixed seed draws what is kept to test with.

    Args:
        root: the folder.
        size: pixels a side of what comes out.
        test_fraction: how many pictures of each class are kept to test with, one at least, where
            `root` does not say which.
        name: of the data set.
        cache: where the decoded arrays are kept, under a digest of the files' names, sizes and
            times; None keeps nothing.
        say: takes each message.

    Raises:
        DataError: there are not two classes, one has no pictures (or a single one where they have
            to be split), the test set has a class that the training set has not, or a picture
            cannot be decoded.
    """
    if all((root / split).is_dir() for split in SPLITS):
        train, test = (_listed(root / split) for split in SPLITS)
        unknown = sorted(set(test) - set(train))
        if unknown:
            raise DataError(
                f"{root / 'test'}: the class {unknown[0]} has no folder in {root / 'train'}: add "
                "pictures to train with, or take it out"
            )
    else:
        train, test = _split(_listed(root), root, test_fraction)
    classes = tuple(sorted(train))
    paths = [[path for one in classes for path in split.get(one, [])] for split in (train, test)]
    labels = [
        np.repeat(np.arange(len(classes)), [len(split.get(one, [])) for one in classes])
        for split in (train, test)
    ]
    train_images, test_images = _decoded(paths, size, cache, say)
    return ImageData(
        name,
        train_images,
        labels[0],
        test_images,
        labels[1],
        classes,
        embedded=False,
        source=f"folder {root}",
        own_classes=True,
    )


def _listed(folder: Path) -> Files:
    """Return the picture files of each class folder, in the order of their names."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; data.root=PATH names the pictures")
    found = {
        place.name: sorted(
            path
            for path in place.iterdir()
            if path.suffix.lower() in SUFFIXES
            and not path.name.startswith(".")
            and path.is_file()  # no pipe, and no link that leads nowhere
        )
        for place in sorted(folder.iterdir())
        if place.is_dir() and not place.name.startswith(".")
    }
    if len(found) < 2:
        raise DataError(
            f"{folder}: expected a folder for each of at least two classes, with pictures in it; "
            f"found {', '.join(found) or 'none'}"
        )
    for name, paths in found.items():
        if not paths:
            raise DataError(f"{folder / name}: this class has no pictures ({', '.join(sorted(SUFFIXES))})")
    return found


def _split(found: Files, root: Path, test_fraction: float) -> tuple[Files, Files]:
    """Return training and test pictures of each class, drawn by a fixed seed."""
    random = np.random.default_rng(0)
    train, test = {}, {}
    for name, paths in found.items():
        if len(paths) < 2:
            raise DataError(
                f"{root / name}: one picture cannot be split into training and test set: add some"
            )
        shuffled = [paths[position] for position in random.permutation(len(paths))]
        kept = min(len(paths) - 1, max(1, round(test_fraction * len(paths))))
        train[name], test[name] = sorted(shuffled[kept:]), sorted(shuffled[:kept])
    return train, test


def _decoded(
    paths: Sequence[Sequence[Path]], size: int, cache: Path | None, say: Say
) -> tuple[Pixels, Pixels]:
    """Return the pictures of both sets, from the cache where they are in it."""
    together = [*paths[0], *paths[1]]
    kept = None if cache is None else cache / f"pictures_{_key(together, size)}.npy"
    pictures = None if kept is None else read_array(kept, (len(together), size, size, 3))
    if pictures is None:
        pictures = decode_files(together, size)
        if kept is not None and pictures.nbytes <= CACHE_UP_TO:
            keep_array(kept, pictures, say)
    return pictures[: len(paths[0])], pictures[len(paths[0]) :]


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


def keep_array(path: Path, array: Pixels, say: Say) -> None:
    """Write an array with its digest in front; where that fails, say so and go on."""
    stream = io.BytesIO()
    np.save(stream, array)
    content = stream.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        say(f"{path}: cannot be written ({error.strerror}); the pictures are decoded every time")
