"""Evaluating a finished run again, and repeating it."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.mnist_cnn import data as mnist_data
from apps.mnist_cnn.config import Config
from apps.mnist_cnn.data import load_data
from apps.mnist_cnn.predict import APPLICATION
from apps.mnist_cnn.train import train
from shared.application import FinishedRun
from shared.compose import compose
from shared.errors import ConfigError, DataError
from shared.runs.repeat import rerun_overrides
from tests.helpers import ROOT, mnist_config
from tools import cli, rerun
from tools.evaluate import SCORES, evaluate_run, main

SMALL = ["framework=numpy", "model=mlp", "trainer.epochs=1", "data.test_limit=200"]
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
    """A small run, made once."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(mnist_config(folder, *SMALL, "trainer.threads=1"))
    return folder


def metrics_in(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return content


def evaluate(folder: Path, *words: str) -> dict[str, Any]:
    return evaluate_run(FinishedRun.open(APPLICATION, folder), words)


def test_the_scores_of_a_run_come_out_to_the_last_bit(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again.json"
    assert main([str(finished), "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == metrics_in(finished)
    said = capsys.readouterr().out
    assert re.match(r"test: accuracy \d+\.\d\d% \(\d+ of 200 right\), loss .* on digits", said)
    assert said.endswith("\nthe same as in metrics.json, to the last bit\n")


def test_the_words_choose_what_is_scored(finished: Path) -> None:
    few = evaluate(finished, "data.test_limit=50")
    all_of_them = evaluate(finished, "data.test_limit=null", "data=digits")
    assert (few["test_examples"], all_of_them["test_examples"]) == (50, 360)
    assert few["dataset_sha256"] != metrics_in(finished)["dataset_sha256"]
    assert few["test_accuracy"] != metrics_in(finished)["test_accuracy"]


def test_pixels_are_standardised_by_the_data_of_the_run(finished: Path, tmp_path: Path) -> None:
    config: Config = mnist_config(tmp_path, *SMALL)
    own = load_data(config)
    inverted = type(own)(
        "inverted",
        255 - own.train_images,
        own.train_labels,
        255 - own.test_images,
        own.test_labels,
        own.classes,
        own.embedded,
        own.source,
    )
    usual = mnist_data.test_examples(own, own, config).inputs[:]
    other = mnist_data.test_examples(own, inverted, config).inputs[:]
    low, high = usual.min(), usual.max()
    np.testing.assert_allclose(other, low + high - usual, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=1"], "only data=NAME and data.KEY=VALUE can be changed"),
        (["data.test_limt=1"], "did you mean 'data.test_limit'"),
        (["data=nothing"], "unknown data 'nothing'; choose from digits, mnist"),
        (["data=imdb"], "unknown data 'imdb'; choose from digits, mnist"),
        (["data.test_limit=-1"], "data.test_limit should be"),
        (["what"], "what: only data=NAME and data.KEY=VALUE"),
        (["data.test_limit=1,2"], "data.test_limit=1,2 holds several values"),
        (["~data.test_limit"], "~data.test_limit: only data=NAME"),
        (["data.test_limit=${nothing}"], "data.test_limit should be"),
    ],
)
def test_words_that_are_refused(finished: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        evaluate(finished, *words)
    assert len(str(caught.value).splitlines()) <= 2


def test_other_classes_are_refused(finished: Path) -> None:
    def load(config: Config) -> Any:
        images = load_data(config)
        if config.data.test_limit == 7:
            return replace(images, classes=(*images.classes[:9], "another"))
        return images

    changed = replace(APPLICATION, load_data=load)
    with pytest.raises(ConfigError, match="digits has other classes than digits"):
        evaluate_run(FinishedRun.open(changed, finished), ["data.test_limit=7"])


def test_data_that_is_not_what_it_was_is_refused(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(finished, folder)
    content = json.dumps(metrics_in(folder) | {"dataset_sha256": "0"})
    (folder / "metrics.json").write_text(content)
    with pytest.raises(DataError, match="is not the data that this run was trained on"):
        evaluate(folder)


INCOMPLETE: dict[str, Any] = {
    "a list": [1],
    "no status": {},
    "no digest": {"dataset_sha256": None},
    "an accuracy in words": {"test_accuracy": "much"},
    "no number": {"test_loss": float("nan")},
    "more than a float holds": {"train_seconds": 10**400},
    "a truth": {"test_examples": True},
}


@pytest.mark.parametrize("changes", INCOMPLETE.values(), ids=INCOMPLETE)
def test_metrics_that_no_run_has_written_are_said_in_a_line(
    changes: Any, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    content = metrics_in(finished) | changes if changes and isinstance(changes, dict) else changes
    (folder / "metrics.json").write_text(json.dumps(content))
    assert main([str(folder)]) == DataError.status
    assert rerun.main([str(folder)]) == DataError.status
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("metrics.json is not what a run has written" in line for line in said)


def test_metrics_nested_without_end_are_said_in_a_line(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"metrics\.json cannot be read"):
        evaluate(tmp_path / "run")


def start(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def trained(app: str, folder: Path, *words: str) -> Path:
    smoke = ["debug=smoke", "trainer.threads=1", f"hydra.run.dir={folder}"]
    result = start(f"apps.{app}", *smoke, *RUNS[app], *words)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "keras", "numpy"])
@pytest.mark.parametrize("app", RUNS)
def test_every_application_evaluates_to_the_last_bit(app: str, framework: str, tmp_path: Path) -> None:
    folder = trained(app, tmp_path / "run", f"framework={framework}")
    out = tmp_path / "again.json"
    result = start("tools.evaluate", str(folder), "--out", str(out))
    assert result.returncode == 0, result.stderr
    assert "to the last bit" in result.stdout
    again, before = json.loads(out.read_text()), metrics_in(folder)
    assert [again[key] for key in SCORES] == [before[key] for key in SCORES]


@pytest.mark.slow
def test_texts_with_another_vocabulary_are_refused(tmp_path: Path) -> None:
    folder = trained("imdb_rnn", tmp_path / "run", "framework=numpy")
    for label in ("bad", "good"):
        (tmp_path / "own" / label).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "own" / label / f"{number}.txt").write_text(f"a {label} film {number}")
    words = ("data=text_folder", f"data.root={tmp_path}/own")
    result = start("tools.evaluate", str(folder), *words)
    assert result.returncode == 2
    assert re.fullmatch("error: text_folder has another .* than reviews.*\n", result.stderr)


@pytest.mark.slow
def test_a_repeated_run_is_the_same_and_a_changed_one_is_not(finished: Path, tmp_path: Path) -> None:
    result = start("tools.rerun", str(finished), "--out", str(tmp_path / "again, (1)"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "the same to the last bit"
    folder = tmp_path / "changed"
    shutil.copytree(finished, folder)
    changed = metrics_in(folder)
    changed["test_accuracy"] += 0.01
    changed["versions"]["numpy"] = "0.1"
    changed["git"]["commit"] = "0123"
    (folder / "metrics.json").write_text(json.dumps(changed))
    result = start("tools.rerun", str(folder), "--out", str(tmp_path / "again"))
    assert result.returncode == cli.FAILED_CHECK
    assert re.fullmatch(r"accuracy differs by -1\.00 points \(.*%, now .*%\)", result.stdout.splitlines()[-1])
    warned = result.stderr.splitlines()
    assert f"warning: versions.numpy was 0.1, is {np.__version__}" in warned
    assert any(line.startswith("warning: git.commit was 0123, is ") for line in warned)


def test_what_cannot_be_repeated_is_said_in_a_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("older", "newer", "unfinished", "diverged", "broken"):
        shutil.copytree(finished, tmp_path / name)
    config = (finished / "config.yaml").read_text()
    (tmp_path / "older" / "config.yaml").write_text(config + "gone: 1\n")
    (tmp_path / "newer" / "config.yaml").write_text(config.replace("  clip_norm: null\n", ""))
    (tmp_path / "unfinished" / "metrics.json").unlink()
    ended = metrics_in(finished) | {"status": "diverged"}
    (tmp_path / "diverged" / "metrics.json").write_text(json.dumps(ended))
    (tmp_path / "broken" / "config.yaml").write_text(config.replace("seed: 0", "seed: -1"))
    for name, message in {
        "nowhere": "no config.yaml",
        "older": "unknown key 'gone'",
        "newer": "trainer.clip_norm is missing",
        "unfinished": "has not ended",
        "diverged": "ended as diverged",
        "broken": "seed should be",
    }.items():
        assert rerun.main([str(tmp_path / name)]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1, said
        assert message in said[0]


def test_a_run_of_another_version_names_its_commit(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "older"
    shutil.copytree(finished, folder)
    config = (finished / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("  clip_norm: null\n", ""))
    here = metrics_in(finished)["git"]["commit"]
    made = {"0123456789abcdef": True, here: False, "; rm -r": False, None: False}
    for commit, advised in made.items():
        git = {"commit": commit, "dirty": False}
        (folder / "metrics.json").write_text(json.dumps(metrics_in(finished) | {"git": git}))
        for command in (rerun.main, main):
            assert command([str(folder)]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert "trainer.clip_norm is missing" in line
            advice = "; commit 0123456789 made this run: git checkout 0123456789 to use it"
            assert (advice in line) == advised
            assert ("git checkout" in line) == advised


def test_a_folder_that_hydra_would_resolve_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rerun.main([str(finished), "--out", str(tmp_path / "a${b}")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot have ${ in its path" in line
    assert list(tmp_path.iterdir()) == []


def test_the_command_of_a_real_run_composes_to_it(finished: Path) -> None:
    config = FinishedRun.open(APPLICATION, finished).config
    again = compose("mnist_cnn", tuple(rerun_overrides(config.model_dump()))) | {"run_dir": config.run_dir}
    assert again == config.model_dump()


def test_differences_are_said_and_equal_things_are_not() -> None:
    before = {"versions": {"numpy": "1"}, "git": {"commit": "a", "dirty": False}}
    assert rerun.differences(before, before) == []
    after = {"versions": {"numpy": "2"}, "git": {"commit": "a", "dirty": True}}
    assert rerun.differences(before, after) == ["versions.numpy was 1, is 2", "git.dirty was False, is True"]
    (line,) = rerun.differences(after, after)
    assert line.startswith("both runs have uncommitted changes")
