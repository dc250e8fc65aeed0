"""Within an epoch on a GPU there is no transfer and no synchronization, shown without a GPU.

torch's device `meta` computes shapes and dtypes only: reading a value from it fails. Used instead of
a GPU, it shows which values are read, what is transferred, and where devices are mixed.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from apps.attention.torch_model import build_model as attention_model
from apps.imdb_rnn.torch_model import build_model as reviews_model
from apps.mnist_cnn.torch_model import build_model as images_model
from apps.resnet_transfer.torch_model import build_model as pictures_model
from shared.data.examples import Examples
from shared.data.images import Standardized, shift
from shared.data.sequences import Documents, Sequences
from shared.errors import TrainingDiverged
from shared.training import numpy_learner, torch_inputs, torch_learner
from shared.training.losses import Loss
from shared.training.numpy_learner import NumpyLearner
from shared.training.torch_inputs import batches_to_device, examples_to_device, inputs_to_device, select
from shared.training.torch_learner import TorchLearner, count_correct
from tests.helpers import app_config, trained

GPU = torch.device("meta")
UNINDEXED = {torch.uint16, torch.uint32, torch.uint64}  # dtypes that CUDA cannot index
COUNT, BATCH = 10, 4


def reviews(keep: Any = "last") -> Sequences:
    """Return reviews of 2 to 9 words."""
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], random.integers(2, 10, COUNT).cumsum()])
    ids = random.integers(2, 20, offsets[-1]).astype(np.uint16)  # as IMDB's
    return Sequences(Documents(ids, offsets, random.integers(0, 2, COUNT)), 6, keep)


def gray_images(shifted: int = 0) -> Standardized:
    """Return images that stay bytes until they are used."""
    pixels = np.random.default_rng(2).integers(0, 256, (COUNT, 28, 28)).astype(np.uint8)
    images = shift(pixels, np.random.default_rng(1), shifted)
    return Standardized(images, np.linspace(-1, 3, 256).astype(np.float32))


def steps() -> list[tuple[np.ndarray, float]]:
    """Return an epoch's steps, the last batch smaller."""
    order = np.random.default_rng(1).permutation(COUNT)
    return [(order[start : start + BATCH], 0.01) for start in range(0, COUNT, BATCH)]


PICTURES = np.zeros((COUNT, 32, 32, 3), np.uint8)
NETWORKS: dict[str, tuple[str, list[str], Any, Any]] = {
    **{
        name: ("mnist_cnn", [f"model={name}"], images_model, np.zeros((COUNT, 28, 28), np.float32))
        for name in ("cnn", "fast_cnn", "mlp")
    },
    **{
        name: ("imdb_rnn", [f"model={name}"], lambda c: reviews_model(c, 20), reviews())
        for name in ("lstm", "bilstm", "rnn", "bow")
    },
    "attention": ("attention", [], lambda c: attention_model(c, 20, 2, False), reviews()),
    "bytes": ("mnist_cnn", ["model=mlp"], images_model, gray_images()),
    "resnet": ("resnet_transfer", ["weights=none"], lambda c: pictures_model(c, 10), PICTURES),
}


class Watch(TorchDispatchMode):
    """Records every operation of torch.

    Attributes:
        sent: the operations that move a tensor from the CPU to the GPU.
        mixed: those with tensors on both, not counting 0-dimensional ones on the CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []
        self.mixed: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record it; refuse what CUDA cannot do."""
        if func is torch.ops.aten.index.Tensor and args[0].device == GPU and args[0].dtype in UNINDEXED:
            raise NotImplementedError(f'"index_cuda" not implemented for {args[0].dtype}')
        result = func(*args, **(kwargs or {}))
        given, made = (
            {t.device.type for t in tree_leaves(values) if isinstance(t, torch.Tensor) and t.dim()}
            for values in ((args, kwargs), result)
        )
        if given == {"cpu"} and made == {GPU.type}:
            self.sent.append(str(func))
        elif given == {"cpu", GPU.type}:
            self.mixed.append(str(func))
        return result


