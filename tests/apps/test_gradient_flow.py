"""Its gradients equal those of the frameworks, and its captions say what its numbers show."""

import csv
import importlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apps.gradient_flow import numpy_model
from apps.gradient_flow import train as app
from apps.gradient_flow.config import Config
from apps.gradient_flow.data import gradient_batches, split
from apps.gradient_flow.figure import Figure, Row, change, column, number, where
from apps.gradient_flow.figures import activations, clipping, depth, overfitting, parabola, recurrent, valley
from apps.gradient_flow.learner import METHODS, GradientLearner, fit, score
from apps.gradient_flow.networks import Dense, Gradients, Network, Recurrent, norm
from apps.gradient_flow.predict import APPLICATION, predict
from apps.gradient_flow.weights import INITIALIZATIONS, initial_weights, matrix, recurrent_weights
from shared.application import FinishedRun
from shared.data import digits
from shared.data.examples import Examples
from shared.errors import ConfigError, Interrupted, TrainingDiverged
from shared.runs.folder import RunFolder
from shared.training.loop import evaluate
from tests.helpers import ROOT, app_config

CHARTS = ["activations", "depth", "remedies", "time", "clipping", "learning_rates", "valley", "overfitting"]
FILES = {f"{name}.{kind}" for name in CHARTS for kind in ("png", "csv")}
FILES |= {"config.yaml", "metrics.json", "history.csv", "steps.csv"}
FILES |= {"curves.png", "weights.safetensors", "gradient_flow.html", "trainings"}
OTHERS = ["torch", pytest.param("keras", marks=pytest.mark.slow)]


def flow_config(run_dir: Path | str = "-", *overrides: str) -> Config:
    # As many threads as TensorFlow may have started with: it cannot change within a process.
    config: Config = app_config("gradient_flow", Path(run_dir), "trainer.threads=null", *overrides)
    return config


def random_batch(count: int, *shape: int) -> Examples:
    random = np.random.default_rng(7)
    return Examples(random.normal(size=(count, *shape)), random.integers(0, 10, count))


def engine(framework: str) -> Any:
    return importlib.import_module(f"apps.gradient_flow.{framework}_model")


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file))


def numpy_gradients(network: Network, weights: dict[str, np.ndarray], batch: Examples) -> Gradients:
    return numpy_model.gradients(numpy_model.build_model(network), weights, batch)


# The command


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory, no_frameworks: dict[str, str]) -> tuple[Path, str]:
    """The folder of a NumPy run, which must import no framework, and what it printed."""
    folder = tmp_path_factory.mktemp("smoke") / "run"
    return folder, run_command("debug=smoke", f"hydra.run.dir={folder}", environment=no_frameworks)


def run_command(*words: str, environment: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-m", "apps.gradient_flow", *words]
    env = {**os.environ, **(environment or {})}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_run_writes_every_file(smoke: tuple[Path, str]) -> None:
    folder, output = smoke
    assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in (folder / "trainings").iterdir()} == set(METHODS) - {"early stopping"}
    assert "test: accuracy" in output
    metrics = json.loads((folder / "metrics.json").read_text())
    expected: dict[str, Any] = {"app": "gradient_flow", "framework": "numpy", "model": "networks"}
    expected |= {"status": "done", "seed": 0, "dataset": "digits", "embedded": True, "train_examples": 200}
    expected |= {"test_examples": 360, "epochs": 1, "steps": 4}
    expected |= {"parameters": 196 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10}
    assert {key: metrics[key] for key in expected} == expected
    for name in CHARTS:
        assert Image.open(folder / f"{name}.png").size == (1280, 720), name
    rows = rows_of(folder / "remedies.csv")
    assert len(rows) == (3 + 6) * 3 * 4 * 4
    assert all(float(row["gradient_of_output"]) > 0 for row in rows)
    assert len(rows_of(folder / "history.csv")) == metrics["epochs"]


