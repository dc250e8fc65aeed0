"""Evaluating a finished run again, and repeating it."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.mnist_cnn.config import Config
from apps.mnist_cnn.data import load_data
from apps.mnist_cnn.predict import APPLICATION
from apps.mnist_cnn.predict import test_examples as mnist_test_examples
from shared.application import FinishedRun
from shared.errors import ConfigError, DataError
from shared.runs.preprocessing import Preprocessing
from shared.training import loop
from tests.helpers import mnist_config, trained
from tools import cli, rerun
from tools.evaluate import comparison, evaluate_run, main
from tools.runs import latest, open_run

Capture = pytest.CaptureFixture[str]
SMALL = ["framework=numpy", "model=mlp", "trainer.epochs=1", "trainer.threads=1", "data.test_limit=200"]
RUNS = {
    "mnist_cnn": ["data=digits", "model=fast_cnn"],
    "imdb_rnn": ["data=reviews", "model=rnn", "model.hidden=8", "model.embedding=8"],
    "attention": ["data=recall"],
    "resnet_transfer": ["data=digit_pictures", "transfer.mode=scratch", "weights=none"],
    "xor": [],
    "gradient_flow": [],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("mnist_cnn", tmp_path_factory.mktemp("runs") / "run", "data=digits", *SMALL)


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A run folder that a test may change."""
    return shutil.copytree(finished, tmp_path / "copy")


