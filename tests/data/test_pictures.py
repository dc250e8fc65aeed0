import hashlib
import io
import os
import pickle
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.resnet_transfer.data import check_batches, split
from shared.data import cifar10, pictures
from shared.data.fetch import FileSet, RemoteFile
from shared.data.images import ImageData
from shared.errors import ConfigError, DataError
from tests.helpers import app_config


def image_bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photo(size: tuple[int, int] = (40, 30), seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


RED = (200, 30, 40)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("RGB", (16, 16), RED), "PNG", RED),
        (Image.new("L", (16, 16), 77), "PNG", (77, 77, 77)),
        (Image.fromarray(np.full((16, 16), 40_000, np.uint16)), "PNG", (155, 155, 155)),
        (Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
        (Image.new("RGBA", (16, 16), (*RED, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (16, 16), (*RED, 255)), "PNG", RED),
        (Image.new("LA", (16, 16), (10, 0)), "PNG", (255, 255, 255)),
        (Image.new("1", (16, 16), 1), "PNG", (255, 255, 255)),
        (Image.new("P", (16, 16), 0), "GIF", (0, 0, 0)),
    ],
    ids=["color", "gray", "16-bit", "cmyk", "clear", "opaque", "gray-alpha", "bits", "palette"],
)
def test_every_kind_of_picture_becomes_rgb(image: Image.Image, kind: str, expected: tuple[int, ...]) -> None:
    decoded = pictures.decode(image_bytes(image, kind), "picture", 8)
    assert decoded.shape == (8, 8, 3)
    assert decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded, np.broadcast_to(expected, (8, 8, 3)), atol=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], (0, 128, 255)),
        ([0.0, 2.0, 200.0], (0, 2, 200)),
        ([0, 2, 200], (0, 2, 200)),
        ([0, 40_000, 257], (0, 156, 1)),
        ([-1.0, 0.0, 1.0], (0, 128, 255)),
        ([100_000, 150_000, 200_000], (0, 128, 255)),
        ([np.nan, 100.0, np.inf], (0, 100, 255)),
        ([7e5, 7e5, 7e5], (0, 0, 0)),
    ],
)
def test_32_bits_are_scaled_by_the_smallest_white_that_holds_them(
    values: list[float], expected: tuple[int, ...]
) -> None:
    kind = np.float32 if isinstance(values[0], float) else np.int32
    image = Image.fromarray(np.repeat(np.array([values], kind), 3, axis=0))
    decoded = pictures.decode(image_bytes(image, "TIFF"), "picture", 3)
    np.testing.assert_array_equal(decoded, np.broadcast_to(np.array(expected)[:, None], (3, 3, 3)))


def test_a_cmyk_jpeg_is_read() -> None:
    content = image_bytes(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert pictures.decode(content, "picture", 8)[4, 4, 0] > 200


def test_a_picture_of_the_right_size_is_unchanged() -> None:
    image = photo((8, 8))
    np.testing.assert_array_equal(pictures.decode(image_bytes(image), "picture", 8), image)


def test_a_wide_picture_is_cropped_to_its_center() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    assert pictures.decode(image_bytes(Image.fromarray(pixels)), "picture", 10).min() == 255


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16"])
def test_exif_orientation_is_applied(mode: str) -> None:
    pixels = np.zeros((16, 16), np.uint16 if mode == "I;16" else np.uint8)
    pixels[:8] = np.iinfo(pixels.dtype).max  # the top
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # viewers rotate it by 90 degrees clockwise
    content = image_bytes(image if mode == "I;16" else image.convert(mode), exif=exif)
    decoded = pictures.decode(content, "picture", 16)
    assert decoded[:, 8:].min() == 255
    assert decoded[:, :8].max() == 0


def bomb() -> bytes:
    """A small file that claims to be a picture of 2.5 billion pixels."""
    content = bytearray(image_bytes(Image.new("1", (8, 8))))
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"This is a text.", "not a picture"),
        (b"", "not a picture"),
        (image_bytes(photo(), "JPEG")[:700], "damaged or truncated"),
        (image_bytes(photo(), "PNG")[:2000], "damaged or truncated"),
        (bomb(), "50,000 x 50,000 pixels|too large"),
        (image_bytes(Image.new("1", (7200, 7200))), "7,200 x 7,200 pixels, and the limit is 50,000,000"),
    ],
    ids=["text", "empty", "short jpeg", "short png", "bomb", "large"],
)
def test_a_bad_picture_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^cat\.jpg: ({message})") as raised:
        pictures.decode(content, "cat.jpg", 8)
    assert len(str(raised.value).splitlines()) == 1