def epoch_on_gpu(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Watch]:
    """Return the operations before an epoch, and in each of its steps."""
    monkeypatch.setattr(torch_learner, "device_of", lambda trainer: GPU)
    monkeypatch.setattr(TorchLearner, "autocast", lambda self: contextlib.nullcontext())
    app, own, build, inputs = NETWORKS[name]
    words = [*own, "trainer.precision=float32", "trainer.clip_norm=1"]
    loss: Loss = "binary_cross_entropy" if app == "imdb_rnn" else "cross_entropy"
    learner = TorchLearner(build, app_config(app, tmp_path, *words), loss)
    labels = np.random.default_rng(2).integers(0, 2, COUNT)
    watches = [Watch()]
    with watches[0]:
        data = learner.to_device(Examples(inputs, labels))
        batches = learner.start_epoch([batch for batch, _ in steps()])
    for batch, (_, lr) in zip(batches, steps(), strict=True):
        watches.append(Watch())
        with watches[-1]:
            scores = learner.step(data, batch, lr)
        assert {value.device for value in scores} == {GPU}
    return watches


@pytest.mark.parametrize("name", NETWORKS)
def test_an_epoch_neither_reads_from_the_gpu_nor_sends_to_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = epoch_on_gpu(name, tmp_path, monkeypatch)
    assert 3 <= len(first.sent) <= 5, "inputs, labels, the order"
    assert first.mixed == []
    assert [(watch.sent, watch.mixed) for watch in others] == [([], [])] * 3


def count_on_host(loss: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.tensor(int(count_correct(loss, logits, labels)), device=GPU)


def count_with_transfer(loss: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return count_correct(loss, logits, labels) + torch.ones(3).to(GPU).sum()


def test_reads_and_transfers_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_learner, "count_correct", count_on_host)
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):
        epoch_on_gpu("mlp", tmp_path, monkeypatch)
    monkeypatch.setattr(torch_learner, "count_correct", count_with_transfer)
    assert len(epoch_on_gpu("mlp", tmp_path, monkeypatch)[1].sent) == 1


@pytest.mark.parametrize("inputs", [reviews("first"), reviews("last"), gray_images(), gray_images(1)])
def test_batches_on_the_device_equal_those_on_the_host(inputs: Any) -> None:
    device = torch.device("cpu")
    there = examples_to_device(Examples(inputs, np.arange(COUNT)), device)
    assert inputs_to_device(there.inputs, device) is there.inputs or isinstance(inputs, Standardized)
    for batch, (rows, _) in zip(batches_to_device([r for r, _ in steps()], device), steps(), strict=True):
        found, labels = select(there, batch)
        assert found.dtype == (torch.float32 if isinstance(inputs, Standardized) else torch.int64)
        np.testing.assert_array_equal(found.numpy(), inputs[rows])
        np.testing.assert_array_equal(labels.numpy(), rows)


@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_images_are_shifted_on_the_device_as_on_the_host(pixels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 9, 8)).astype(np.uint8)
    in_torch = torch_inputs.shift(torch.from_numpy(images), np.random.default_rng(3), pixels)
    in_numpy = shift(images, np.random.default_rng(3), pixels)
    np.testing.assert_array_equal(in_torch.numpy(), in_numpy[:])


class AsynchronousLearner(NumpyLearner):
    """A step returns arrays, which are read later, as on a GPU."""

    asynchronous = True

    def step(self, *given: Any) -> Any:
        return tuple(map(np.array, super().step(*given)))


def test_scores_read_later_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = "framework=numpy model=mlp data=digits data.train_limit=300 data.test_limit=60 trainer.epochs=2"
    words = small.split()
    trained("mnist_cnn", tmp_path / "one", *words)
    monkeypatch.setattr(numpy_learner, "NumpyLearner", AsynchronousLearner)
    for seconds in ("null", "0"):  # a checkpoint after each step reads each score
        folder = tmp_path / f"late_{seconds}"
        trained("mnist_cnn", folder, *words, f"trainer.checkpoint_seconds={seconds}")
        for name in ("steps.csv", "weights.safetensors"):
            assert (folder / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    with pytest.raises(TrainingDiverged, match=r"the loss is (nan|inf) at step 2 \(epoch 1\)"):
        trained("mnist_cnn", tmp_path / "nan", *words, "optimizer.lr=1e30")


def test_the_metrics_name_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumpyLearner, "gpu", {"gpu": "NVIDIA H200"}, raising=False)
    run = trained("mnist_cnn", tmp_path / "run", "framework=numpy", "model=mlp", "data=digits", "debug=smoke")
    assert json.loads((run / "metrics.json").read_text())["hardware"]["gpu"] == "NVIDIA H200"
