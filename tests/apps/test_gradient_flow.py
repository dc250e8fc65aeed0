"""apps/gradient_flow: its gradients are torch's, its captions say what its numbers show."""

import csv
import itertools
import json
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.gradient_flow import train as app
from apps.gradient_flow.config import Config
from apps.gradient_flow.figures import (
    activations,
    clipping,
    depth,
    learning_rates,
    overfitting,
    recurrent,
    valley,
)
from apps.gradient_flow.figures.figure import Row, change, column, number, where
from apps.gradient_flow.networks import (
    INITIALISATIONS,
    Dense,
    Network,
    Recurrent,
    engine,
    initial_weights,
    matrix,
    norm,
    recurrent_weights,
)
from shared.data import digits
from shared.errors import ConfigError, Interrupted, TrainingDiverged
from shared.runs.folder import RunFolder
from tests.forks import Forks
from tests.helpers import ROOT, TIMEOUT, app_config

FIGURES = ["activations", "depth", "remedies", "time", "clipping", "learning_rates", "valley", "overfitting"]
FILES = {f"{name}.{kind}" for name in FIGURES for kind in ("png", "csv")} | {
    "config.yaml",
    "metrics.json",
    "history.csv",
    "steps.csv",
    "curves.png",
    "weights.safetensors",
    "gradient_flow.html",
    "trainings",
}
GAP = "gap: test minus training loss"
OTHERS = ["torch", pytest.param("keras", marks=pytest.mark.slow)]


def flow_config(run_dir: Path | str, *overrides: str) -> Config:
    # As many threads as TensorFlow may have started with: one process has one number.
    config: Config = app_config("gradient_flow", Path(run_dir), "trainer.threads=null", *overrides)
    return config


