"""Epochs, batches and evaluation, with a fake learner."""

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.data.examples import Examples
from shared.errors import TrainingDiverged
from shared.runs import progress
from shared.runs.folder import RunFolder
from shared.training.loop import EVALUATION_BATCH, evaluate, fit
from shared.training.losses import Loss, cross_entropy
from shared.training.schedule import Indices, shuffled_batches
from tests.helpers import app_config, mnist_config, trained


class FakeLearner:
    """Takes the inputs as logits; returns the given losses, then 1."""

    parameters = 1
    loss: Loss = "cross_entropy"
    model: Any = None
    asynchronous = False

    def __init__(self, losses: Sequence[float] = (), drop: int = 0) -> None:
        self.losses = list(losses)
        self.drop = drop
        self.seen: list[tuple[Indices, float]] = []

    def to_device(self, examples: Examples) -> Examples:
        return examples

    def start_epoch(self, batches: Sequence[Indices]) -> Sequence[Indices]:
        return batches

    def step(self, examples: Examples, batch: Indices, lr: float) -> tuple[float, int]:
        self.seen.append((batch, lr))
        return (self.losses.pop(0) if self.losses else 1.0), 0

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        return inputs[: len(inputs) - self.drop].astype(np.float64)

    def weights(self) -> dict[str, NDArray[Any]]:
        return {"w": np.zeros(3)}

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        raise NotImplementedError("weights are not loaded here")

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        raise NotImplementedError("no checkpoint is written here")

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        raise NotImplementedError("nothing here is resumed")


def random_examples(count: int) -> Examples:
    random = np.random.default_rng(0)
    return Examples(random.normal(size=(count, 10)), random.integers(0, 10, count))


def fit_fake(
    folder: Path, *overrides: str, validation: Examples | None = None, learner: FakeLearner | None = None
) -> tuple[RunFolder, FakeLearner]:
    """Fit 100 examples in batches of 40."""
    config = mnist_config(folder, "trainer.batch_size=40", *overrides)
    run, learner = RunFolder.open(config), learner or FakeLearner()
    run.metrics["dataset"] = "fake"
    with run.session():
        fit(learner, random_examples(100), validation or random_examples(10), config, run)
    return run, learner


@given(st.integers(1, 300), st.integers(1, 100), st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_an_epoch_has_every_example_once(count: int, size: int, seed: int, epoch: int) -> None:
    batches = shuffled_batches(count, size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])
    again = shuffled_batches(count, size, seed, epoch)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_each_seed_and_epoch_has_its_own_order() -> None:
    orders = {tuple(shuffled_batches(50, 50, seed, epoch)[0]) for seed in range(3) for epoch in (1, 2, 3)}
    assert len(orders) == 9


@pytest.mark.parametrize("count", [1, EVALUATION_BATCH, EVALUATION_BATCH + 1, 2500])
def test_evaluation_scores_every_example_once(count: int) -> None:
    examples = random_examples(count)
    result = evaluate(FakeLearner(), examples)
    logits, labels = torch.from_numpy(examples.inputs), torch.from_numpy(examples.labels)
    assert result.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item())
    assert result.accuracy == (logits.argmax(1) == labels).double().mean().item()
    assert (result.predictions == logits.argmax(1).numpy()).all()


def test_evaluation_fails_if_an_example_was_not_scored() -> None:
    scored = 1500 - 1500 // EVALUATION_BATCH
    with pytest.raises(RuntimeError, match=f"scored {scored} examples of 1500"):
        evaluate(FakeLearner(drop=1), random_examples(1500))


def test_infinite_logits_in_evaluation_are_a_divergence() -> None:
    examples = random_examples(10)
    examples.inputs[3] = np.inf
    with pytest.raises(TrainingDiverged, match="loss in evaluation is nan"):
        evaluate(FakeLearner(), examples)


def test_cross_entropy_of_huge_logits_is_finite() -> None:
    logits = np.array([[1e4, 0.0], [-1e4, 0.0], [0.0, 0.0]])
    losses = cross_entropy(logits, np.array([1, 0, 1]))
    np.testing.assert_allclose(losses, [1e4, 1e4, np.log(2)])


def test_a_divergence_seen_in_validation_names_step_and_rate(tmp_path: Path) -> None:
    validation = random_examples(10)
    validation.inputs[3] = np.inf
    with pytest.raises(TrainingDiverged, match=r"evaluation is nan at step 3 \(epoch 1\).*rate"):
        fit_fake(tmp_path, validation=validation)


def test_without_a_terminal_each_line_shows_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    fit_fake(tmp_path, "trainer.epochs=1")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" s left")[1] for line in lines] == [" s left"] * 3 + [""]
    assert lines[1].startswith("epoch 1/1  step 2 of 3  loss 1.0000  acc 0.00%")


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_fits_into_80_columns(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    shown = progress.TrainingProgress(100, 999_999, done=500_000)
    row = {"epoch": 100, "train_loss": 0.5171, "train_accuracy": 1.0, "seconds": 123.4}
    with shown.bar:
        shown.step(100, 0.5171, 1.0)
        shown.epoch(row)
        shown.epoch(row | {"validation_loss": 0.0859, "validation_accuracy": 1.0})
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().out))
    assert "epoch 100/100  loss 0.5171  acc 100.00%  123 s" in lines
    assert "epoch 100/100  loss 0.5171  acc 100.00%  val loss 0.0859  val acc 100.00%  123 s" in lines
    (progress_line, *_) = [line for line in lines if "left" in line and "loss 0.5171  acc 100.00%" in line]
    assert progress_line.rstrip().endswith("left")
    assert ("\u2501" in progress_line) == terminal, "a bar"
    assert max(map(len, lines)) <= 80