def test_the_page_loads_nothing_from_the_network(smoke: tuple[Path, str]) -> None:
    text = (smoke[0] / "gradient_flow.html").read_text()
    tags = re.findall(r"<(\w+)", text)
    assert not {"script", "link", "iframe", "object", "base"} & set(tags)
    assert "url(" not in text
    assert "@import" not in text
    references = re.findall(r"""(?:src|href|srcset)\s*=\s*["']?([^"'>\s]*)""", text)
    for reference in references:
        inside = reference.startswith(("data:image/png;base64,", "#"))
        assert inside or (smoke[0] / reference).is_file(), reference[:60]
    assert {f"{name}.csv" for name in CHARTS} <= set(references)
    assert len(re.findall(r'<img alt="[^"]{40,}"', text)) == tags.count("img") == len(CHARTS)
    assert tags.count("figcaption") == len(CHARTS)
    assert tags.count("h1") == 1
    assert tags.count("table") >= 5
    # the gradients of five steps are small: clipping may not help
    rows = rows_of(smoke[0] / "clipping.csv")
    last = {kind: float(where(rows, clipping=kind)[-1]["loss"]) for kind in ("on", "off")}
    assert (": lower with it" in text) == (last["on"] < last["off"])


def test_a_finished_run_evaluates_and_predicts(smoke: tuple[Path, str], tmp_path: Path) -> None:
    run = FinishedRun.open(APPLICATION, smoke[0])
    assert evaluate(run.learner, run.test_examples()).loss == run.metrics["test_loss"]
    Image.fromarray(digits.load().test_images[0]).resize((90, 90)).save(tmp_path / "digit.png")
    prediction = predict(run, str(tmp_path / "digit.png"))
    assert re.search(r"digit\.png: (\d \d+\.\d%, ){2}\d \d+\.\d% \(light on dark\)", prediction.text)
    assert prediction.chart[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.precision=float32", "trainer.precision=float32: only float64 has the range"),
        ("trainer.clip_norm=null", "trainer.clip_norm=null: the chart of gradient clipping needs"),
        ("data.train_examples=1400", "add up to 1,800, but there are only 1,437 digits"),
        ("trainer.batch_size=201", "trainer.batch_size=201 is larger than the training set"),
        ("model.depths=[1]", "model.depths.0 should be greater than or equal to 2"),
        ("model.depths=[3,3]", "model.depths=[3, 3]: the depths must differ"),
        ("model.dropout=1.0", "model.dropout should be less than 1"),
    ],
)
def test_a_wrong_configuration_is_explained(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        flow_config("-", override)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


# The gradients, compared with those of the frameworks


def assert_same_rows(own: Sequence[Row], others: Sequence[Row]) -> None:
    """Compare numbers to a relative 1e-9, everything else exactly."""
    assert len(own) == len(others) > 0
    for one, other in zip(own, others, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            if isinstance(value, float):
                assert other[key] == pytest.approx(value, rel=1e-9, abs=0), (one, key)
            else:
                assert other[key] == value


@pytest.mark.parametrize("framework", OTHERS)
def test_norms_by_layer_and_step_equal_autograd(framework: str) -> None:
    depths = [2, 7] if framework == "torch" else [3]  # Keras is slow to build a network
    config = flow_config("-", f"model.depths={depths}", "model.width=12", "model.recurrent=9")
    own = depth.measure(numpy_model, config, random_batch(16, 20))
    assert len(own) == sum(depths) * 3 * 4 * 4
    assert_same_rows(own, depth.measure(engine(framework), config, random_batch(16, 20)))
    own = recurrent.measure(numpy_model, config, random_batch(8, 15, 4))
    assert len(own) == 15 * len(recurrent.CASES)
    assert_same_rows(own, recurrent.measure(engine(framework), config, random_batch(8, 15, 4)))


@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize(("gain", "steps"), [(1.0, 12), (clipping.GAIN, 2)])
def test_clipped_norms_equal_autograd(
    framework: str, gain: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # where gradients explode, so do rounding differences: only the first steps are compared
    monkeypatch.setattr(clipping, "GAIN", gain)
    config = flow_config("-", "model.recurrent=9", f"model.clip_steps={steps}")
    for limit in (None, 0.5):
        own, other = (
            clipping.descend(engine(name), config, random_batch(8, 15, 4), limit)
            for name in ("numpy", framework)
        )
        assert len(own) == steps
        assert_same_rows(own, other)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_the_command_works_in_every_framework(framework: str, tmp_path: Path) -> None:
    run_command("debug=smoke", f"framework={framework}", f"hydra.run.dir={tmp_path}/run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert framework in (tmp_path / "run" / "gradient_flow.html").read_text()


NETWORKS: list[Network] = [
    Dense(5, 4, 3, "sigmoid"),
    Dense(5, 4, 3, "tanh", norm=True, residual=True),
    Recurrent("rnn", 3, 4),
    Recurrent("lstm", 3, 4),
]


@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_gradients_equal_autograd(network: Network, framework: str) -> None:
    """Each number of the flow and of each weight's gradient, for random weights and biases."""
    rng = np.random.default_rng(1)
    batch = random_batch(6, *((7, 3) if isinstance(network, Recurrent) else (5,)))
    weights = {name: rng.normal(size=w.shape) for name, w in numpy_model.build_model(network).params.items()}
    own = numpy_gradients(network, weights, batch)
    other = engine(framework).gradients(engine(framework).build_model(network), weights, batch)
    assert own.loss == pytest.approx(other.loss, rel=1e-12)
    np.testing.assert_allclose(own.flow, other.flow, rtol=1e-9, atol=1e-12)
    for name in weights:
        np.testing.assert_allclose(own.parameters[name], other.parameters[name], rtol=1e-9, atol=1e-12)


def norms_by_layer(network: Dense, initialization: str) -> list[float]:
    weights = initial_weights(network, initialization, 1.0, np.random.default_rng(0))
    found = numpy_gradients(network, weights, random_batch(32, network.inputs))
    return [norm(gradient) for gradient in found.flow]


def test_orthogonal_weights_keep_the_norm_exactly() -> None:
    norms = norms_by_layer(Dense(24, 24, 30, "none"), "orthogonal")
    np.testing.assert_allclose(norms, norms[-1], rtol=1e-12)


def test_he_keeps_the_gradient_of_relu_and_glorot_halves_its_square() -> None:
    network = Dense(256, 256, 20, "ReLU")
    he, glorot = norms_by_layer(network, "He"), norms_by_layer(network, "Glorot")
    assert 1 / 3 < he[0] / he[-1] < 3
    # the same numbers, smaller by sqrt(2): there are 19 layers between the first and the last
    rate = (glorot[0] / glorot[-1]) / (he[0] / he[-1])
    assert rate == pytest.approx(2**-9.5, rel=0.2)


def test_each_sigmoid_divides_the_gradient_by_four_at_least() -> None:
    norms = norms_by_layer(Dense(32, 32, 15, "sigmoid"), "orthogonal")
    assert all(before <= after / 4 for before, after in pairwise(norms))


@pytest.mark.parametrize("shape", [(300, 300), (200, 300), (300, 200)])
def test_initial_weights_have_the_documented_deviation(shape: tuple[int, int]) -> None:
    expected = {"normal": 0.3, "Glorot": (2 / sum(shape)) ** 0.5, "He": (2 / shape[1]) ** 0.5}
    for initialization, deviation in expected.items():
        drawn = matrix(shape, initialization, 0.3, np.random.default_rng(0))
        assert drawn.shape == shape
        assert drawn.std() == pytest.approx(deviation, rel=0.02)
    square = matrix(shape, "orthogonal", 0.3, np.random.default_rng(0))
    gram = square @ square.T if shape[0] <= shape[1] else square.T @ square
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-12)


def test_the_forget_gate_decides_how_far_back_the_gradient_reaches() -> None:
    network = Recurrent("lstm", 4, 32)
    ratios = []
    for bias in (-2.0, 0.0, 1.0, 3.0, 6.0):
        weights = recurrent_weights(network, np.random.default_rng(0), forget_bias=bias)
        flow = numpy_gradients(network, weights, random_batch(16, 40, 4)).flow
        ratios.append(norm(flow[0]) / norm(flow[-1]))
    assert ratios == sorted(ratios)
    assert ratios[0] < 1e-20
    assert ratios[1] < 1e-6
    assert ratios[-1] > 0.1


# One function, one valley, seven optimizers


def test_descent_on_a_parabola_diverges_exactly_beyond_two_over_the_curvature() -> None:
    limit = parabola.LIMIT
    for rate in (0.001, 0.5 * limit, 0.999 * limit):
        assert abs(parabola.descend(rate, 2000)[-1]) < 0.1
    assert abs(parabola.descend(limit, 2000)[-1]) == parabola.START
    assert abs(parabola.descend(1.001 * limit, 2000)[-1]) > 100
    for rate in parabola.RATES.values():
        steps = np.arange(parabola.STEPS + 1)
        expected = parabola.START * (1 - parabola.CURVATURE * rate) ** steps
        np.testing.assert_allclose(parabola.descend(rate), expected, rtol=1e-9)


def test_the_gradient_of_the_valley_equals_finite_differences() -> None:
    for point in np.random.default_rng(0).normal(size=(5, 2)):
        for axis in np.eye(2) * 1e-6:
            slope = (valley.value(*(point + axis)) - valley.value(*(point - axis))) / 2
            assert valley.gradient(point) @ axis == pytest.approx(float(slope), rel=1e-6)
    assert valley.value(*np.array(valley.MINIMUM)) == 0


def test_every_optimizer_uses_its_best_rate(figures: list[Any]) -> None:
    rows = valley.measure()
    for name, build in valley.OPTIMIZERS.items():
        one = where(rows, optimizer=name)
        assert len(one) == valley.STEPS + 1
        assert one[-1]["f"] < 0.01 * one[0]["f"]
        paths = [valley.path(build, rate) for rate in valley.RATES]
        assert one[-1]["f"] == min(points[-1][2] for points in paths if len(points) == valley.STEPS + 1)
    names = re.findall(r"([A-Za-z]+) [\d.e-]+ \(rate", valley.figure(rows).caption)
    assert names == sorted(names, key=lambda name: float(where(rows, optimizer=name)[-1]["f"]))
    assert set(names) == set(valley.OPTIMIZERS)
    drawn = {line.get_ydata()[0]: list(line.get_xdata()) for line in figures[0].axes[-1].lines}
    assert drawn == {name: [where(rows, optimizer=name)[-1]["f"]] for name in valley.OPTIMIZERS}


def test_a_clipped_norm_never_exceeds_the_limit() -> None:
    config, batch = flow_config("-", "model.recurrent=16", "model.clip_steps=30"), random_batch(16, 28, 6)
    for limit in (0.1, 1.0):
        rows = clipping.descend(numpy_model, config, batch, limit)
        assert max(column(rows, "norm_used")) <= limit
        assert max(column(rows, "norm")) > limit
        for row in rows:
            assert row["norm_used"] == pytest.approx(min(limit, row["norm"]), rel=2e-5)
    free = clipping.descend(numpy_model, config, batch, None)
    assert column(free, "norm_used") == column(free, "norm")


# Overfitting


def train_method(folder: Path, method: str, *overrides: str) -> tuple[GradientLearner, RunFolder]:
    config = flow_config("-", *overrides)
    place = folder / config.framework / method
    place.mkdir(parents=True)
    learner, run = GradientLearner(config, method), RunFolder(place)
    train_set, validation_set, _ = split(digits.load(), config)
    fit(learner, train_set, validation_set, config, run)
    return learner, run


def compare(folder: Path, *overrides: str) -> tuple[Figure, GradientLearner]:
    """Return the chart of overfitting, and the network that early stopping picked."""
    config = flow_config("-", *overrides)
    test_set = split(digits.load(), config)[2]
    runs = {method: train_method(folder, method, *overrides) for method in METHODS}
    results = {
        m: (run.rows("history.csv"), evaluate(learner, test_set)) for m, (learner, run) in runs.items()
    }
    return overfitting.figure(*overfitting.measure(results), config), runs["early stopping"][0]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> tuple[Figure, GradientLearner]:
    return compare(tmp_path_factory.mktemp("comparison"))


@pytest.mark.parametrize("framework", OTHERS)
def test_training_runs_equal_autograd(framework: str, tmp_path: Path) -> None:
    small = ["model.hidden=20", "trainer.epochs=4"]
    own, other = (compare(tmp_path, *small, f"framework={name}")[0] for name in ("numpy", framework))
    assert_same_rows(own.rows, other.rows)
    assert_same_rows(own.table, other.table)


def test_every_method_narrows_the_gap(comparison: tuple[Figure, Any]) -> None:
    plain, *others = comparison[0].table
    assert plain["training loss"] < 0.02
    assert plain[overfitting.GAP] > 0.5
    for row in others:
        assert row[overfitting.GAP] < plain[overfitting.GAP] / 2, row["method"]
        assert row["test loss"] < plain["test loss"] - 0.1, row["method"]
    for row in comparison[0].table:
        assert row[overfitting.GAP] == pytest.approx(row["test loss"] - row["training loss"])


def test_early_stopping_picks_the_lowest_validation_loss(comparison: tuple[Figure, GradientLearner]) -> None:
    figure, learner = comparison
    stopped = column(where(figure.rows, method="early stopping"), "validation_loss")
    plain = column(where(figure.rows, method="nothing"), "validation_loss")
    assert stopped == plain[: len(stopped)], "the same training run, stopped early"
    picked = figure.table[1]
    assert picked["validation loss"] == min(stopped)
    assert len(stopped) == picked["epoch taken"] + flow_config().model.patience
    validation_set = split(digits.load(), flow_config())[1]
    assert score(learner, validation_set).loss == min(stopped)


def test_penalties_make_weights_smaller_and_l1_makes_them_sparse(tmp_path: Path) -> None:
    weights = {}
    for method in ("nothing", "L1", "L2"):
        learner, _ = train_method(tmp_path, method, "trainer.epochs=20", "model.hidden=32")
        matrices = [weight.ravel() for weight in learner.weights().values() if weight.ndim == 2]
        weights[method] = np.concatenate(matrices)
    assert norm(weights["L1"]) < 0.9 * norm(weights["nothing"])
    assert norm(weights["L2"]) < 0.9 * norm(weights["nothing"])
    nearly_zero = {method: (np.abs(w) < 0.003).mean() for method, w in weights.items()}
    assert nearly_zero["L1"] > 2 * nearly_zero["nothing"]


def test_training_validation_and_test_sets_are_disjoint() -> None:
    images = digits.load()
    train_set, validation_set, test_set = split(images, flow_config("-", "data.wrong_labels=0.5"))
    assert [len(one) for one in (train_set, validation_set, test_set)] == [200, 400, 360]
    np.testing.assert_array_equal(test_set.labels, images.test_labels)
    trained_on = {row.tobytes() for row in train_set.inputs}
    assert not trained_on & {row.tobytes() for row in validation_set.inputs}
    clean, clean_validation, _ = split(images, flow_config("-", "data.wrong_labels=0.0"))
    np.testing.assert_array_equal(clean.inputs, train_set.inputs)
    np.testing.assert_array_equal(clean_validation.labels, validation_set.labels)
    assert 0.35 < (clean.labels != train_set.labels).mean() <= 0.5


def test_divergence_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"try a smaller optimizer\.lr"):
        train_method(tmp_path, "nothing", "optimizer.lr=1e200", "trainer.epochs=5", "model.hidden=8")


def test_max_steps_ends_training(tmp_path: Path) -> None:
    _, run = train_method(tmp_path, "dropout", "trainer.max_steps=6", "model.hidden=8")
    assert len(run.rows("steps.csv")) == 6
    assert len(run.rows("history.csv")) == 2


# Interrupted

# Early stopping takes 12 steps, the four training runs after it 28 each.
SMALL = [
    "model.depths=[3]",
    "model.width=6",
    "model.recurrent=6",
    "model.clip_steps=3",
    "model.hidden=32",
    "trainer.patience=1",
    "trainer.epochs=7",
    "trainer.checkpoint_seconds=0",
    "optimizer.lr=0.1",
    "data.wrong_labels=0.5",
]


def content(folder: Path) -> dict[str, Any]:
    """Return the content of every file, without times and how often the run was resumed."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*.*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.name == "history.csv":
            found[name] = [row | {"seconds": ""} for row in rows_of(path)]
        elif name == "metrics.json":
            values = json.loads(path.read_text())
            found[name] = {k: v for k, v in values.items() if k not in ("train_seconds", "resumed")}
        elif name != "config.yaml":
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without interruption."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    app.train(flow_config(folder, *SMALL))
    return folder


def count_steps(monkeypatch: pytest.MonkeyPatch, before_step: Callable[[int], None]) -> None:
    """Call `before_step` with the number of each step of this process."""
    numbers, step = itertools.count(1), GradientLearner.step

    def count_step(*arguments: Any) -> tuple[float, int]:
        before_step(next(numbers))
        return step(*arguments)

    monkeypatch.setattr(GradientLearner, "step", count_step)


def crash(*arguments: Any) -> Any:
    raise ZeroDivisionError


def ctrl_c(*arguments: Any) -> Any:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("action", "stops"), [(ctrl_c, [41, 20, 31]), pytest.param(crash, [30, 3], marks=pytest.mark.slow)]
)
def test_an_interrupted_run_resumes_with_the_same_bits(
    action: Callable[[], None], stops: list[int], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    resume: list[str] = []
    for after in stops:
        with monkeypatch.context() as patch:
            count_steps(patch, lambda number: action() if number == after else None)  # noqa: B023
            with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
                app.train(flow_config(run_dir, *SMALL, *resume))
        resume = [f"trainer.resume={run_dir}"]
        status = json.loads((run_dir / "metrics.json").read_text())["status"]
        assert status == ("interrupted" if action is ctrl_c else "failed")
    taken: list[int] = []
    count_steps(monkeypatch, taken.append)
    app.train(flow_config(run_dir, *SMALL, *resume))
    assert content(run_dir) == content(whole)
    # a step during which Ctrl-C is pressed is taken, one that crashes is not
    before = sum(stops) if action is ctrl_c else sum(after - 1 for after in stops)
    assert len(taken) == 12 + 4 * 28 - before, "no step is taken twice"


@pytest.mark.slow
def test_ctrl_c_after_training_loses_no_step(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    resume: list[str] = []
    for place, name in ((app, "evaluate"), (overfitting, "draw")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, ctrl_c)
            with pytest.raises(Interrupted) as interrupt:
                app.train(flow_config(run_dir, *SMALL, *resume))
        assert interrupt.value.folder == run_dir
        resume = [f"trainer.resume={run_dir}"]
    monkeypatch.setattr(GradientLearner, "step", crash)  # no step is left
    app.train(flow_config(run_dir, *SMALL, *resume))
    assert content(run_dir) == content(whole)


# Captions say what the numbers show


def test_verbs_depend_on_the_numbers() -> None:
    verbs = [change(ratio).split(" ")[0] for ratio in (1e-9, 0.05, 0.5, 5, 50, 1e9)]
    assert verbs == ["vanishes", "shrinks", "stays", "stays", "grows", "explodes"]


def digit_batches(count: int) -> tuple[Examples, Examples]:
    return gradient_batches(digits.load(), flow_config("-", f"data.batch={count}"))


@pytest.fixture(scope="module")
def by_layer() -> list[Row]:
    return depth.measure(numpy_model, flow_config("-", "model.depths=[50]"), digit_batches(64)[0])


def test_the_caption_by_layer(by_layer: list[Row]) -> None:
    caption = depth.depth_figure(by_layer).caption
    for claim in (
        "sigmoid with Glorot weights: vanishes",
        "tanh with Glorot weights: stays",
        "tanh with orthogonal weights: stays",
        "ReLU with He weights: stays",
        "ReLU with normal weights: explodes",
    ):
        assert claim in caption
    he = where(by_layer, activation="ReLU", initialization="He", network="plain")
    expected = he[0]["gradient_of_output"] / he[-1]["gradient_of_output"]
    assert f"({number(expected)} times" in caption
    flat = [row | {"gradient_of_output": 1.0} for row in by_layer]
    assert not {"vanishes", "explodes"} & set(depth.depth_figure(flat).caption.split())


def test_the_chart_by_layer_has_every_depth(figures: list[Any]) -> None:
    config = flow_config("-", "model.depths=[5,2,4]", "model.width=6")
    depth.depth_figure(depth.measure(numpy_model, config, random_batch(8, 10)))
    titles = [axes.get_title() for axes in figures[0].axes]
    assert titles[::3] == ["sigmoid, 2 layers", "sigmoid, 4 layers", "sigmoid, 5 layers"]


def test_the_gradient_of_the_weights_explodes_equally_in_all_layers(by_layer: list[Row]) -> None:
    rows = where(by_layer, activation="ReLU", initialization="normal", network="plain")
    weights, outputs = (np.array(column(rows[1:], f"gradient_of_{what}")) for what in ("weights", "output"))
    assert weights.min() > 1e30
    assert weights.max() / weights.min() < 100
    assert outputs.max() / outputs.min() > 1e30


def test_the_caption_of_the_remedies(by_layer: list[Row]) -> None:
    caption = depth.remedies_figure(by_layer).caption
    assert "the narrowest range is that of: both" in caption
    for remedy in depth.REMEDIES:
        ratios = [row[remedy] for row in depth.ratios(by_layer)]
        assert f"{remedy}: {number(min(ratios))} to {number(max(ratios))}" in caption
        assert len(ratios) == 3 * len(INITIALIZATIONS)
    flat = [row | ({"gradient_of_output": 1.0} if row["network"] == "plain" else {}) for row in by_layer]
    assert "that of: plain" in depth.remedies_figure(flat).caption


@pytest.mark.parametrize("with_norm", [True, False])
def test_batch_normalization_cancels_the_size_of_the_weights(with_norm: bool) -> None:
    network = Dense(16, 16, 8, "ReLU", norm=with_norm)
    weights = initial_weights(network, "He", 1.0, np.random.default_rng(0))
    scaled = {name: 10 * w if w.ndim == 2 and name.startswith("linear") else w for name, w in weights.items()}
    flows = [numpy_gradients(network, one, random_batch(32, 16)).flow for one in (weights, scaled)]
    before, after = (norm(flow[0]) / norm(flow[-1]) for flow in flows)
    assert after / before == (pytest.approx(1, rel=0.01) if with_norm else pytest.approx(1e7, rel=0.5))


def test_the_caption_by_time_step() -> None:
    rows = recurrent.measure(numpy_model, flow_config(), digit_batches(32)[1])
    caption = recurrent.figure(rows).caption
    for claim in (
        "RNN, torch's weights: vanishes",
        "RNN, orthogonal weights times 3: explodes",
        "LSTM, forget bias 0: vanishes",
        "LSTM, forget bias 3: stays",
    ):
        assert claim in caption
    ratios = list(recurrent.ratios(rows).values())
    assert all(number(ratio) in caption for ratio in ratios)
    assert ratios[3] < ratios[4] < ratios[5], "a larger forget bias reaches further back"
    backwards = [row | {"gradient_of_input": 1 / row["gradient_of_input"]} for row in rows]
    assert "torch's weights: explodes" in recurrent.figure(backwards).caption


def test_the_caption_of_clipping() -> None:
    config = flow_config("-", "model.clip_steps=60")
    rows = clipping.measure(numpy_model, config, digit_batches(128)[1])
    caption = clipping.figure(rows, 1.0).caption
    off, on = where(rows, clipping="off"), where(rows, clipping="on")
    assert max(column(off, "norm")) > 100
    assert on[-1]["loss"] < off[-1]["loss"] - 1
    assert ": lower with it" in caption
    assert off[0]["norm"] == on[0]["norm"] > 10 * max(column(off[1:], "norm"))
    assert f"is {number(off[0]['norm'])} before the first step. Later it reaches" in caption
    assert f"at most {number(max(column(on, 'norm_used')))} (limit 1)" in caption
    exchanged = [row | {"clipping": "on" if row["clipping"] == "off" else "off"} for row in rows]
    assert ": not lower with it" in clipping.figure(exchanged, 1.0).caption


def test_the_caption_of_the_learning_rates() -> None:
    rows = parabola.measure()
    caption = parabola.figure(rows).caption
    assert "too small, 0.01: falls" in caption
    assert "nearly too large, 0.97: falls" in caption
    assert "; too large, 1.03: grows" in caption
    ends = {name: where(rows, rate=name)[-1]["f"] for name in parabola.RATES}
    assert all(f"to {number(end)}," in caption for end in ends.values())
    assert min(ends, key=lambda name: ends[name]) == "right"
    assert ends["too small"] > 1


def test_the_caption_of_overfitting(comparison: tuple[Figure, Any]) -> None:
    caption, table = comparison[0].caption, comparison[0].table
    assert caption.count(", narrower;") == caption.count(", lower") == 4
    assert "not " not in caption.partition("Early stopping takes")[0]
    for row in table:
        assert number(row[overfitting.GAP]) in caption
        assert number(row["test loss"]) in caption
    worse = [row | {overfitting.GAP: 9.0, "test loss": 9.0} for row in table[1:]]
    rewritten = overfitting.figure(comparison[0].rows, [table[0], *worse], flow_config())
    assert rewritten.caption.count("not narrower; test loss 9, not") == 4


def test_the_caption_of_the_activations() -> None:
    caption = activations.figure(activations.measure()).caption
    assert "sigmoid at most 0.25," in caption
    assert "tanh at most 1," in caption
    assert f"leave at most {number(0.25**10)} of it" in caption
