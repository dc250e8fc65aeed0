"""apps/resnet_transfer: three frameworks, one network; what is frozen stays as it is."""

import csv
import functools
import hashlib
import http.server
import json
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import tensorflow as tf
import torch
import torchvision  # type: ignore[import-untyped]
from PIL import Image

from apps.resnet_transfer import (
    keras_model,
    learning,
    numpy_model,
    predict,
    shapes,
    torch_model,
    torch_predict,
    torch_transforms,
    torch_weights,
)
from apps.resnet_transfer.config import Config
from apps.resnet_transfer.tasks import load_source, load_target, split
from apps.resnet_transfer.train import train
from apps.resnet_transfer.weights import from_file, starting_weights
from shared.backprop import CrossEntropyLoss
from shared.data.examples import Examples
from shared.errors import ConfigError, DataError
from shared.parity.weights import keras_state, torch_state
from shared.runs.folder import RunFolder
from shared.training.loop import evaluate
from tests.helpers import app_config

FRAMEWORKS = ["torch", "keras", "numpy"]
FILES = {
    "config.yaml",
    "metrics.json",
    "history.csv",
    "steps.csv",
    "curves.png",
    "confusion.png",
    "weights.safetensors",
}


def resnet_config(run_dir: Path, *overrides: str) -> Config:
    """Compose a configuration on the embedded digits, with a small network."""
    small = [
        "data=digit_pictures",
        "model.width=8",
        f"cache={run_dir.parent / 'weights'}",
        "trainer.threads=1",
    ]
    config: Config = app_config("resnet_transfer", run_dir, *small, *overrides)
    return config


@pytest.fixture
def _double_precision() -> object:
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def lively(network: torch.nn.Module) -> None:
    """Give batch normalization statistics and weights that a fresh one has not."""
    generator = torch.Generator().manual_seed(1)
    for name, value in network.state_dict().items():
        if "bn" in name or "downsample.1" in name:
            if value.is_floating_point():
                value.copy_(0.5 + torch.rand(value.shape, generator=generator).to(value.dtype))
            if name.endswith(("running_mean", "bias")):
                value.sub_(1.0)


def in_all_three(tmp_path: Path, model: str, stem: str) -> tuple[Any, Any, Any]:
    config = resnet_config(tmp_path, f"model={model}", "model.width=4", f"model.stem={stem}").model
    torch.manual_seed(0)
    in_torch = torch_model.build_model(config, 5).double()
    lively(in_torch)
    in_keras = keras_model.build_model(config, 5)
    in_numpy = numpy_model.build_model(config, np.float64, np.random.default_rng(0), 5)
    keras_model.load_state(in_keras, torch_state(in_torch))
    numpy_model.load_state(in_numpy, torch_state(in_torch))
    return in_torch, in_keras, in_numpy


@pytest.mark.usefixtures("_double_precision")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    ("model", "stem"),
    [
        ("resnet18", "imagenet"),
        ("resnet18", "small"),
        pytest.param("resnet34", "imagenet", marks=pytest.mark.slow),
        ("resnet50", "imagenet"),
    ],
)
def test_the_same_weights_give_the_same_logits_and_gradients(
    model: str, stem: str, training: bool, tmp_path: Path
) -> None:
    """In float64 to a relative 1e-7; and the statistics that a training step leaves."""
    in_torch, in_keras, in_numpy = in_all_three(tmp_path, model, stem)
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (3, 40, 40, 3)).astype(np.float64)
    labels = np.array([0, 4, 2])
    logits = in_torch.train(training)(torch.from_numpy(images))
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    loss = CrossEntropyLoss()
    own = in_numpy.train(training).forward(images)
    loss.forward(own, labels)
    in_numpy.backward(loss.backward())
    with tf.GradientTape() as tape:
        of_keras = in_keras(images, training=training)
        mean = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, of_keras))
    variables = in_keras.trainable_variables
    gradients = tape.gradient(mean, variables)
    expected = logits.detach().numpy()
    allowed = 1e-7 * np.abs(expected).max()
    np.testing.assert_allclose(own, expected, rtol=0, atol=allowed)
    np.testing.assert_allclose(np.asarray(of_keras), expected, rtol=0, atol=allowed)
    after = torch_state(in_torch)
    for name, value in in_numpy.buffers.items():
        np.testing.assert_allclose(value, after[name], rtol=1e-9, atol=1e-12, err_msg=name)
    # Keras's gradients under torch's names: put where the weights are, and carried over like them.
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign(tf.convert_to_tensor(gradient))
    by_name = keras_state(in_keras, after)
    for name, parameter in in_torch.named_parameters():
        assert parameter.grad is not None
        expected = parameter.grad.numpy()
        allowed = 1e-7 * np.abs(expected).max()
        assert allowed > 0, name
        np.testing.assert_allclose(in_numpy.grads[name], expected, rtol=0, atol=allowed)
        np.testing.assert_allclose(by_name[name], expected, rtol=0, atol=allowed, err_msg=name)