def folder(root: Path, **counts: int) -> Path:
    """Write pictures: `folder(root, train__cat=3)` writes three into root/train/cat."""
    for number, (name, count) in enumerate(counts.items()):
        place = root.joinpath(*name.split("__"))
        place.mkdir(parents=True)
        for index in range(count):
            photo(seed=100 * number + index).save(place / f"{index}.png")
    return root


def load(root: Path, test_fraction: float = 0.2) -> ImageData:
    return pictures.load_folder(root, 16, test_fraction, root.with_name("cache"))


def test_a_folder_with_a_test_set_is_read_as_it_is(tmp_path: Path) -> None:
    root = folder(tmp_path / "all", train__cat=3, train__dog=2, test__cat=1, test__dog=2)
    (root / "train" / "cat" / "notes.txt").write_text("not read")
    images = load(root, 0.5)
    assert (images.name, images.classes) == ("all", ("cat", "dog"))
    assert images.train_images.shape == (5, 16, 16, 3)
    assert images.train_labels.tolist() == [0, 0, 0, 1, 1]
    assert images.test_labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("empty", [[], ["train"], ["train/__MACOSX"]])
def test_a_folder_without_a_training_set_is_enough_to_evaluate(empty: list[str], tmp_path: Path) -> None:
    root = folder(tmp_path / "all", test__cat=2, test__dog=1)
    for name in empty:
        (root / name).mkdir(parents=True)
    images = load(root)
    words = ["data=image_folder", f"data.root={root}", "data.per_class=5", "data.size=16"]
    config = app_config("resnet_transfer", tmp_path, *words)
    train, validation, test = split(images, config)
    assert (len(train), len(validation), test.labels.tolist()) == (0, 0, [0, 0, 1])
    with pytest.raises(ConfigError, match=r"is larger than the training set \(0 examples\)"):
        check_batches(config, len(train))


def test_a_folder_without_a_test_set_is_split(tmp_path: Path) -> None:
    root = folder(tmp_path / "all", cat=10, dog=4)
    images = load(root)
    assert np.bincount(images.train_labels).tolist() == [8, 3]
    assert np.bincount(images.test_labels).tolist() == [2, 1]
    together = np.concatenate([images.train_images, images.test_images])
    assert len(np.unique(together.reshape(14, -1), axis=0)) == 14, "each picture once"
    assert load(root).sha256 == images.sha256
    (root / "dog").rename(root / "fox")
    renamed = load(root)
    assert (renamed.train_images == images.train_images).all()
    assert renamed.sha256 != images.sha256, "class names are data, too"


def test_file_names_may_have_any_bytes_but_class_names_must_be_readable(tmp_path: Path) -> None:
    root = folder(tmp_path / "all", cat=3, dog=3)
    (root / "cat" / "0.png").rename(root / "cat" / os.fsdecode(b"M\xfc.png"))
    assert len(load(root).train_images) == 4
    (root / "cat").rename(root / os.fsdecode(b"M\xfc"))
    with pytest.raises(DataError, match="is not a valid class name; rename the folder"):
        load(root)