def test_fit_takes_every_step_and_keeps_the_history(tmp_path: Path) -> None:
    run, learner = fit_fake(tmp_path, "trainer.epochs=2")
    assert [len(batch) for batch, _ in learner.seen] == [40, 40, 20, 40, 40, 20]
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + 2
    assert len((tmp_path / "steps.csv").read_text().splitlines()) == 1 + 6
    assert run.metrics["epochs"] == 2
    assert run.metrics["steps"] == 6


def test_max_steps_ends_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    run, learner = fit_fake(tmp_path, "trainer.epochs=5", "trainer.max_steps=4")
    assert len(learner.seen) == 4
    assert run.metrics["epochs"] == 2
    assert learner.seen[-1][1] < mnist_config(tmp_path).optimizer.lr / 1000, (
        "the schedule ends where training ends"
    )


class ScriptedLearner(FakeLearner):
    """A learner whose validation losses are given, and whose weight is the number of steps taken."""

    def __init__(self, validation_losses: Sequence[float]) -> None:
        super().__init__()
        self.validation_losses = list(validation_losses)
        self.loaded: list[float] = []

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return logits of label 0 whose cross-entropy is the next of the given losses."""
        logits = np.zeros((len(inputs), 2))
        logits[:, 1] = np.log(np.expm1(self.validation_losses.pop(0)))
        return logits

    def weights(self) -> dict[str, NDArray[Any]]:
        return {"w": np.array([float(len(self.seen))])}

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self.loaded += weights["w"].tolist()


@pytest.mark.parametrize(
    ("patience", "losses", "epochs", "best", "said"),
    [
        (2, [3.0, 2.0, 2.5, 2.0, 1.0], 4, 2, "stopped: no lower validation loss in 2 epochs; "),
        (1, [3.0, 4.0, 2.0, 2.0, 2.0], 2, 1, "stopped: no lower validation loss in 1 epoch; "),
        (2, [3.0, 4.0, 2.0, 2.0, 2.0], 5, 3, ""),  # patience runs out after the last epoch
        (9, [5.0, 4.0, 3.0, 2.0, 1.0], 5, 5, ""),
    ],
)
def test_training_stops_when_patience_runs_out_and_the_best_weights_are_restored(
    patience: int,
    losses: list[float],
    epochs: int,
    best: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    learner, words = ScriptedLearner(losses), ["trainer.epochs=5", f"trainer.patience={patience}"]
    validation = Examples(np.zeros((4, 2)), np.zeros(4, np.int64))
    run, _ = fit_fake(tmp_path, *words, validation=validation, learner=learner)
    assert (run.metrics["epochs"], run.metrics["best_epoch"]) == (epochs, best)
    assert [row["validation_loss"] for row in run.rows("history.csv")] == pytest.approx(losses[:epochs])
    assert learner.loaded == [3 * best], "three steps an epoch"
    assert capsys.readouterr().out.splitlines()[-1] == f"{said}restored the weights of epoch {best}"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_at_once(bad: float, tmp_path: Path) -> None:
    learner = FakeLearner(losses=[1.0, 0.9, 0.8, bad, 0.7])
    with pytest.raises(TrainingDiverged, match=r"at step 4 \(epoch 2\).*learning rate is [\d.e-]+"):
        fit_fake(tmp_path, learner=learner)
    assert len(learner.seen) == 4
    assert json.loads((tmp_path / "metrics.json").read_text())["status"] == "diverged"
    assert len((tmp_path / "steps.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.parametrize(
    ("app", "data"),
    [
        ("mnist_cnn", "digits"),
        pytest.param("imdb_rnn", "reviews", marks=pytest.mark.slow),
        ("resnet_transfer", "digit_pictures"),
    ],
)
def test_without_validation_all_examples_are_trained_on(app: str, data: str, tmp_path: Path) -> None:
    model = importlib.import_module(f"apps.{app}.train")
    overrides = [f"data={data}", "debug=smoke"]
    parts = {
        fraction: model.split(model.load_data(config), config)
        for fraction in (0, 0.2)
        for config in [app_config(app, tmp_path, *overrides, f"data.validation_fraction={fraction}")]
    }
    assert len(parts[0][1]) == 0 < len(parts[0.2][1])
    if app != "resnet_transfer":  # which takes per_class images of the rest
        assert len(parts[0][0]) == len(parts[0.2][0]) + len(parts[0.2][1])
    folder = trained(app, tmp_path / "run", *overrides, "data.validation_fraction=0")
    assert "validation_examples" not in json.loads((folder / "metrics.json").read_text())
    assert "validation" not in (folder / "history.csv").read_text()