def test_the_network_is_torchvisions(tmp_path: Path) -> None:
    """Of width 64 it has torchvision's weights by name and shape, and gives the same logits."""
    config = resnet_config(tmp_path, "model.width=64").model
    theirs = torchvision.models.resnet18(num_classes=5).eval()
    ours = torch_model.TorchResNet(config, 5).eval()
    ours.load_state_dict(theirs.state_dict())
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    preset = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    normalized = torchvision.transforms.v2.functional.normalize(scaled, preset.mean, preset.std)
    with torch.no_grad():
        torch.testing.assert_close(ours(torch.from_numpy(images)), theirs(normalized), rtol=1e-4, atol=1e-4)


@pytest.fixture
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block a stage: half the time, TensorFlow's above all."""
    monkeypatch.setitem(shapes.BLOCKS, "resnet18", ("BasicBlock", (1, 1, 1, 1)))


@pytest.fixture
def start(tmp_path: Path, _shallow: None) -> learning.Start:
    """Weights to start from: of the small network, drawn, with the statistics of the digits."""
    config = resnet_config(tmp_path)
    torch.manual_seed(3)
    network = torch_model.build_model(config.model, 2)
    pictures = torch.from_numpy(load_target(config).train_images[:100])
    with torch.no_grad():
        for _ in range(40):
            network(pictures)
    return learning.Start("a test", torch_state(network))


def trained(
    config: Config, start: learning.Start, folder: Path
) -> tuple[Any, dict[str, np.ndarray], Examples]:
    """Train on the digits; return the learner, its weights by torch's names, and a test set."""
    images = load_target(config)
    train_set, _, test_set = split(images, config)
    folder.mkdir(exist_ok=True)
    learner = learning.learn(config, start, (train_set, None), 5, RunFolder(folder))
    return learner, learning.network(config.framework).state(learner.model), test_set