def test_decoded_pictures_are_cached_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "all", cat=3, dog=3)
    first = load(root, 0.4)
    monkeypatch.setattr(pictures, "decode_files", lambda *_: pytest.fail("decoded again"))
    assert load(root, 0.4).sha256 == first.sha256
    monkeypatch.undo()
    photo((50, 50), 7).save(root / "cat" / "0.png")
    assert load(root, 0.4).sha256 != first.sha256


def test_a_process_pool_decodes_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(folder(tmp_path, cat=5, dog=5).rglob("*.png"))
    expected = pictures.decode_files(paths, 16)
    monkeypatch.setattr(pictures, "POOL_MIN_BYTES", 0)
    monkeypatch.setattr(pictures, "available_cores", lambda: 2)
    np.testing.assert_array_equal(pictures.decode_files(paths, 16), expected)
    (tmp_path / "dog" / "4.png").write_text("a text")
    with pytest.raises(DataError, match=r"dog/4\.png: not a picture"):
        pictures.decode_files(paths, 16)


def published_archive() -> bytes:
    """An archive in CIFAR-10's format, with two pictures per batch."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
        for number, name in enumerate(names):
            data = np.zeros((2, 3072), np.uint8)
            data[:, 0], data[:, 1024], data[:, 2048] = number, 100, 200  # the first pixel
            content = pickle.dumps({b"data": data, b"labels": [number, 9]}, protocol=2)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_the_published_archive_is_read(archives: Path, tmp_path: Path) -> None:
    content = published_archive()
    (archives / "cifar10").mkdir(parents=True)
    (archives / "cifar10" / cifar10.ARCHIVE).write_bytes(content)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    file = RemoteFile(cifar10.ARCHIVE, len(content), digest)
    images = cifar10.load(tmp_path, False, FileSet("cifar10", "CIFAR-10", (file,), ()))
    assert images.train_images.shape == (10, 32, 32, 3)
    assert images.train_labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert images.train_images[2, 0, 0].tolist() == [1, 100, 200]
    assert images.test_labels.tolist() == [5, 9]


def test_a_pickle_that_would_run_code_is_refused() -> None:
    hostile = pickle.dumps(print)
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print does not belong"):
        cifar10._OnlyArrays(io.BytesIO(hostile)).load()


def test_a_folder_of_pictures_in_the_archives_is_read(archives: Path, tmp_path: Path) -> None:
    counts = {f"cifar10__{split}__{name}": 2 for split in ("train", "test") for name in "ab"}
    folder(archives, **counts)
    images = cifar10.load(tmp_path, download=False)
    assert (images.name, images.classes) == ("cifar10", ("a", "b"))


def test_an_archive_with_too_few_pictures_is_refused(archives: Path, tmp_path: Path) -> None:
    (archives / "cifar10").mkdir(parents=True)
    with tarfile.open(archives / "cifar10" / cifar10.SUBSET, "w:gz") as tar:
        content = image_bytes(photo((32, 32)), "JPEG")
        info = tarfile.TarInfo("cifar10/train/airplane/0.jpg")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    with pytest.raises(DataError, match=r"1 pictures in train/airplane, expected 2500"):
        cifar10.load(tmp_path, download=False)


def test_unavailable_cifar10_is_an_error(archives: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot get CIFAR-10"):
        cifar10.load(tmp_path, download=False)


def test_images_are_shifted_and_half_of_them_mirrored() -> None:
    images = np.tile(np.arange(16, dtype=np.uint8)[None, None, :, None], (400, 16, 1, 3))
    random = np.random.default_rng(0)
    np.testing.assert_array_equal(pictures.shift_and_mirror(images, random, 0, False), images)
    shifted = pictures.shift_and_mirror(images, random, 2, True)
    mirrored = shifted[:, 0, 2, 0] > shifted[:, 0, 13, 0]
    assert 0.4 < mirrored.mean() < 0.6
    assert set(np.unique(shifted[~mirrored, 0, 8, 0])) == {6, 7, 8, 9, 10}