def metrics_in(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return content


def change_metrics(folder: Path, changes: dict[str, Any]) -> None:
    (folder / "metrics.json").write_text(json.dumps(metrics_in(folder) | changes))


def evaluate(folder: Path, *words: str) -> dict[str, Any]:
    return evaluate_run(open_run(str(folder)), words)


def test_the_scores_of_a_run_come_out_to_the_last_bit(
    finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "again.json"
    assert main([str(finished), "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == metrics_in(finished)
    printed = capsys.readouterr().out
    for name in ("metrics.json", "weights.safetensors"):
        before = (finished / name).read_bytes()
        assert main([str(finished), "--out", str(finished / name)]) == 2
        assert f"{name}: it belongs to the run; choose another name\n" in capsys.readouterr().err
        assert (finished / name).read_bytes() == before
    assert re.match(r"test: accuracy \d+\.\d\d% \(\d+ of 200 right\), loss .* on digits", printed)
    assert printed.endswith("\nthe same as in metrics.json, to the last bit\n")


def test_other_data_than_that_of_the_run_is_reported(copy: Path, capsys: Capture) -> None:
    change_metrics(copy, {"dataset_sha256": "0"})
    assert main([str(copy)]) == DataError.status
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not the data that this run was trained on (digits, embedded sample" in line


def test_the_overrides_choose_the_data(finished: Path) -> None:
    few = evaluate(finished, "data.test_limit=50")
    all_of_them = evaluate(finished, "data.test_limit=null", "data=digits")
    assert (few["dataset"], few["test_examples"], all_of_them["test_examples"]) == ("digits", 50, 360)
    assert few["dataset_sha256"] != metrics_in(finished)["dataset_sha256"]
    assert few["test_accuracy"] != metrics_in(finished)["test_accuracy"]


def test_pixels_are_standardized_by_the_data_of_the_run(tmp_path: Path) -> None:
    config: Config = mnist_config(tmp_path, *SMALL)
    own = load_data(config)
    inverted = replace(own, train_images=255 - own.train_images, test_images=255 - own.test_images)
    known = Preprocessing(name=own.name, classes=own.classes, mean_and_std=own.mean_and_std)
    usual, other = (mnist_test_examples(known, data, config).inputs[:] for data in (own, inverted))
    np.testing.assert_allclose(other, usual.min() + usual.max() - usual, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimizer.lr=1", "only data=NAME and data.KEY=VALUE can be changed"),
        ("data.test_limt=1", "did you mean 'data.test_limit'"),
        ("data=nothing", "unknown data 'nothing'; choose from digits, mnist"),
        ("data=imdb", "unknown data 'imdb'; choose from digits, mnist"),
        ("data.test_limit=-1", "data.test_limit should be"),
        ("what", "what: only data=NAME and data.KEY=VALUE"),
        ("data.test_limit=1,2", "data.test_limit=1,2 holds several values"),
        ("~data.test_limit", "~data.test_limit: only data=NAME"),
        ("data.test_limit=${nothing}", "data.test_limit should be"),
    ],
)
def test_wrong_overrides_are_refused(finished: Path, word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        evaluate(finished, word)
    assert len(str(caught.value).splitlines()) <= 2


def test_other_classes_are_refused(finished: Path) -> None:
    def load(config: Config) -> Any:
        images = load_data(config)
        other = (*images.classes[:9], "another")
        return replace(images, classes=other) if config.data.test_limit == 7 else images

    changed = replace(APPLICATION, load_data=load)
    with pytest.raises(ConfigError, match=r"digits has other classes \(0, .*, another\) than digits"):
        evaluate_run(FinishedRun.open(changed, finished), ["data.test_limit=7"])


INVALID: dict[str, Any] = {
    "[1]": "is not what a run has written",
    "{}": "is not what a run has written",
    "[" * 100_000: "cannot be read",
    '{"dataset_sha256": null}': "is not what a run has written: dataset_sha256",
    '{"test_accuracy": "much"}': "is not what a run has written: test_accuracy",
    '{"test_loss": NaN}': "is not what a run has written: test_loss",
    f'{{"train_seconds": {10**400}}}': "is not what a run has written: train_seconds",
    '{"test_examples": true}': "is not what a run has written: test_examples",
}


@pytest.mark.parametrize("text", INVALID, ids=lambda text: text[:30])
def test_invalid_metrics_are_reported_in_a_line(text: str, copy: Path, capsys: Capture) -> None:
    if text.startswith('{"'):
        change_metrics(copy, json.loads(text))
    else:
        (copy / "metrics.json").write_text(text)
    assert main([str(copy)]) == rerun.main([str(copy)]) == DataError.status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(f"metrics.json {INVALID[text]}" in line for line in lines)


@pytest.mark.parametrize("app", ["nobody", "../tests", "mnist_cnn.data", "os", "__pycache__", "[xor]", ""])
def test_only_applications_are_imported(app: str, copy: Path, capsys: Capture) -> None:
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("app: mnist_cnn", f"app: {app}"))
    assert main([str(copy)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there are attention, gradient_flow, imdb_rnn, mnist_cnn, resnet_transfer, xor" in line


def test_latest_is_the_newest_finished_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there is no finished run in outputs"):
        latest()
    for number, name in enumerate(("mnist_cnn/new", "xor/sweep_1/0", "xor/old", "xor/failed", "xor/damaged")):
        folder = shutil.copytree(finished, tmp_path / "outputs" / name)
        os.utime(folder / "metrics.json", (number, number))
    change_metrics(folder.parent / "failed", {"status": "failed"})
    (folder / "metrics.json").write_text("{")
    os.utime(tmp_path / "outputs/mnist_cnn/new/metrics.json", (9, 9))
    assert latest() == Path("outputs/mnist_cnn/new")
    assert open_run("latest").config.app == "mnist_cnn"


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "keras", "numpy"])
@pytest.mark.parametrize("app", RUNS)
def test_every_application_evaluates_to_the_last_bit(app: str, framework: str, tmp_path: Path) -> None:
    smoke = ["debug=smoke", "trainer.threads=null", f"framework={framework}"]
    folder = trained(app, tmp_path / "run", *smoke, *RUNS[app])
    assert comparison(evaluate(folder), metrics_in(folder)).startswith("the same as in metrics.json")


@pytest.mark.parametrize(
    ("app", "data"),
    [pytest.param("imdb_rnn", RUNS["imdb_rnn"], marks=pytest.mark.slow), ("attention", ["data=reviews"])],
)
def test_own_texts_are_read_with_the_vocabulary_of_the_run(
    app: str, data: list[str], tmp_path: Path, capsys: Capture
) -> None:
    """Own texts of the classes and words of the run; a folder with nothing to train on is enough."""
    folder = trained(app, tmp_path / "run", "debug=smoke", "framework=numpy", *data)
    run = open_run(str(folder))
    documents = run.data.test
    for number, label in enumerate(documents.labels[:40]):
        place = tmp_path / "own" / "test" / run.data.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        words = run.data.decode(documents.take(np.array([number])).ids)
        (place / f"{number}.txt").write_text(" ".join(words))
    (tmp_path / "own" / "train").mkdir()
    found = evaluate(folder, "data=text_folder", f"data.root={tmp_path}/own")
    same = replace(run.data, test=documents.take(np.arange(40)))
    texts = run.application.test_examples(run.data, same, run.config)
    assert (found["test_examples"], found["dataset"]) == (40, "text_folder")
    assert found["test_accuracy"] == loop.evaluate(run.learner, texts).accuracy
    with pytest.raises(ConfigError, match="reviews has another vocabulary than reviews, which the network"):
        evaluate(folder, "data.vocabulary_size=20")
    (tmp_path / "own" / "test" / "neg").rename(tmp_path / "own" / "test" / "bad")
    with pytest.raises(ConfigError, match=r"text_folder has other classes \(bad, pos\) than reviews"):
        evaluate(folder, "data=text_folder", f"data.root={tmp_path}/own")


@pytest.mark.slow
def test_a_repeated_run_is_the_same_and_a_changed_one_is_not(
    copy: Path, tmp_path: Path, capfd: Capture
) -> None:
    assert rerun.main([str(copy), "--out", str(tmp_path / "again, (1)")]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "the same to the last bit"
    before = metrics_in(copy)
    changes: dict[str, Any] = {"test_accuracy": before["test_accuracy"] + 0.01}
    changes["versions"] = before["versions"] | {"numpy": "0.1"}
    change_metrics(copy, changes | {"git": before["git"] | {"commit": "0123"}})
    assert rerun.main([str(copy), "--out", str(tmp_path / "again")]) == cli.FAILED_CHECK
    printed = capfd.readouterr()
    last = printed.out.splitlines()[-1]
    assert re.fullmatch(r"accuracy differs by -1\.00 points \(.*%, now .*%\)", last)
    assert f"warning: versions.numpy was 0.1, is {np.__version__}" in printed.err
    assert "warning: git.commit was 0123, is " in printed.err


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("config.yaml", "seed: 0", "seed: 0\ngone: 1", "unknown key 'gone'"),
        ("config.yaml", "seed: 0", "seed: -1", "seed should be"),
        ("metrics.json", '"done"', '"diverged"', "ended as diverged"),
        ("metrics.json", None, "", "has not ended"),
    ],
)
def test_a_run_that_cannot_be_repeated_is_reported_in_a_line(
    file: str, old: str | None, new: str, message: str, copy: Path, capsys: Capture
) -> None:
    if old is None:
        (copy / file).unlink()
    else:
        (copy / file).write_text((copy / file).read_text().replace(old, new))
    assert rerun.main([str(copy)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_run_of_another_version_names_its_commit(copy: Path, capsys: Capture) -> None:
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("  clip_norm: null\n", ""))
    here = metrics_in(copy)["git"]["commit"]
    for commit, advised in {"0123456789abcdef": True, here: False, "; rm -r": False, None: False}.items():
        change_metrics(copy, {"git": {"commit": commit, "dirty": False}})
        for command in (rerun.main, main):
            assert command([str(copy)]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert "trainer.clip_norm is missing" in line
            advice = "; commit 0123456789 made this run: git checkout 0123456789 to use it"
            assert (advice in line) == ("git checkout" in line) == advised


def test_a_folder_that_hydra_would_resolve_is_refused(
    finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert rerun.main([str(finished), "--out", str(tmp_path / "a${b}")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot have ${ in its path" in line
    assert list(tmp_path.iterdir()) == []


def test_differences_are_listed() -> None:
    before = {"versions": {"numpy": "1"}, "git": {"commit": "a", "dirty": False}}
    assert rerun.differences(before, before) == []
    after = {"versions": {"numpy": "2"}, "git": {"commit": "a", "dirty": True}}
    assert rerun.differences(before, after) == ["versions.numpy was 1, is 2", "git.dirty was False, is True"]
    (line,) = rerun.differences(after, after)
    assert line.startswith("both runs have uncommitted changes")