SHORT = [
    "data.per_class=12",
    "trainer.batch_size=20",
    "trainer.epochs=2",
    "trainer.precision=float32",
    "data.test_limit=150",
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_frozen_layers_keep_their_weights_and_their_statistics(
    framework: str, start: learning.Start, tmp_path: Path
) -> None:
    """The trap: batch normalization that is not trained follows the batches all the same."""
    chosen = [*SHORT, f"framework={framework}", "transfer.features=each_epoch"]
    config = resnet_config(tmp_path, "transfer.mode=frozen", *chosen)
    learner, after, _ = trained(config, start, tmp_path)
    assert learner.parameters == 64 * 5 + 5
    for name, value in start.state.items():
        if name.startswith("fc."):
            assert name not in after or not np.array_equal(after[name], value)
        elif not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(after[name], value, err_msg=name)
    config = resnet_config(tmp_path, "transfer.mode=finetune", "trainer.max_steps=1", *chosen)
    _, after, _ = trained(config, start, tmp_path)
    for name in ("conv1.weight", "bn1.running_mean", "layer4.0.bn2.running_var"):
        assert not np.array_equal(after[name], start.state[name]), name


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_features_computed_once_give_the_same_accuracy(
    framework: str, start: learning.Start, tmp_path: Path
) -> None:
    """To the last picture, as the backbone run in each epoch."""
    results = []
    for features in ("once", "each_epoch"):
        config = resnet_config(
            tmp_path,
            "transfer.mode=frozen",
            f"transfer.features={features}",
            f"framework={framework}",
            *SHORT,
        )
        learner, state, test_set = trained(config, start, tmp_path / features)
        results.append((state["fc.weight"], evaluate(learner, test_set)))
    (once, first), (each, second) = results
    np.testing.assert_allclose(once, each, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(first.predictions, second.predictions)
    assert first.accuracy == second.accuracy
    assert len(np.unique(first.predictions)) > 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_backbone_learns_at_its_own_rate(framework: str, start: learning.Start, tmp_path: Path) -> None:
    moved = []
    for factor in (0.25, 1.0):
        config = resnet_config(
            tmp_path,
            f"transfer.backbone_rate={factor}",
            f"framework={framework}",
            "trainer.max_steps=1",
            "optimizer=sgd",
            "optimizer.lr=0.1",
            "data.shift=0",
            "trainer.schedule=constant",
            *SHORT,
        )
        _, after, _ = trained(config, start, tmp_path)
        moved.append({name: after[name] for name in ("conv1.weight", "fc.weight")})
    slow, fast = (step["conv1.weight"] - start.state["conv1.weight"] for step in moved)
    assert np.abs(fast).max() > 1e-4
    np.testing.assert_allclose(slow, 0.25 * fast, atol=1e-3 * np.abs(fast).max())
    np.testing.assert_array_equal(moved[0]["fc.weight"], moved[1]["fc.weight"])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_gradual_unfreezing_begins_with_the_last_layer(
    framework: str, start: learning.Start, tmp_path: Path
) -> None:
    chosen = [*SHORT, f"framework={framework}", "transfer.unfreeze_every=1"]
    frozen = "layer4.0.bn2.running_mean", "layer3.0.conv1.weight", "bn1.running_mean"
    changed = []
    for epochs in (1, 2):
        config = resnet_config(tmp_path, *chosen, f"trainer.epochs={epochs}")
        _, after, _ = trained(config, start, tmp_path)
        changed.append([not np.array_equal(after[name], start.state[name]) for name in frozen])
    assert changed == [[False, False, False], [True, False, False]]
    rates = [learning.rates_of(config, epoch) for epoch in range(1, 7)]
    assert [sum(rate > 0 for rate in one.values()) for one in rates] == [1, 2, 3, 4, 5, 6]


def test_weights_of_another_network_are_refused(start: learning.Start, tmp_path: Path) -> None:
    for chosen, problem in (
        (["model=resnet50", "model.width=8"], r"layer1\.0\.conv3\.weight is missing"),
        (["model.width=4"], r"has the shape \(8, 3, 7, 7\), expected \(4, 3, 7, 7\)"),
        (["model=resnet34", "model.width=8"], r"layer1\.1\.conv1\.weight is missing"),
    ):
        config = resnet_config(tmp_path, *chosen, *SHORT)
        with pytest.raises(DataError, match=rf"weights of another network: .*({problem})"):
            learning.started(learning.build_learner(config, 5), config, start)
    empty = learning.Start("empty.safetensors", {})
    with pytest.raises(DataError, match=r"^empty\.safetensors: weights of another network"):
        learning.started(learning.build_learner(config, 5), config, empty)


# ImageNet's weights: a stand-in with an address and a digest of its own.
@pytest.fixture
def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file in the form of torchvision's weights, named by its digest, on no server."""
    served = tmp_path / "server"
    served.mkdir()
    torch.manual_seed(5)
    torch.save(torchvision.models.resnet18().state_dict(), served / "weights")
    digest = hashlib.sha256((served / "weights").read_bytes()).hexdigest()[:8]
    file = (served / "weights").rename(served / f"resnet18-{digest}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    address = f"http://127.0.0.1:9/{file.name}"  # a port on which nobody answers
    monkeypatch.setattr(torch_weights, "imagenet_url", lambda model: address)
    return file


def test_torchvisions_own_addresses_name_a_digest() -> None:
    for model in ("resnet18", "resnet34", "resnet50"):
        name = torch_weights.imagenet_url(model).rpartition("/")[2]
        assert re.fullmatch(rf"{model}-[0-9a-f]{{8}}\.pth", name)


def in_the_cache(file: Path, tmp_path: Path) -> Path:
    place = tmp_path / "torch" / "hub" / "checkpoints" / file.name
    place.parent.mkdir(parents=True)
    return Path(shutil.copy(file, place))


def test_imagenet_is_taken_from_the_cache_and_checked_each_time(
    imagenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = in_the_cache(imagenet, tmp_path)
    expected = torch.load(imagenet, weights_only=True)
    for choice in ("imagenet", "auto"):
        config = resnet_config(tmp_path, f"weights={choice}", "model.width=64")
        start = starting_weights(config, load_target(config), RunFolder(tmp_path))
        assert start.name == "imagenet"
        np.testing.assert_array_equal(start.state["conv1.weight"], expected["conv1.weight"])
    assert "weights=auto takes ImageNet's" in capsys.readouterr().out
    learner = learning.started(learning.build_learner(config, 5), config, start)
    assert torch.equal(learner.model.layer4[1].bn2.weight, expected["layer4.1.bn2.weight"])
    content = bytearray(cached.read_bytes())
    content[len(content) // 2] ^= 1
    cached.write_bytes(content)
    config = resnet_config(tmp_path, "weights=imagenet", "model.width=64")
    with pytest.raises(DataError, match=r"its SHA-256 digest begins with .*delete it"):
        starting_weights(config, load_target(config), RunFolder(tmp_path))


def test_imagenet_is_downloaded_into_torchvisions_cache(
    imagenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=imagenet.parent)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{imagenet.name}"
        monkeypatch.setattr(torch_weights, "imagenet_url", lambda model: address)
        state = torch_weights.imagenet("resnet18")
        server.shutdown()
    assert state["fc.weight"].shape == (1000, 512)
    kept = tmp_path / "torch" / "hub" / "checkpoints" / imagenet.name
    assert kept.read_bytes() == imagenet.read_bytes()


@pytest.mark.usefixtures("imagenet")
def test_without_imagenet_auto_goes_on_with_the_source_task_within_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resnet_config(tmp_path, "weights=imagenet", "model.width=64")
    target = load_target(config)
    begin = time.perf_counter()
    with pytest.raises(DataError, match="cannot be reached"):
        starting_weights(config, target, RunFolder(tmp_path))
    monkeypatch.setattr(torch_weights, "PATIENCE", 0.2)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: time.sleep(9))
    assert torch_weights.unreachable("http://nowhere/") == "no answer in 0 seconds"
    assert time.perf_counter() - begin < 5
    taken = learning.Start("source_task", {})
    monkeypatch.setattr("apps.resnet_transfer.weights.source_task", lambda *_: taken)
    config = resnet_config(tmp_path, "weights=auto", "model.width=64")
    assert starting_weights(config, target, RunFolder(tmp_path)) is taken
    assert "weights=auto goes on with weights=source_task" in capsys.readouterr().out


class Hostile:
    def __reduce__(self) -> Any:
        return (print, ("code was run",))


def test_weights_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {"conv1.weight": torch.ones(2, 3), "count": torch.tensor(3)}
    torch.save(state, tmp_path / "weights.pth")
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    for name in ("weights.pth", "weights.safetensors"):
        loaded = from_file(tmp_path / name)
        np.testing.assert_array_equal(loaded["conv1.weight"], np.ones((2, 3)))
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        from_file(tmp_path / name, digest)
        with pytest.raises(DataError, match="its SHA-256 digest begins with"):
            from_file(tmp_path / name, "0" * 8)
    torch.save(Hostile(), tmp_path / "hostile.pth")
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"w": torch.ones(2, device="meta")}, tmp_path / "empty.pth")
    torch.save({"w": torch.ones(2, dtype=torch.complex64)}, tmp_path / "complex.pth")
    for name, value in {
        "bfloat16": torch.ones(2, dtype=torch.bfloat16),
        "float8": torch.ones(2).to(torch.float8_e5m2),
        "nan": torch.tensor([1.0, np.nan]),
        "large": torch.tensor([-1e39], dtype=torch.float64),
    }.items():
        safetensors.torch.save_file({"w": value}, tmp_path / f"{name}.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name, message in (
        ("hostile.pth", "without running code"),
        ("text.pth", "no state dict"),
        ("list.pth", "not a state dict"),
        ("text.safetensors", "not a file of safetensors"),
        ("nothing.pth", "cannot be read"),
        ("empty.pth", "tensors that are no plain arrays"),
        ("complex.pth", "w is complex64: save it in float32"),
        ("bfloat16.safetensors", "bfloat16.*: save it in float32"),
        ("float8.safetensors", "float8.*: save it in float32"),
        ("nan.safetensors", "w holds NaN or numbers too large for float32"),
        ("large.safetensors", "w holds NaN or numbers too large for float32"),
    ):
        with pytest.raises(DataError, match=message) as raised:
            from_file(tmp_path / name)
        assert len(str(raised.value).splitlines()) <= 2
    assert "code was run" not in capsys.readouterr().out


QUICK = ["debug=smoke", "data.size=32", "source.per_class=20"]


@pytest.mark.usefixtures("_shallow")
def test_the_source_task_is_learned_once_and_has_none_of_the_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def states(*overrides: str) -> list[Path]:
        config = resnet_config(tmp_path, *QUICK, f"cache={tmp_path / 'w'}", *overrides)
        target = load_target(config)
        source = load_source(config, target)
        assert not set(source.classes) & set(target.classes)
        run = RunFolder(tmp_path)
        start = starting_weights(config, target, run)
        assert run.metrics["source"]["classes"] == ["0", "1", "2", "3", "4"]
        assert set(start.state) >= {"conv1.weight", "layer4.0.bn2.running_var", "fc.bias"}
        return sorted((tmp_path / "w").glob("*.safetensors"))

    def learned() -> bool:
        return "kept for the next time" in capsys.readouterr().out

    (first,) = states()
    assert learned()
    content = first.read_bytes()
    assert states("framework=keras", "seed=4", "optimizer.lr=0.1", "data.per_class=7") == [first]
    assert not learned(), "it depends on nothing of the target task"
    assert len(states("source.lr=0.05")) == 2
    assert learned()
    first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    states()
    assert learned(), "a damaged file is not used"
    assert first.read_bytes() == content, "the same bits again"


@pytest.mark.usefixtures("_shallow")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_run_leaves_everything_behind_and_predicts(
    framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    config = resnet_config(folder, *QUICK, f"framework={framework}", "trainer.precision=float32")
    metrics = train(config)
    files = {path.name for path in folder.iterdir()}
    assert files - {"source"} == FILES
    assert metrics == json.loads((folder / "metrics.json").read_text())
    expected = {
        "app": "resnet_transfer",
        "embedded": True,
        "mode": "finetune",
        "status": "done",
        "weights": "source_task",
        "per_class": 20,
        "train_examples": 100,
    }
    assert {key: metrics[key] for key in expected} == expected
    picture = load_target(config).test_images[0]
    Image.fromarray(picture).save(tmp_path / "digit.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    capsys.readouterr()
    paths = [str(tmp_path / name) for name in ("digit.png", "text.jpg")]
    assert predict.main([str(folder), *paths, "--to", str(tmp_path)]) == 3
    said = capsys.readouterr()
    assert "text.jpg: not a picture" in said.err
    assert re.search(r"digit\.png: \d \d+\.\d%, \d \d", said.out)
    assert (tmp_path / "digit_prediction.png").read_bytes().startswith(b"\x89PNG")
    _, classes, state = predict.read_run(folder)
    network = torch_predict.load(config.model, len(classes), state)
    own = learning.build_learner(config, 5)
    if framework == "keras":
        for weight in own.model.weights:
            weight.assign(safetensors.numpy.load_file(folder / "weights.safetensors")[weight.path])
    else:
        learning.network(framework).load_state(own.model, state)
    logits = own.logits(picture[None])[0]
    probabilities, _, _ = torch_predict.explain(network, picture)
    softmax = np.exp(logits - logits.max())
    np.testing.assert_allclose(probabilities, softmax / softmax.sum(), rtol=1e-3, atol=1e-5)


def test_grad_cam_is_the_formula_of_the_paper(tmp_path: Path) -> None:
    """Of the last stage the gradient is known: the last layer's weight over the pixels."""
    torch.manual_seed(0)
    network = torch_model.TorchResNet(resnet_config(tmp_path).model, 5).eval()
    lively(network)
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    probabilities, heat, stage = torch_predict.explain(network, picture)
    maps = network.stages(torch.from_numpy(picture)[None])[-1][0]
    summed = torch.einsum("k,khw->hw", network.fc.weight[int(probabilities.argmax())], maps).relu()
    assert (stage, heat.shape) == ("layer4", (4, 4))
    np.testing.assert_allclose(heat, (summed / summed.max()).numpy(), atol=1e-5)
    assert probabilities.sum() == pytest.approx(1)
    assert torch_predict.candidates([32, 16, 8, 4]) == [3]
    assert torch_predict.candidates([8, 4, 2, 1]) == [1, 2]
    assert torch_predict.candidates([2, 1, 1, 1]) == [0]
    assert torch_predict.explain(network, picture[:32, :32])[2] in ("layer2", "layer3")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: Any) -> None:
    assert predict.main([str(tmp_path), "picture.jpg"]) == 2
    assert "is not a run folder" in capsys.readouterr().err


@pytest.mark.usefixtures("_shallow")
def test_the_comparison_has_every_mode_number_and_seed(tmp_path: Path) -> None:
    config = resnet_config(
        tmp_path / "run",
        *QUICK,
        "transfer.mode=compare",
        "transfer.seeds=2",
        "transfer.counts=[4,null]",
        "transfer.steps=3",
    )
    metrics = train(config)
    with open(tmp_path / "run" / "comparison.csv") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["mode"], row["per_class"], row["seed"]) for row in rows}) == 12
    assert {row["train_examples"] for row in rows if row["per_class"] == "4"} == {"20"}
    table = metrics["comparison"]
    assert set(table) == {f"{mode}_{n}" for mode in ("finetune", "frozen", "scratch") for n in (4, "all")}
    assert (tmp_path / "run" / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_the_fewer_pictures_are_among_the_more_and_none_are_tested_with(tmp_path: Path) -> None:
    few, more = (
        resnet_config(tmp_path, f"data.per_class={n}", "trainer.batch_size=6", "seed=3") for n in (3, 9)
    )
    images = load_target(few)
    (first, validated, tested), (second, again, _) = split(images, few), split(images, more)
    assert np.bincount(first.labels).tolist() == [3] * 5
    assert np.bincount(second.labels).tolist() == [9] * 5

    def rows(examples: Examples) -> set[bytes]:
        return {picture.tobytes() for picture in examples.inputs}

    assert rows(first) < rows(second)
    assert not rows(second) & rows(validated)
    assert rows(validated) == rows(again)
    assert len(tested) == len(images.test_images)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=cifar10", "data.source_classes=[cat,dog]"], "has cat, which data.classes has too"),
        (["transfer.mode=frozen", "weights=none"], "weights=none would train on the features"),
        (["weights=imagenet"], r"weights=imagenet needs model.width=64"),
        (["weights=imagnet"], r"weights=imagnet: choose one of auto, imagenet, source_task, none"),
        (["weights=auto", "weights_sha256='01234567'"], "weights=auto names none"),
        (["weights=none", "weights_sha256='01234567'"], "weights=none names none"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        resnet_config(tmp_path, *overrides)


@pytest.mark.parametrize("name", ["file", "file/in/it"])
def test_a_cache_that_cannot_be_used_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    config = resnet_config(tmp_path, "weights=source_task", f"cache={tmp_path / name}")
    with pytest.raises(ConfigError, match=r"cache=.*file.* cannot be used \((File|Not)"):
        starting_weights(config, load_target(config), RunFolder(tmp_path))


def test_files_are_told_from_misspelt_choices(tmp_path: Path) -> None:
    for given in ("./weights", "weights.pth", "folder/weights"):
        config = resnet_config(tmp_path, f"weights={given}", "weights_sha256='01234567'")
        assert config.weights == given


def test_more_pictures_than_there_are_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.per_class=9999: \w+ has \d+ pictures"):
        train(resnet_config(tmp_path / "run", "data.per_class=9999"))
    assert not (tmp_path / "run").exists()


def test_a_last_batch_of_one_picture_is_refused_where_it_cannot_be_normalized(tmp_path: Path) -> None:
    left_over = ["data.per_class=9", "trainer.batch_size=11"]  # 45 pictures
    images = load_target(resnet_config(tmp_path, *left_over))
    with pytest.raises(ConfigError, match=r"leaves a batch of a single picture \(45 examples\)"):
        split(images, resnet_config(tmp_path, *left_over))
    for fine in (["model.stem=small"], ["transfer.mode=frozen"], ["trainer.batch_size=12"]):
        split(images, resnet_config(tmp_path, *left_over, *fine))


def test_without_cifar10_the_digits_stand_in(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_ARCHIVES", "")
    nowhere = ["data=cifar10", "data.download=false", f"data.root={tmp_path / 'nothing'}"]
    images = load_target(resnet_config(tmp_path, *nowhere))
    assert images.embedded
    assert "the embedded digits stand in" in capsys.readouterr().out
    with pytest.raises(DataError, match="cannot get CIFAR-10"):
        load_target(resnet_config(tmp_path, *nowhere, "data.fallback=null"))


def test_torchvisions_transforms_move_and_mirror_each_picture_by_itself() -> None:
    images = torch.arange(16, dtype=torch.uint8)[None, None, :, None].repeat(200, 16, 1, 3)
    state = torch.random.get_rng_state()
    moved, again = (
        torch_transforms.shift_and_mirror(images, np.random.default_rng(0), 2, True).numpy() for _ in range(2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(moved, again)
    falling = moved[:, 0, 2, 0] > moved[:, 0, 13, 0]
    assert 0.35 < falling.mean() < 0.65
    assert set(np.unique(moved[~falling, 0, 8, 0])) == {6, 7, 8, 9, 10}


@pytest.mark.usefixtures("_shallow")
@pytest.mark.parametrize("framework", ["torch", pytest.param("keras", marks=pytest.mark.slow)])
def test_the_same_seed_gives_the_same_bits(framework: str, tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        train(resnet_config(tmp_path / name, *QUICK, f"framework={framework}"))
        results.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert results[0] == results[1]


@pytest.mark.usefixtures("_shallow")
def test_a_few_pictures_are_learned_by_heart(tmp_path: Path) -> None:
    train(resnet_config(tmp_path, "debug=overfit", "model.width=8"))
    with open(tmp_path / "history.csv") as file:
        assert float(list(csv.DictReader(file))[-1]["train_accuracy"]) > 0.98
