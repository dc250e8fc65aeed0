"""apps/mnist_cnn from the outside: what a run leaves behind, and what can go wrong with one."""

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.data import augmentation, load_data, split
from apps.mnist_cnn.train import build_learner, train
from shared.data import digits
from shared.data.examples import Examples
from shared.errors import ConfigError, TrainingDiverged
from shared.runs.reader import load_weights
from shared.runs.repeat import PYTHON
from shared.training.loop import augmented, evaluate
from shared.training.schedule import learning_rates, shuffled_batches
from tests.apps.agreement import FRAMEWORKS, assert_same_steps
from tests.helpers import ROOT, mnist_config, run_mnist, take_steps

MODELS = ["cnn", "mlp", "fast_cnn", "accurate_cnn"]
METRICS = (
    "app framework model dataset dataset_sha256 embedded seed epochs test_accuracy test_loss test_examples "
    "train_examples train_seconds parameters versions hardware git status"
)
FILES = "config.yaml metrics.json history.csv steps.csv curves.png confusion.png weights.safetensors"
SMOKE_NUMPY = ["debug=smoke", "data=digits", "model=mlp", "framework=numpy"]


def without_times(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return {key: value for key, value in metrics.items() if not key.endswith("_seconds")}


def losses(folder: Path) -> list[str]:
    with open(folder / "steps.csv") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def test_the_split_keeps_the_test_set_out_and_uses_everything_else_once(tmp_path: Path) -> None:
    config = mnist_config(tmp_path, "data.validation_fraction=0.2", "seed=5")
    images = load_data(config)
    train_set, validation_set, test_set = split(images, config)
    assert (len(train_set), len(validation_set), len(test_set)) == (1150, 287, 360)
    together = np.concatenate([train_set.inputs[:], validation_set.inputs[:]])
    assert together.mean() == pytest.approx(0, abs=1e-5)
    assert together.std() == pytest.approx(1, abs=1e-5)

    def sorted_rows(pixels: np.ndarray) -> np.ndarray:
        rows = pixels.reshape(len(pixels), -1)
        return rows[np.lexsort(rows.T)]

    scale = 255 * np.std(images.train_images / 255)
    restored = np.rint(together * scale + images.train_images.mean())
    np.testing.assert_array_equal(sorted_rows(restored), sorted_rows(images.train_images))
    np.testing.assert_array_equal(test_set.labels, digits.load().test_labels)
    other = split(images, mnist_config(tmp_path, "data.validation_fraction=0.2", "seed=6"))
    assert not np.array_equal(other[1].labels, validation_set.labels)
    for examples in split(images, mnist_config(tmp_path, "pixels=unit")):
        pixels = examples.inputs[:]
        assert (pixels.min(), pixels.max()) == (0, 1)


def test_every_epoch_has_its_own_distorted_images_on_every_device(tmp_path: Path) -> None:
    """A tensor stands for images on a GPU: it gets the images that the host gets."""
    config = mnist_config(tmp_path, "model=accurate_cnn", "data.train_limit=300")
    train_set, _, _ = split(load_data(config), config)
    pixels = train_set.inputs.pixels
    there = replace(train_set, inputs=replace(train_set.inputs, pixels=torch.from_numpy(pixels)))

    def images(examples: Examples, config: Config, epoch: int) -> np.ndarray:
        return np.asarray(augmented(examples, augmentation(config), config.seed, epoch).inputs.pixels[:])

    first = images(train_set, config, 1)
    np.testing.assert_array_equal(images(train_set, config, 1), first)
    np.testing.assert_array_equal(images(there, config, 1), first)
    shifted = images(train_set, mnist_config(tmp_path, "data.train_limit=300", "data.distortion=0"), 1)
    for other in (images(train_set, config, 2), shifted, pixels):
        assert (other != first).any(axis=(1, 2)).mean() > 0.4


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("model", MODELS)
def test_a_run_leaves_everything_behind(framework: str, model: str, tmp_path: Path) -> None:
    """Its files, its metrics, and weights that give these metrics again."""
    words = ["debug=smoke", f"framework={framework}", f"model={model}", "trainer.precision=float32"]
    config = mnist_config(tmp_path, *words, "data.validation_fraction=0.15")
    metrics = train(config)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES.split())
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics) >= set(METRICS.split())
    expected = "mnist_cnn", framework, model, "digits", True, 0, 1, 256, 435, "done"
    names = "app framework model dataset embedded seed epochs test_examples train_examples status"
    assert tuple(metrics[name] for name in names.split()) == expected
    assert 1 <= metrics["steps"] == len(losses(tmp_path)) <= 5
    weights = safetensors.numpy.load_file(tmp_path / "weights.safetensors")
    untrained = re.compile("running_|moving_|num_batches")
    trained = sum(value.size for name, value in weights.items() if not untrained.search(name))
    assert trained == metrics["parameters"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    fresh = build_learner(config.model_copy(update={"seed": 1}))
    load_weights(fresh, tmp_path, metrics)
    again = evaluate(fresh, split(load_data(config), config)[2])
    assert again.accuracy == metrics["test_accuracy"]
    assert again.loss == pytest.approx(metrics["test_loss"], rel=1e-6)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_moves_in_the_first_step(framework: str, model: str, tmp_path: Path) -> None:
    config = mnist_config(tmp_path, f"framework={framework}", f"model={model}")
    learner = build_learner(config)
    before = {name: value.copy() for name, value in learner.weights().items()}
    train_set, _, _ = split(load_data(config), config)
    list(take_steps(learner, train_set, [(np.arange(64), 0.01)]))
    for name, value in learner.weights().items():
        assert not np.array_equal(value, before[name]), f"{name} has not moved"


@pytest.mark.slow
@pytest.mark.usefixtures("keras_float64")
@pytest.mark.parametrize("model", ["model=cnn model.dropout=[0.0,0.0]", "model=mlp"])
def test_three_frameworks_take_the_same_hundred_steps(model: str, tmp_path: Path) -> None:
    """Full size, float64, dropout off, real digits, the application's optimizer and schedule."""
    words = [*model.split(), "trainer.precision=float64"]
    configs = [mnist_config(tmp_path, f"framework={name}", *words) for name in FRAMEWORKS]
    data, _, _ = split(load_data(configs[0]), configs[0])
    batches = [b for epoch in (1, 2) for b in shuffled_batches(len(data), 16, 0, epoch)][:100]
    rates = learning_rates("one_cycle", configs[0].optimizer.lr, 100, np.arange(100))
    learners = dict(zip(FRAMEWORKS, map(build_learner, configs), strict=True))
    steps = list(zip(batches, rates.tolist(), strict=True))
    losses = assert_same_steps(learners, data, steps, relative=1e-7)
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_three_batches_can_be_overfitted(framework: str, tmp_path: Path) -> None:
    small = ["model.channels=[8,16]", "model.hidden=64", "model.dropout=[0.1,0.2]"]
    config = mnist_config(tmp_path, "debug=overfit", f"framework={framework}", *small)
    train(config)
    with open(tmp_path / "history.csv") as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["train_accuracy"]) > 0.98
    assert len(losses(tmp_path)) == 3 * config.trainer.epochs