def random_batch(count: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    return random.normal(size=(count, *shape)), random.integers(0, 10, count)


def few(config: Config) -> overfitting.Digits:
    return app.split(digits.load(), config)


# The command


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run by the command line, and what it printed."""
    folder = tmp_path_factory.mktemp("smoke") / "run"
    program = (
        "import atexit, runpy, sys\n"
        "frameworks = {'torch', 'keras', 'tensorflow'}\n"
        "atexit.register(lambda: print('imported:', sorted(frameworks & set(sys.modules))))\n"
        f"sys.argv = ['gradient_flow', 'debug=smoke', 'hydra.run.dir={folder}']\n"
        "runpy.run_module('apps.gradient_flow', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_a_run_makes_every_file(smoke: tuple[Path, str]) -> None:
    folder, said = smoke
    assert {path.name for path in folder.iterdir()} == FILES
    assert "test: accuracy" in said
    metrics = json.loads((folder / "metrics.json").read_text())
    expected = {
        "app": "gradient_flow",
        "framework": "numpy",
        "model": "networks",
        "epochs": 1,
        "dataset": "digits",
        "embedded": True,
        "test_examples": 360,
        "status": "done",
        "seed": 0,
        "train_examples": 200,
        "steps": 4,
    }
    assert {key: metrics[key] for key in expected} == expected
    shapes = Dense(196, 16, 2, "ReLU").shapes().values()
    assert metrics["parameters"] == sum(int(np.prod(shape)) for shape in shapes)
    needed = {"dataset_sha256", "test_accuracy", "test_loss", "train_seconds", "versions", "hardware", "git"}
    assert needed <= metrics.keys()


def test_by_default_no_framework_is_imported(smoke: tuple[Path, str]) -> None:
    assert "imported: []" in smoke[1]


def test_the_pictures_have_the_size_of_a_slide(smoke: tuple[Path, str]) -> None:
    for name in FIGURES:
        content = (smoke[0] / f"{name}.png").read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", content[16:24]) == (1280, 720), name


class Page(HTMLParser):
    """Collects what a page refers to, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.references += [str(named[key]) for key in ("src", "href", "srcset") if key in named]
        if tag == "img":
            self.images.append(named)


def test_the_page_needs_no_network(smoke: tuple[Path, str]) -> None:
    text = (smoke[0] / "gradient_flow.html").read_text()
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    for reference in page.references:
        inside = reference.startswith(("data:image/png;base64,", "#"))
        assert inside or (smoke[0] / reference).is_file(), reference[:60]
    assert len(page.images) == len(FIGURES)
    assert all(len(image["alt"] or "") > 40 for image in page.images)
    assert {f"{name}.csv" for name in FIGURES} <= set(page.references)
    assert page.tags.count("figcaption") == len(FIGURES)
    assert page.tags.count("h1") == 1
    assert page.tags.count("table") >= 5


def test_the_files_hold_what_is_measured(smoke: tuple[Path, str]) -> None:
    with open(smoke[0] / "remedies.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (3 + 6) * 3 * 4 * 4
    assert all(float(row["gradient_of_output"]) > 0 for row in rows)
    metrics = json.loads((smoke[0] / "metrics.json").read_text())
    with open(smoke[0] / "history.csv") as file:
        assert len(list(csv.DictReader(file))) == metrics["epochs"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(smoke: tuple[Path, str], tmp_path: Path) -> None:
    app.train(flow_config(tmp_path, "debug=smoke"))
    for name in FILES - {"metrics.json", "config.yaml", "history.csv", "curves.png", "trainings"}:
        if not name.endswith(".png"):  # the page has them all in it
            assert (tmp_path / name).read_bytes() == (smoke[0] / name).read_bytes(), name


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.precision=float32", "trainer.precision=float32: gradients that vanish"),
        ("trainer.clip_norm=null", "trainer.clip_norm=null: it is the limit"),
        ("data.train_examples=1400", "are 1,800 together; there are 1,437 digits"),
        ("trainer.batch_size=201", "trainer.batch_size=201 is larger than the training set"),
        ("model.depths=[1]", "model.depths.0 should be greater than or equal to 2"),
        ("model.dropout=1.0", "model.dropout should be less than 1"),
    ],
)
def test_a_wrong_configuration_is_explained(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        flow_config("-", override)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_wrong_command_is_explained(tmp_path: Path, forks: Forks) -> None:
    result = forks.run("apps.gradient_flow", "model=cnn", f"hydra.run.dir={tmp_path}/run")
    assert result.returncode == 2
    assert "model=cnn: there is no such model here; choose one of networks" in result.stderr
    assert not (tmp_path / "run").exists()


# The gradients, held against the frameworks and against themselves


def same(own: Sequence[Row], others: Sequence[Row]) -> None:
    """Every number equal to a relative 1e-9, everything else the same."""
    assert len(own) == len(others) > 0
    for one, other in zip(own, others, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            if isinstance(value, float):
                assert other[key] == pytest.approx(value, rel=1e-9, abs=0), (one, key)
            else:
                assert other[key] == value


@pytest.mark.parametrize("framework", OTHERS)
def test_the_norms_by_layer_are_those_of_autograd(framework: str) -> None:
    depths = [2, 7] if framework == "torch" else [3]  # Keras takes its time to build a network
    config = flow_config("-", f"model.depths={depths}", "model.width=12")
    inputs, labels = random_batch(16, 20)
    own = depth.measure(engine("numpy"), config, inputs, labels)
    assert len(own) == sum(depths) * 3 * 4 * 4
    same(own, depth.measure(engine(framework), config, inputs, labels))


@pytest.mark.parametrize("framework", OTHERS)
def test_the_norms_by_step_are_those_of_autograd(framework: str) -> None:
    config = flow_config("-", "model.recurrent=9")
    inputs, labels = random_batch(8, 15, 4)
    own = recurrent.measure(engine("numpy"), config, inputs, labels)
    assert len(own) == 15 * len(recurrent.CASES)
    same(own, recurrent.measure(engine(framework), config, inputs, labels))


@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize(("gain", "steps"), [(1.0, 12), (clipping.GAIN, 2)])
def test_the_clipped_norms_are_those_of_autograd(
    framework: str, gain: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where gradients explode, so does the last digit's difference: there only the first steps."""
    monkeypatch.setattr(clipping, "GAIN", gain)
    config = flow_config("-", "model.recurrent=9", f"model.clip_steps={steps}")
    inputs, labels = random_batch(8, 15, 4)
    for limit in (None, 0.5):
        own = clipping.descend(engine("numpy"), config, inputs, labels, limit)
        assert len(own) == steps
        same(own, clipping.descend(engine(framework), config, inputs, labels, limit))


@pytest.mark.parametrize("framework", OTHERS)
def test_the_trainings_are_those_of_autograd(framework: str, tmp_path: Path) -> None:
    config = flow_config("-", "model.hidden=20", "trainer.epochs=4")
    own, other = (
        overfitting.compare(engine(name), config, few(config), RunFolder(tmp_path / name)).figure
        for name in ("numpy", framework)
    )
    same(own.rows, other.rows)
    same(own.table, other.table)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_the_command_works_in_every_framework(framework: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "apps.gradient_flow",
        "debug=smoke",
        f"framework={framework}",
        f"hydra.run.dir={tmp_path}/run",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert framework in (tmp_path / "run" / "gradient_flow.html").read_text()


NETWORKS: list[Network] = [
    Dense(5, 4, 3, "sigmoid"),
    Dense(5, 4, 3, "tanh", norm=True, residual=True),
    Recurrent("rnn", 3, 4),
    Recurrent("lstm", 3, 4),
]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_finite_differences_agree(network: Network) -> None:
    """Of every weight along a random direction; of a recurrent network's inputs as well."""
    rng = np.random.default_rng(1)
    inputs, labels = random_batch(6, *((7, 3) if isinstance(network, Recurrent) else (5,)))
    weights = {name: rng.normal(size=shape) for name, shape in network.shapes().items()}
    backend = engine("numpy")
    model = backend.build_model(network)
    found = backend.gradients(model, weights, inputs, labels)

    def slope(change_of: Callable[[float], tuple[dict[str, np.ndarray], np.ndarray]]) -> float:
        step = 1e-5
        losses = [backend.gradients(model, *change_of(sign * step), labels).loss for sign in (1, -1)]
        return (losses[0] - losses[1]) / (2 * step)

    for name in weights:
        towards = rng.normal(size=weights[name].shape)
        expected = slope(lambda h: (weights | {name: weights[name] + h * towards}, inputs))  # noqa: B023
        assert (found.parameters[name] * towards).sum() == pytest.approx(expected, abs=1e-8)
    if isinstance(network, Recurrent):
        towards = rng.normal(size=inputs.shape)
        expected = slope(lambda h: (weights, inputs + h * towards))
        by_step = towards.swapaxes(0, 1)
        assert (found.flow * by_step).sum() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("residual", [False, True])
def test_the_flow_is_the_gradient_of_a_layers_output(residual: bool) -> None:
    """Without an activation a layer's bias is added to its output: its gradient is the flow's."""
    network = Dense(6, 6, 4, "none", residual=residual)
    inputs, labels = random_batch(9, 6)
    weights = initial_weights(network, "Glorot", 1.0, np.random.default_rng(0))
    backend = engine("numpy")
    found = backend.gradients(backend.build_model(network), weights, inputs, labels)
    for layer in range(1, 5):
        np.testing.assert_allclose(
            found.flow[layer - 1].sum(axis=0), found.parameters[f"linear{layer}.bias"], rtol=1e-10
        )


def flows(network: Dense, initialization: str, seed: int = 0) -> list[float]:
    inputs, labels = random_batch(32, network.inputs)
    rng = np.random.default_rng(seed)
    weights = initial_weights(network, initialization, 1.0, rng)
    backend = engine("numpy")
    found = backend.gradients(backend.build_model(network), weights, inputs, labels)
    return [norm(one) for one in found.flow]


def test_orthogonal_weights_keep_the_norm_exactly() -> None:
    norms = flows(Dense(24, 24, 30, "none"), "orthogonal")
    np.testing.assert_allclose(norms, norms[-1], rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_he_keeps_relus_gradient_and_glorot_halves_its_square(seed: int) -> None:
    network = Dense(256, 256, 20, "ReLU")
    he, glorot = flows(network, "He", seed), flows(network, "Glorot", seed)
    assert 1 / 3 < he[0] / he[-1] < 3
    # The same numbers, smaller by sqrt(2): 19 layers lie between the first and the last.
    rate = (glorot[0] / glorot[-1]) / (he[0] / he[-1])
    assert rate == pytest.approx(2**-9.5, rel=0.2)


def test_sigmoids_gradient_vanishes_at_least_as_its_slope_says() -> None:
    """Each layer multiplies by 1/4 at most, and an orthogonal matrix keeps the norm."""
    norms = flows(Dense(32, 32, 15, "sigmoid"), "orthogonal")
    assert all(before <= after / 4 for before, after in pairwise(norms))


@pytest.mark.parametrize("shape", [(300, 300), (200, 300), (300, 200)])
def test_initial_weights_have_the_deviation_that_is_named(shape: tuple[int, int]) -> None:
    expected = {"normal": 0.3, "Glorot": (2 / sum(shape)) ** 0.5, "He": (2 / shape[1]) ** 0.5}
    for initialization, deviation in expected.items():
        drawn = matrix(shape, initialization, 0.3, np.random.default_rng(0))
        assert drawn.shape == shape
        assert drawn.std() == pytest.approx(deviation, rel=0.02)
    square = matrix(shape, "orthogonal", 0.3, np.random.default_rng(0))
    gram = square @ square.T if shape[0] <= shape[1] else square.T @ square
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-12)
    with pytest.raises(ValueError, match="expected an initialization"):
        matrix(shape, "zeros", 1.0, np.random.default_rng(0))


def test_the_forget_gate_decides_how_far_back_the_gradient_reaches() -> None:
    network = Recurrent("lstm", 4, 32)
    inputs, labels = random_batch(16, 40, 4)
    backend = engine("numpy")
    model = backend.build_model(network)
    ratios = []
    for bias in (-2.0, 0.0, 1.0, 3.0, 6.0):
        weights = recurrent_weights(network, np.random.default_rng(0), forget_bias=bias)
        found = backend.gradients(model, weights, inputs, labels)
        ratios.append(norm(found.flow[0]) / norm(found.flow[-1]))
    assert ratios == sorted(ratios)
    assert ratios[0] < 1e-20
    assert ratios[1] < 1e-6
    assert ratios[-1] > 0.1


# One function, one valley, seven optimizers


def test_descent_on_a_parabola_diverges_exactly_beyond_two_over_the_curvature() -> None:
    limit = learning_rates.LIMIT
    for rate in (0.001, 0.5 * limit, 0.999 * limit):
        assert abs(learning_rates.descend(rate, 2000)[-1]) < 0.1
    assert abs(learning_rates.descend(limit, 2000)[-1]) == learning_rates.START
    assert abs(learning_rates.descend(1.001 * limit, 2000)[-1]) > 100
    for rate in learning_rates.RATES.values():
        steps = np.arange(learning_rates.STEPS + 1)
        expected = learning_rates.START * (1 - learning_rates.CURVATURE * rate) ** steps
        np.testing.assert_allclose(learning_rates.descend(rate), expected, rtol=1e-9)


def test_the_valleys_gradient_is_that_of_its_value() -> None:
    for point in np.random.default_rng(0).normal(size=(5, 2)):
        for axis in np.eye(2):
            slope = (valley.value(point + 1e-6 * axis) - valley.value(point - 1e-6 * axis)) / 2e-6
            assert valley.gradient(point) @ axis == pytest.approx(slope, rel=1e-6)
    assert valley.value(np.array(valley.MINIMUM)) == 0


def test_every_optimizer_goes_its_way_at_its_best_rate() -> None:
    rows = valley.measure()
    for name, make in valley.OPTIMIZERS.items():
        one = where(rows, optimizer=name)
        assert len(one) == valley.STEPS + 1
        assert one[-1]["f"] < 0.01 * one[0]["f"]
        ends = [
            points[-1][2]
            for rate in valley.RATES
            if len(points := valley.path(make, rate)) == valley.STEPS + 1
        ]
        assert one[-1]["f"] == min(ends)
    names = re.findall(r"([A-Za-z]+) [\d.e-]+ \(rate", valley.caption(rows))
    by_value = sorted(names, key=lambda name: float(where(rows, optimizer=name)[-1]["f"]))
    assert names == by_value
    assert set(names) == set(valley.OPTIMIZERS)


def test_the_optimizers_paths_are_torchs() -> None:
    import torch

    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "SGD": torch.optim.SGD,
        "momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
        "Nesterov": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=True),
        "RMSprop": torch.optim.RMSprop,
        "Adagrad": torch.optim.Adagrad,
        "Adam": torch.optim.Adam,
        "AdamW": torch.optim.AdamW,
    }
    rows = valley.measure()
    for name in valley.OPTIMIZERS:
        one = where(rows, optimizer=name)
        point = torch.tensor(valley.START, dtype=torch.float64, requires_grad=True)
        optimizer = kinds[name]([point], lr=one[0]["lr"])
        for row in one[:30]:
            assert point.tolist() == pytest.approx([row["x"], row["y"]], rel=1e-8), name
            optimizer.zero_grad()
            value = (1 - point[0]) ** 2 + valley.STEEPNESS * (point[1] - point[0] ** 2) ** 2
            value.backward()
            optimizer.step()


def test_the_activations_are_torchs() -> None:
    import torch

    kinds: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "ReLU": torch.relu,
        "GELU": torch.nn.functional.gelu,
    }
    rows = activations.measure()
    for name, function in kinds.items():
        one = where(rows, function=name)
        x = torch.tensor(column(one, "x"), requires_grad=True, dtype=torch.float64)
        y = function(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        np.testing.assert_allclose(column(one, "y"), y.detach().numpy(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(column(one, "derivative"), slope.numpy(), rtol=1e-9, atol=1e-12)


# Clipping


def test_a_clipped_norm_is_never_above_the_limit() -> None:
    config = flow_config("-", "model.recurrent=16", "model.clip_steps=30")
    inputs, labels = random_batch(16, 28, 6)
    for limit in (0.1, 1.0):
        rows = clipping.descend(engine("numpy"), config, inputs, labels, limit)
        assert max(column(rows, "norm_used")) <= limit
        assert max(column(rows, "norm")) > limit
        for row in rows:
            assert row["norm_used"] == pytest.approx(min(limit, row["norm"]), rel=2e-5)
    free = clipping.descend(engine("numpy"), config, inputs, labels, None)
    assert column(free, "norm_used") == column(free, "norm")


# Overfitting


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> overfitting.Outcome:
    config, run = flow_config("-"), RunFolder(tmp_path_factory.mktemp("compared"))
    return overfitting.compare(engine("numpy"), config, few(config), run)


def test_every_method_narrows_the_gap(compared: overfitting.Outcome) -> None:
    plain, *others = compared.figure.table
    assert plain["training loss"] < 0.02
    assert plain[GAP] > 0.5
    for row in others:
        assert row[GAP] < plain[GAP] / 2, row["method"]
        assert row["test loss"] < plain["test loss"] - 0.1, row["method"]
    for row in compared.figure.table:
        assert row[GAP] == pytest.approx(row["test loss"] - row["training loss"])


def test_early_stopping_takes_the_lowest_validation_loss(compared: overfitting.Outcome) -> None:
    rows = compared.figure.rows
    stopped = column(where(rows, method="early stopping"), "validation_loss")
    plain = column(where(rows, method="nothing"), "validation_loss")
    assert stopped == plain[: len(stopped)], "the same training, cut short"
    taken = compared.figure.table[1]
    assert taken["validation loss"] == min(stopped)
    assert len(stopped) == taken["epoch taken"] + flow_config("-").model.patience
    trainee = compared.picked.trainee
    trainee.params = trainee.best
    assert trainee.score(few(flow_config("-")).validation).loss == min(stopped)
    assert compared.loss == taken["test loss"]
    assert compared.accuracy == taken["test accuracy"]


def test_patience() -> None:
    losses = [{"validation_loss": loss} for loss in (3.0, 2.0, 2.5, 2.0, 2.1)]
    assert overfitting.best_epoch(losses) == 2
    over = [overfitting.patience_is_over(losses[:count], 2) for count in range(6)]
    assert over == [False, False, False, False, True, True]


def trained(tmp_path: Path, method: str, *overrides: str) -> overfitting.Training:
    """Train in NumPy, in a folder of its own."""
    config, folder = flow_config("-", *overrides), tmp_path / method
    folder.mkdir()
    return overfitting.train(engine("numpy"), config, few(config), method, RunFolder(folder))


def test_penalties_make_the_weights_smaller_and_l1_makes_zeros(tmp_path: Path) -> None:
    weights = {}
    for method in ("nothing", "L1", "L2"):
        trainee = trained(tmp_path, method, "trainer.epochs=20", "model.hidden=32").trainee
        matrices = [weight.ravel() for weight in trainee.params.values() if weight.ndim == 2]
        weights[method] = np.concatenate(matrices)
    assert norm(weights["L1"]) < 0.9 * norm(weights["nothing"])
    assert norm(weights["L2"]) < 0.9 * norm(weights["nothing"])
    nearly_zero = {method: (np.abs(w) < 0.003).mean() for method, w in weights.items()}
    assert nearly_zero["L1"] > 2 * nearly_zero["nothing"]


def test_nobody_learns_from_what_is_tested() -> None:
    config = flow_config("-", "data.wrong_labels=0.5")
    sets, images = few(config), digits.load()
    assert [len(one) for one in vars(sets).values()] == [200, 400, 360]
    np.testing.assert_array_equal(sets.test.labels, images.test_labels)
    kept = {row.tobytes() for row in sets.train.inputs}
    assert not kept & {row.tobytes() for row in sets.validation.inputs}
    clean = few(flow_config("-", "data.wrong_labels=0.0"))
    np.testing.assert_array_equal(clean.train.inputs, sets.train.inputs)
    np.testing.assert_array_equal(clean.validation.labels, sets.validation.labels)
    assert 0.35 < (clean.train.labels != sets.train.labels).mean() <= 0.5


def test_divergence_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"try a smaller optimizer\.lr"):
        trained(tmp_path, "nothing", "optimizer.lr=1e200", "trainer.epochs=5", "model.hidden=8")


def test_a_training_takes_no_more_steps_than_it_may(tmp_path: Path) -> None:
    training = trained(tmp_path, "dropout", "trainer.max_steps=6", "model.hidden=8")
    assert len(training.steps) == 6
    assert len(training.epochs) == 2


# Interrupted

# Five trainings of 28 steps; early stopping, the second one, takes 12.
SMALL = [
    "model.depths=[3]",
    "model.width=6",
    "model.recurrent=6",
    "model.clip_steps=3",
    "model.hidden=32",
    "model.patience=1",
    "trainer.epochs=7",
    "optimizer.lr=0.1",
    "data.wrong_labels=0.5",
]


def content(folder: Path) -> dict[str, Any]:
    """Return what must be the same: every file; of tables and metrics all but the seconds."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*.*") if path.is_file()):
        name = str(path.relative_to(folder))
        if name == "config.yaml":
            continue
        found[name] = path.read_bytes()
        if path.name == "history.csv":
            with open(path) as file:
                found[name] = [row | {"seconds": ""} for row in csv.DictReader(file)]
        if name == "metrics.json":
            values = json.loads(path.read_text())
            found[name] = {k: v for k, v in values.items() if k not in ("train_seconds", "resumed")}
    return found


def stopped(monkeypatch: pytest.MonkeyPatch, config: Config, after: int, action: Callable[[], None]) -> None:
    """Do something while a step is taken, the `after`th of this process."""
    counter, step = itertools.count(1), overfitting.Trainee.step

    def counted(*given: Any) -> tuple[float, int]:
        if next(counter) == after:
            action()
        return step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(overfitting.Trainee, "step", counted)
        with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
            app.train(config)


def crash() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("stops", [[1], [28], [30, 3], [41, 20, 31]], ids=str)
@pytest.mark.parametrize("action", ["ctrl_c", "crash"])
def test_an_interrupted_run_goes_on_with_the_same_bits(
    stops: list[int],
    action: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    often = "trainer.checkpoint_seconds=0"
    actions = {"ctrl_c": lambda: signal.raise_signal(signal.SIGINT), "crash": crash}
    whole, run_dir = tmp_path / "whole", tmp_path / "run"
    app.train(flow_config(whole, *SMALL, often))
    resume: list[str] = []
    for after in stops:
        stopped(monkeypatch, flow_config(run_dir, *SMALL, often, *resume), after, actions[action])
        resume = [f"trainer.resume={run_dir}"]
        status = json.loads((run_dir / "metrics.json").read_text())["status"]
        assert status == ("interrupted" if action == "ctrl_c" else "failed")
    taken = 0
    step = overfitting.Trainee.step

    def counted(*given: Any) -> tuple[float, int]:
        nonlocal taken
        taken += 1
        return step(*given)

    monkeypatch.setattr(overfitting.Trainee, "step", counted)
    capsys.readouterr()
    app.train(flow_config(run_dir, *SMALL, often, *resume))
    assert content(run_dir) == content(whole)
    # a step that ends with Ctrl-C is taken, one that crashes is not
    done = sum(stops) if action == "ctrl_c" else sum(stop - 1 for stop in stops)
    rows = sum(
        len((path / "steps.csv").read_text().splitlines()) - 1 for path in (whole / "trainings").iterdir()
    )
    assert taken == rows - done, "nothing is trained twice"
    assert ("resuming after step" in capsys.readouterr().out) == (done > 0)


def test_ctrl_c_between_the_trainings_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the picture is drawn, and while the gradients before it are computed."""
    whole, run_dir = tmp_path / "whole", tmp_path / "run"
    app.train(flow_config(whole, *SMALL))

    def ctrl_c(*given: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    resume: list[str] = []
    for place, name in ((clipping, "figure"), (overfitting, "draw")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, ctrl_c)
            with pytest.raises(Interrupted) as interrupt:
                app.train(flow_config(run_dir, *SMALL, *resume))
        assert interrupt.value.folder == run_dir
        resume = [f"trainer.resume={run_dir}"]
    monkeypatch.setattr(overfitting.Trainee, "step", crash)  # there is none left to take
    app.train(flow_config(run_dir, *SMALL, *resume))
    assert content(run_dir) == content(whole)


# Captions say what the numbers show, and cannot say anything else


def test_the_words_depend_on_the_numbers() -> None:
    words = [change(ratio).split(" ")[0] for ratio in (1e-9, 0.05, 0.5, 5, 50, 1e9)]
    assert words == ["vanishes", "shrinks", "stays", "stays", "grows", "explodes"]


@pytest.fixture(scope="module")
def by_layer() -> list[Row]:
    config = flow_config("-", "model.depths=[50]")
    images = digits.load()
    inputs = app.flattened(images.train_images[:64])
    inputs = (inputs - inputs.mean()) / inputs.std()
    return depth.measure(engine("numpy"), config, inputs, images.train_labels[:64])


def test_the_caption_by_layer(by_layer: list[Row]) -> None:
    said = depth.depth_caption(by_layer)
    for claim in (
        "sigmoid with Glorot weights: vanishes",
        "tanh with Glorot weights: stays",
        "tanh with orthogonal weights: stays",
        "ReLU with He weights: stays",
        "ReLU with normal weights: explodes",
    ):
        assert claim in said
    he = where(by_layer, activation="ReLU", initialization="He", network="plain")
    expected = he[0]["gradient_of_output"] / he[-1]["gradient_of_output"]
    assert f"({number(expected)} times" in said
    flat = [row | {"gradient_of_output": 1.0} for row in by_layer]
    assert not {"vanishes", "explodes"} & set(depth.depth_caption(flat).split())


def test_the_weights_gradient_explodes_in_all_layers_alike(by_layer: list[Row]) -> None:
    """As the README says."""
    rows = where(by_layer, activation="ReLU", initialization="normal", network="plain")
    of_weights, of_outputs = (
        np.array(column(rows[1:], f"gradient_of_{what}")) for what in ("weights", "output")
    )
    assert of_weights.min() > 1e30
    assert of_weights.max() / of_weights.min() < 100
    assert of_outputs.max() / of_outputs.min() > 1e30


def test_the_caption_of_the_remedies(by_layer: list[Row]) -> None:
    said = depth.remedies_caption(by_layer)
    assert "the narrowest range is that of: both" in said
    for remedy in depth.REMEDIES:
        ratios = [row[remedy] for row in depth.table(by_layer)]
        assert f"{remedy}: {number(min(ratios))} to {number(max(ratios))}" in said
        assert len(ratios) == 3 * len(INITIALISATIONS)
    flat = [row | ({"gradient_of_output": 1.0} if row["network"] == "plain" else {}) for row in by_layer]
    assert "that of: plain" in depth.remedies_caption(flat)


def test_batch_normalisation_takes_out_the_size_of_the_weights() -> None:
    """As the caption says: weights ten times as large change nothing with it, all without it."""
    inputs, labels = random_batch(32, 16)
    backend = engine("numpy")
    for with_norm in (True, False):
        network = Dense(16, 16, 8, "ReLU", norm=with_norm)
        weights = initial_weights(network, "He", 1.0, np.random.default_rng(0))
        larger = {
            name: 10 * w if w.ndim == 2 and name.startswith("linear") else w for name, w in weights.items()
        }
        model = backend.build_model(network)
        norms = [
            [norm(one) for one in backend.gradients(model, w, inputs, labels).flow] for w in (weights, larger)
        ]
        grown = norms[1][0] / norms[1][-1] / (norms[0][0] / norms[0][-1])
        assert grown == (pytest.approx(1, rel=0.01) if with_norm else pytest.approx(1e7, rel=0.5))


def test_the_caption_by_time_step() -> None:
    images = digits.load()
    inputs = images.train_images[:32] / 255
    inputs = (inputs - inputs.mean()) / inputs.std()
    rows = recurrent.measure(engine("numpy"), flow_config("-"), inputs, images.train_labels[:32])
    said = recurrent.caption(rows)
    for claim in (
        "RNN, torch's weights: vanishes",
        "RNN, orthogonal weights times 3: explodes",
        "LSTM, forget bias 0: vanishes",
        "LSTM, forget bias 3: stays",
    ):
        assert claim in said
    ratios = [recurrent.ratio(where(rows, network=case)) for case in recurrent.CASES]
    assert all(number(ratio) in said for ratio in ratios)
    assert ratios[3] < ratios[4] < ratios[5], "the forget bias reaches further back"
    backwards = [row | {"gradient_of_input": 1 / row["gradient_of_input"]} for row in rows]
    assert "torch's weights: explodes" in recurrent.caption(backwards)


def test_the_caption_of_clipping() -> None:
    images = digits.load()
    inputs = images.train_images[:128] / 255
    inputs = (inputs - inputs.mean()) / inputs.std()
    config = flow_config("-", "model.clip_steps=60")
    figure = clipping.figure(engine("numpy"), config, inputs, images.train_labels[:128])
    off, on = where(figure.rows, clipping="off"), where(figure.rows, clipping="on")
    assert max(column(off, "norm")) > 100
    assert on[-1]["loss"] < off[-1]["loss"] - 1
    assert ": lower with it" in figure.caption
    assert number(max(column(on, "norm_used"))) + " at most (limit 1)" in figure.caption
    exchanged = [row | {"clipping": "on" if row["clipping"] == "off" else "off"} for row in figure.rows]
    assert ": not lower with it" in clipping.caption(exchanged, 1.0)


def test_the_caption_of_the_learning_rates() -> None:
    rows = learning_rates.measure()
    said = learning_rates.caption(rows)
    assert "too small, 0.01: falls" in said
    assert "nearly too large, 0.97: falls" in said
    assert "; too large, 1.03: grows" in said
    ends = {name: where(rows, rate=name)[-1]["f"] for name in learning_rates.RATES}
    assert all(f"to {number(end)}," in said for end in ends.values())
    assert min(ends, key=lambda name: ends[name]) == "right"
    assert ends["too small"] > 1


def test_the_caption_of_overfitting(compared: overfitting.Outcome) -> None:
    said, table = compared.figure.caption, compared.figure.table
    assert said.count(", narrower;") == said.count(", lower") == 4
    assert "not " not in said.partition("Early stopping takes")[0]
    for row in table:
        assert number(row[GAP]) in said
        assert number(row["test loss"]) in said
    worse: list[dict[str, Any]] = [table[0]]
    worse += [row | {GAP: 9.0, "test loss": 9.0} for row in table[1:]]
    assert overfitting.caption(worse, flow_config("-")).count("not narrower; test loss 9, not") == 4


def test_the_caption_of_the_activations() -> None:
    said = activations.caption(activations.measure())
    assert "sigmoid at most 0.25," in said
    assert "tanh at most 1," in said
    assert f"leave {number(0.25**10)} of it" in said


def test_captions_hold_at_smoke_size_as_well(smoke: tuple[Path, str]) -> None:
    """There the gradients of five steps are small: nothing is said that is not so."""
    text = (smoke[0] / "gradient_flow.html").read_text()
    with open(smoke[0] / "clipping.csv") as file:
        rows = list(csv.DictReader(file))
    last = {kind: float(where(rows, clipping=kind)[-1]["loss"]) for kind in ("on", "off")}
    assert (": lower with it" in text) == (last["on"] < last["off"])
