"""The programs of the decks as experiments, conf/experiment: each runs, and its numbers are the slide's."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision  # type: ignore[import-untyped]

from shared import CONF
from shared.compose import read_yaml
from shared.errors import ConfigError
from tests.forks import Forks
from tests.helpers import PUBLISHED_LOSSES, PUBLISHED_OUTPUTS, app_config

EXPERIMENTS: dict[str, Any] = {path.stem: read_yaml(path) for path in (CONF / "experiment").glob("*.yaml")}


def config_of(experiment: str, folder: Path, *overrides: str) -> Any:
    return app_config(EXPERIMENTS[experiment]["app"], folder, f"+experiment={experiment}", *overrides)


SLOW = ("a13", "b12", "c11")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in sorted(EXPERIMENTS)]
)
def test_every_experiment_runs(name: str, tmp_path: Path) -> None:
    """With `debug=smoke`, and stand-ins for downloads."""
    app, words = EXPERIMENTS[name]["app"], ["debug=smoke"]
    words += ["data.download=false"] if app != "xor" else []
    if app == "resnet_transfer":
        file = tmp_path / "weights.pth"
        torch.save(torchvision.models.resnet18().state_dict(), file)
        words += [f"weights={file}", "model.width=64", "data.size=32"]
    config = config_of(name, tmp_path / "run", *words)
    metrics = importlib.import_module(f"apps.{app}.train").train(config)
    assert metrics["status"] == "done"
    assert metrics["framework"] == EXPERIMENTS[name]["framework"]


def test_the_printed_trace_of_deck_d(tmp_path: Path, forks: Forks) -> None:
    said = forks.run("apps.xor", "+experiment=d5", f"hydra.run.dir={tmp_path}").stdout.splitlines()
    losses = [float(line.split()[-1]) for line in said if line.startswith("iteration ")]
    assert losses == pytest.approx(PUBLISHED_LOSSES, rel=1e-10)
    outputs = [line.split()[-1] for line in said if "network:" in line]
    assert outputs == [f"{output:.8f}" for output in PUBLISHED_OUTPUTS]


@pytest.mark.slow
def test_deck_a_does_not_learn_xor_and_deck_c_does(tmp_path: Path) -> None:
    train = importlib.import_module("apps.xor.train").train
    for seed in range(2):  # docs/decks.md has five
        a7 = train(config_of("a7", tmp_path / f"a7_{seed}", f"model.published_seed={seed}"))
        c7 = train(config_of("c7", tmp_path / f"c7_{seed}", f"seed={seed}"))
        assert a7["test_loss"] > 0.2, "mean squared error: a guess has 0.25"
        assert c7["test_accuracy"] == 1


def test_an_experiment_of_another_application_is_refused(tmp_path: Path) -> None:
    message = r"^this configuration is for mnist_cnn, not xor: start python -m apps\.mnist_cnn$"
    with pytest.raises(ConfigError, match=message):
        app_config("xor", tmp_path, "+experiment=a12")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("+experiment=b13", "unknown experiment 'b13' (did you mean 'b1"),
        ("experiment=a12", "+experiment=a12"),
    ],
)
def test_a_mistyped_experiment_is_explained(typed: str, said: str, forks: Forks) -> None:
    result = forks.run("apps.mnist_cnn", typed)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) <= 2
