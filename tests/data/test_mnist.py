"""MNIST's file format and its fallback, and MNIST itself if DATA_ARCHIVES has it."""

import gzip
import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.data import mnist
from shared.data.fetch import FileSet, RemoteFile, archives_folder
from shared.data.images import ImageData
from shared.errors import DataError
from tests.helpers import ROOT


def to_idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("shape", [(5,), (3, 2), (2, 28, 28), (0, 28, 28)])
def test_read_idx_returns_the_array(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape)
    result = mnist.read_idx(to_idx(array), "a-file")
    np.testing.assert_array_equal(result, array)
    assert result.dtype == np.uint8
    assert result.flags.writeable


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing, expected 00 00 08"),
        (b"\0\0", "starts with 00 00, expected 00 00 08"),
        (b"\0\0\x08", "expected 00 00 08 and the number of dimensions"),
        (gzip.compress(b"not yet decompressed", mtime=0), "starts with 1f 8b"),
        (b"\0\x01\x08\x01\0\0\0\x01A", "starts with 00 01 08 01"),
        (b"\0\0\x0d\x01\0\0\0\x01AAAA", "starts with 00 00 0d 01"),  # 0x0d: float32
        (b"\0\0\x08\0A", "starts with 00 00 08 00"),
        (b"\0\0\x08\x03\0\0\0\x01\0\0", "cut short in the header: 10 bytes, expected 16"),
        (to_idx(np.zeros((2, 3)))[:-1], r"17 bytes, expected 18 .* shape \(2, 3\)"),
        (to_idx(np.zeros((2, 3))) + b"A", "19 bytes, expected 18"),
    ],
)
def test_read_idx_names_the_file_and_what_is_wrong(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"^a-file: .*{message}"):
        mnist.read_idx(content, "a-file")


def test_each_file_becomes_its_array(archives: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {
        mnist.TRAIN_IMAGES: random.integers(0, 256, (20, 28, 28)),
        mnist.TRAIN_LABELS: random.integers(0, 10, 20),
        mnist.TEST_IMAGES: random.integers(0, 256, (10, 28, 28)),
        mnist.TEST_LABELS: random.integers(0, 10, 10),
    }
    (archives / "mnist").mkdir(parents=True)
    files = []
    for name, array in arrays.items():
        content = to_idx(array)
        (archives / "mnist" / f"{name}.gz").write_bytes(gzip.compress(content))
        files.append(RemoteFile(name, len(content), hashlib.md5(content).hexdigest(), len(content)))
    data = mnist.load(tmp_path, fallback=None, published=FileSet("mnist", "MNIST", tuple(files), ()))
    np.testing.assert_array_equal(data.train_images, arrays[mnist.TRAIN_IMAGES])
    np.testing.assert_array_equal(data.train_labels, arrays[mnist.TRAIN_LABELS])
    np.testing.assert_array_equal(data.test_images, arrays[mnist.TEST_IMAGES])
    np.testing.assert_array_equal(data.test_labels, arrays[mnist.TEST_LABELS])
    assert (data.embedded, data.source) == (False, f"archives {archives / 'mnist'}")


def test_without_mnist_a_run_falls_back_to_the_digits_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATA_ARCHIVES", raising=False)
    data = mnist.load(tmp_path, download=False)
    assert (data.name, data.embedded) == ("digits", True)
    problem, _, notice = capsys.readouterr().out.splitlines()
    assert problem.startswith("cannot get MNIST: cache ")
    assert "archives: DATA_ARCHIVES is not set" in problem
    assert "falling back to the embedded sample, 1,797 real handwritten 8x8 digits" in notice


def test_without_mnist_and_fallback_it_is_an_error(archives: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot get MNIST"):
        mnist.load(tmp_path, download=False, fallback=None)


def test_importing_the_loader_imports_no_framework() -> None:
    heavy = {"torch", "torchvision", "tensorflow", "keras", "sklearn", "scipy"}
    code = f"import sys, shared.data.mnist; print(sorted({heavy} & set(sys.modules)))"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert output == "[]\n"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    if archives_folder() is None:
        pytest.skip("the environment variable DATA_ARCHIVES is not set: no MNIST to read")
    file = tmp_path_factory.mktemp("real") / "file"
    file.touch()
    return mnist.load(file / "data", False, fallback=None)  # not cached: no folder fits below a file


def test_mnist_has_the_published_shapes_and_counts(real: ImageData) -> None:
    assert real.train_images.shape == (60_000, 28, 28)
    assert real.test_images.shape == (10_000, 28, 28)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(real.train_labels).tolist() == train
    assert np.bincount(real.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert real.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert not real.embedded


def test_mnist_has_the_known_mean_and_deviation(real: ImageData) -> None:
    """0.1307 and 0.3081: the constants that MNIST examples normalize with."""
    counts = np.bincount(real.train_images.reshape(-1), minlength=256)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum()
    deviation = np.sqrt(counts @ (values - mean) ** 2 / counts.sum())
    assert round(mean, 4) == 0.1307
    assert round(deviation, 4) == 0.3081
