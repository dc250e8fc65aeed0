"""MNIST's file format and its fallback, and MNIST itself if DATA_ARCHIVES has it."""

import gzip
import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apps.mnist_cnn.data import gray_table
from shared.data import mnist
from shared.data.fetch import FileSet, RemoteFile, archives_folder
from shared.errors import DataError
from tests.helpers import ROOT


def to_idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


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
    loaded: list[np.ndarray] = [data.train_images, data.train_labels, data.test_images, data.test_labels]
    for found, expected in zip(loaded, arrays.values(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert not data.train_images.flags.writeable
    assert not data.test_images.flags.writeable
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


def test_the_real_mnist_has_the_published_counts_and_mean(tmp_path: Path) -> None:
    if archives_folder() is None:
        pytest.skip("the environment variable DATA_ARCHIVES is not set: no MNIST to read")
    (tmp_path / "file").touch()
    data = mnist.load(tmp_path / "file" / "data", False, fallback=None)  # not cached: no folder fits there
    assert data.train_images.shape == (60_000, 28, 28)
    assert data.test_images.shape == (10_000, 28, 28)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.train_labels).tolist() == train
    assert np.bincount(data.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    counts, values = np.bincount(data.train_images.ravel(), minlength=256), np.arange(256) / 255
    mean = np.average(values, weights=counts)
    assert round(mean, 4) == 0.1307  # the constants that MNIST examples normalize with
    assert round(np.average((values - mean) ** 2, weights=counts) ** 0.5, 4) == 0.3081


@pytest.mark.slow
def test_torchvision_reads_the_same_digits(tmp_path: Path) -> None:
    """Its constants are ours, rounded to four digits."""
    if archives_folder() is None:
        pytest.skip("the environment variable DATA_ARCHIVES is not set: no MNIST to read")
    from tools.bench.torch_loader import torchvision_mnist

    ours = mnist.load(tmp_path, False, fallback=None)
    images = {True: ours.train_images, False: ours.test_images}
    labels = {True: ours.train_labels, False: ours.test_labels}
    for train in (True, False):
        (tmp_path / str(train)).mkdir()
        theirs = torchvision_mnist(tmp_path / str(train), tmp_path / "mnist", train)
        np.testing.assert_array_equal(images[train], theirs.data.numpy())
        np.testing.assert_array_equal(labels[train], theirs.targets.numpy())
    table = gray_table(*ours.mean_and_std)
    image, label = theirs[0]
    assert label == ours.test_labels[0]
    np.testing.assert_allclose(table[ours.test_images[:1]], image.numpy(), rtol=0, atol=5e-4)