@pytest.mark.parametrize(
    ("framework", "precision"),
    [
        pytest.param("torch", "bfloat16", marks=pytest.mark.slow),
        pytest.param("keras", "bfloat16", marks=pytest.mark.slow),
        pytest.param("numpy", "float32", marks=pytest.mark.slow),
    ],
)
def test_the_same_seed_gives_the_same_bits_and_no_other_framework_is_imported(
    framework: str, precision: str, tmp_path: Path
) -> None:
    own = {"torch": {"torch"}, "keras": {"keras", "tensorflow"}, "numpy": set()}[framework]
    for name in {"torch", "tensorflow", "keras"} - own:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    for folder in ("a", "b"):
        result = run_mnist(
            *f"debug=smoke data=digits framework={framework} trainer.precision={precision}".split(),
            *["trainer.max_steps=20", "trainer.epochs=4", "trainer.batch_size=32", "data.shift=1"],
            *["data.train_limit=180", "data.test_limit=64"],
            f"hydra.run.dir={tmp_path / folder}",
            environment={"PYTHONPATH": str(tmp_path)},
        )
        assert result.returncode == 0, result.stderr
        assert "accuracy" in result.stdout
    metrics = without_times(tmp_path / "a")
    assert (metrics["steps"], metrics["epochs"]) == (20, 4)
    assert metrics == without_times(tmp_path / "b")
    for file in ("weights.safetensors", "steps.csv", "confusion.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_early_stopping_tests_keeps_and_draws_the_best_weights(tmp_path: Path, figures: list[Any]) -> None:
    words = ["framework=numpy", "model=mlp", "trainer.schedule=constant", "optimizer.lr=0.02"]
    config = mnist_config(tmp_path, *words, "trainer.epochs=30", "trainer.patience=2")
    metrics = train(config)
    assert metrics["best_epoch"] + 2 == metrics["epochs"] < 30
    learner = build_learner(config)
    load_weights(learner, tmp_path, metrics)
    _, validation_set, test_set = split(load_data(config), config)
    assert evaluate(learner, test_set).loss == metrics["test_loss"]
    losses = [float(row["validation_loss"]) for row in csv.DictReader((tmp_path / "history.csv").open())]
    assert evaluate(learner, validation_set).loss == min(losses)
    for axes in figures[0].axes:
        (star,) = (line for line in axes.lines if line.get_label() == "test")
        assert star.get_xdata() == [metrics["best_epoch"]]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_another_seed_gives_other_weights(framework: str, tmp_path: Path) -> None:
    first, second = (
        build_learner(mnist_config(tmp_path, f"framework={framework}", f"seed={seed}")).weights()
        for seed in (0, 1)
    )
    for name, value in first.items():
        assert not np.array_equal(value, second[name]), name


def test_a_batch_larger_than_the_training_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.batch_size=1400 is larger than .* 1221 ex"):
        train(mnist_config(tmp_path / "run", "trainer.batch_size=1400"))
    assert not (tmp_path / "run").exists()


def test_a_limit_above_the_data_keeps_all(tmp_path: Path) -> None:
    """A limit meant for MNIST also works when the run falls back to the digits."""
    limits = ["data.train_limit=5000", "data.test_limit=5000"]
    images = load_data(mnist_config(tmp_path, *limits))
    assert (len(images.train_images), len(images.test_images)) == (1437, 360)


DIVERGING = ["model=mlp", "optimizer=sgd", "optimizer.lr=1e30", "trainer.schedule=constant"]


def check_diverged(folder: Path, message: str) -> None:
    """The message names the step, and the folder is readable."""
    assert re.search(
        r"the loss is (nan|inf) at step \d+ \(epoch 1\), where the learning rate "
        r"is 1e\+30; try a smaller optimizer\.lr",
        message,
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["status"] == "diverged"
    assert metrics["steps"] == len(losses(folder)) < 10
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "metrics.json", "steps.csv"}


def test_divergence_ends_with_status_4_and_a_readable_folder(tmp_path: Path) -> None:
    run = [f"hydra.run.dir={tmp_path}", "data=digits", "framework=numpy"]
    result = run_mnist(*run, *DIVERGING)
    assert result.returncode == 4, result.stderr
    assert result.stderr.startswith("error: the loss is ")
    assert "Traceback" not in result.stderr
    check_diverged(tmp_path, result.stderr)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_divergence_is_seen_in_every_framework(framework: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged) as diverged:
        train(mnist_config(tmp_path, f"framework={framework}", *DIVERGING))
    check_diverged(tmp_path, str(diverged.value))


def start_long_training(run_dir: Path, framework: str) -> subprocess.Popen[str]:
    """Start a training of a few minutes and wait until it takes steps."""
    command = [
        *(sys.executable, "-m", "apps.mnist_cnn", f"hydra.run.dir={run_dir}", "data=digits"),
        *("model=mlp", "trainer.epochs=100000", "trainer.batch_size=1", f"framework={framework}"),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup ignores it
    )
    assert process.stdout is not None
    while "run folder" not in process.stdout.readline():
        assert process.poll() is None, process.communicate()
    time.sleep(1.0)
    return process


@pytest.mark.parametrize(
    ("kind", "framework"),
    [
        (signal.SIGINT, "torch"),
        (signal.SIGTERM, "numpy"),
        pytest.param(signal.SIGHUP, "numpy", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_in_the_middle_of_an_epoch(kind: signal.Signals, framework: str, tmp_path: Path) -> None:
    process = start_long_training(tmp_path, framework)
    process.send_signal(kind)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.startswith("interrupted: after step ")
    assert len(stderr.splitlines()) == 1
    assert stderr.endswith(f"; resume with: {PYTHON} -m apps.mnist_cnn trainer.resume={tmp_path}\n")
    assert len(list(tmp_path.glob("checkpoint_*"))) == 1
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["status"] == "interrupted"
    assert metrics["steps"] == len(losses(tmp_path)) > 0
    weights = safetensors.numpy.load_file(tmp_path / "weights.safetensors")
    assert all(np.isfinite(value).all() for value in weights.values())
    assert not list(tmp_path.glob(".*")), "nothing half-written"


def test_a_full_disk_is_reported_and_metrics_are_kept(tmp_path: Path) -> None:
    def full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    result = run_mnist(f"hydra.run.dir={tmp_path}", *SMOKE_NUMPY, preexec=full_disk)
    assert result.returncode == 2, result.stderr
    assert "cannot write" in result.stderr
    assert "weights.safetensors: File too large; free some space" in result.stderr
    assert "test: accuracy" in result.stdout
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["status"] == "failed"
    assert 0 <= metrics["test_accuracy"] <= 1
    assert not list(tmp_path.glob(".*")), "nothing half-written"


def run_without_mnist(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = [f"hydra.run.dir={folder / 'run'}", f"data.root={folder / 'cache'}", "data.download=false"]
    smoke = ["debug=smoke", "data=mnist", "model=mlp", "framework=numpy"]
    return run_mnist(*places, *smoke, *words, environment={"DATA_ARCHIVES": ""})


def test_without_mnist_the_run_falls_back_to_the_digits_and_says_so(tmp_path: Path) -> None:
    result = run_without_mnist(tmp_path)
    assert result.returncode == 0, result.stderr
    assert "falling back to the embedded sample" in result.stdout
    assert "on digits (embedded sample)" in result.stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["dataset"], metrics["embedded"]) == ("digits", True)


def test_without_mnist_and_without_a_fallback_the_status_is_3(tmp_path: Path) -> None:
    result = run_without_mnist(tmp_path, "data.fallback=null")
    assert result.returncode == 3
    assert result.stderr.startswith("error: cannot get MNIST: ")
    assert "DATA_ARCHIVES" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_on_the_digits_does_not_import_mnist_or_the_downloader(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from apps.mnist_cnn.train import train; from tests.helpers import mnist_config;"
        f"train(mnist_config(pathlib.Path({str(tmp_path)!r}), *{SMOKE_NUMPY}));"
        "sys.exit(len({'shared.data.mnist', 'shared.data.fetch'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_terminal_shows_a_bar_and_a_pipe_shows_lines(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")
    main_end, process_end = pty.openpty()
    command = [
        *(sys.executable, "-m", "apps.mnist_cnn", f"hydra.run.dir={tmp_path}"),
        *(*SMOKE_NUMPY, "trainer.max_steps=7"),
    ]
    environment = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=ROOT, stdout=process_end, stderr=process_end, env=environment)
    os.close(process_end)
    shown = b""
    try:
        while chunk := os.read(main_end, 4096):
            shown += chunk
    except OSError:
        pass  # on Linux, the other end is closed
    assert process.wait() == 0
    text = shown.decode()
    assert "\x1b[" in text, "a moving bar"
    assert "left" in text
    assert "epoch 1/1" in text
