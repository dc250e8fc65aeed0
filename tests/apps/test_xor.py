"""apps/xor from the outside: the published trace, what a run leaves behind, what can go wrong."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apps.xor.config import Config
from apps.xor.corrections import EVERY, STEPS, TRAININGS
from apps.xor.data import ROWS, examples
from apps.xor.train import build_learner, probabilities, train
from shared.backprop.activations import sigmoid
from shared.runs.reader import load_weights
from tests.apps.agreement import FRAMEWORKS
from tests.forks import Forks
from tests.helpers import PUBLISHED_LOSSES, PUBLISHED_OUTPUTS, ROOT, TIMEOUT, app_config, take_steps
from tools.evaluate import main

FILES = "config.yaml metrics.json history.csv steps.csv curves.png decision.png weights.safetensors"


def xor_config(run_dir: Path, *overrides: str) -> Config:
    # As many threads as TensorFlow may have started with: one process has one number.
    config: Config = app_config("xor", run_dir, "trainer.threads=null", *overrides)
    return config


@pytest.mark.parametrize(
    ("framework", "steps"),
    [
        ("numpy", 9999),
        pytest.param("torch", 9999, marks=pytest.mark.slow),
        pytest.param("keras", 9999, marks=pytest.mark.slow),
    ],
)
def test_the_published_trace_is_reproduced(framework: str, steps: int, tmp_path: Path) -> None:
    """Its outputs are those before the last update: after 9,999 steps."""
    words = ["model=published", f"framework={framework}", "corrections=false", f"trainer.max_steps={steps}"]
    config = xor_config(tmp_path, *words)
    metrics = train(config)
    with open(tmp_path / "steps.csv") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == steps
    expected = PUBLISHED_LOSSES[: 1 + steps // 1000]
    np.testing.assert_allclose(losses[::1000], expected, rtol=1e-10)
    if steps == 9999:
        learner = build_learner(config)
        load_weights(learner, tmp_path, metrics)
        outputs = sigmoid(learner.logits(examples(config.model.inputs).inputs))[:, 0]
        # As printed: in this order of rows, rounded to eight digits.
        np.testing.assert_allclose(outputs, PUBLISHED_OUTPUTS, rtol=0, atol=0.51e-8)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run by the command line, and what it printed."""
    folder = tmp_path_factory.mktemp("command")
    words = [sys.executable, "-m", "apps.xor", "framework=numpy", f"hydra.run.dir={folder}"]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_the_command_prints_table_and_corrections(command: tuple[Path, str]) -> None:
    folder, said = command
    assert "test: accuracy 100.00% (4 of 4 right)" in said
    assert "1 xor 0 = 1   network: 0.9" in said
    assert "with one correction after the other" in said
    assert {path.name for path in folder.iterdir()} == {*FILES.split(), "corrections.csv", "corrections.png"}


@pytest.fixture(scope="module")
def curves(command: tuple[Path, str]) -> list[dict[int, float]]:
    """The mean squared error by step of each curve of corrections.png, from corrections.csv."""
    with open(command[0] / "corrections.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(0, STEPS + 1, EVERY))
    return [{int(row["step"]): float(row[label]) for row in rows if row[label]} for label in TRAININGS]


def test_what_each_correction_changes(curves: list[dict[int, float]]) -> None:
    """One after the other: the loss's own gradient, cross-entropy, the learning rate."""
    corrected = ["gradient", "loss", "learning rate"]  # in words, on the chart and in the CSV
    assert all(what in label for what, label in zip(corrected, list(TRAININGS)[4:], strict=True))
    published, own_gradient, cross_entropy, faster = (curve[STEPS] for curve in curves[3:])
    assert own_gradient > 0.2, "half the learning rate: not learned after 10,000 steps"
    assert cross_entropy < published / 5
    assert faster < 1e-5
    every_thousandth = [curves[3][step] for step in range(0, STEPS, 1000)]
    np.testing.assert_allclose(every_thousandth, PUBLISHED_LOSSES, rtol=1e-10)


def test_the_curves_of_published_programs(curves: list[dict[int, float]], tmp_path: Path) -> None:
    """A7 does not learn, A8 starts where A7 ended, C7 and D5 learn; A7 and C7 are the experiments."""
    a7, a8, c7, d5 = curves[:4]
    assert (min(a7), max(a7), min(a8), max(a8)) == (0, 1000, 1000, 2000)
    assert a8[1000] == a7[1000] > 0.24
    assert c7[STEPS] < 0.0005
    assert d5[STEPS] < 0.005
    for experiment, curve in (("+experiment=a7", a7), ("+experiment=c7", c7)):
        config = xor_config(tmp_path, experiment)
        learner, rows = build_learner(config), examples(config.model.inputs)
        list(take_steps(learner, rows, [(np.arange(4), config.optimizer.lr)] * 500))
        errors = probabilities(learner, config, ROWS) - rows.labels
        np.testing.assert_allclose(np.mean(errors**2), curve[500], rtol=1e-9)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_run_leaves_everything_behind(framework: str, tmp_path: Path) -> None:
    metrics = train(xor_config(tmp_path, f"framework={framework}", "corrections=false"))
    assert {path.name for path in tmp_path.iterdir()} == set(FILES.split())
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    names = "app dataset embedded test_examples epochs train_examples parameters test_accuracy status steps"
    expected = ["xor", "xor", False, 4, 10, 4, 17, 1.0, "done", 3000]
    assert [metrics[name] for name in names.split()] == expected
    assert metrics["test_loss"] < 0.1


def test_the_default_recipe_learns_from_every_start(tmp_path: Path) -> None:
    for seed in range(10):
        config = xor_config(tmp_path / str(seed), "framework=numpy", f"seed={seed}")
        learner, rows = build_learner(config), examples(2)
        steps = config.trainer.epochs * config.data.repeats
        list(take_steps(learner, rows, [(np.arange(4), config.optimizer.lr)] * steps))
        assert (np.sign(learner.logits(rows.inputs)[:, 0]) == [-1, 1, 1, -1]).all(), f"seed {seed}"


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("trainer.batch_size=5", "trainer.batch_size=5 is larger than the training set: XOR has 4"),
        ("model=cnn", "unknown model 'cnn'; choose from no_biases, published, two_layer"),
        ("model.inputs=4", "model.inputs should be less than or equal to 3"),
        ("data.repeats=0", "data.repeats should be greater than or equal to 1"),
        ("framework=numpy trainer.precision=bfloat16", "needs framework=torch or keras"),
        ("optimizer.formula=keras", "optimizer.formula=keras needs framework=keras or numpy"),
        ("data.train_limit=3", "unknown key 'data.train_limit'"),
        ("model.loss=hinge", "model.loss"),
        ("trainer.patience=3", "trainer.patience needs a validation set, and there is none; set it to null"),
        ("model=published model.init=he", "set model.published_seed=null"),
    ],
)
def test_a_wrong_command_is_explained(argument: str, said: str, tmp_path: Path, forks: Forks) -> None:
    result = forks.run("apps.xor", *argument.split(), f"hydra.run.dir={tmp_path / 'run'}")
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_there_is_no_other_data_to_evaluate_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(xor_config(tmp_path, "framework=numpy", "debug=smoke"))
    assert main([str(tmp_path)]) == 0
    assert "the same as in metrics.json" in capsys.readouterr().out
    assert main([str(tmp_path), "data.repeats=2"]) == 2
    said = capsys.readouterr().err
    assert said == "error: data.repeats=2: xor has no other data to be evaluated on\n"
