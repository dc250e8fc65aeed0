"""A finished run answers without its data set, and runs that were recorded before still do with it."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.data import digits
from shared.errors import DataError
from tests.apps.test_accuracy import needs
from tests.helpers import ROOT, trained
from tools.predict import main

Said = pytest.CaptureFixture[str]
NUMPY = ("framework=numpy", "trainer.threads=1")
RECALL = ("data=recall", "data.keys=16", "data.values=4", "data.pairs=4", "data.longer=[8]")
TEXT = "An awful film."
# Keys that metrics.json of earlier versions lacks in most applications.
NEWER = ("preprocessing", "classes", "vocabulary_sha256")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    for label, words in (("bad", "awful dull"), ("good", "great fun")):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            (folder / label / f"{number}.txt").write_text(f"a {words} film {words}")
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "digit.png"
    Image.fromarray(digits.load().test_images[0]).save(path)
    return str(path)


def own_texts(folder: Path) -> list[str]:
    return ["data=text_folder", f"data.root={folder}", "trainer.batch_size=4"]


def no_data(config: Any, *_: Any) -> Any:
    raise DataError("the data is needed")


def set_loader(app: str, load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"apps.{app}.predict"
    changed = replace(importlib.import_module(name).APPLICATION, load_data=load)
    monkeypatch.setattr(f"{name}.APPLICATION", changed)


def answer(run: Path, text: str, capsys: Said) -> tuple[str, bytes]:
    """Return what is printed, without the chart's path, and the chart."""
    chart = run / "chart.png"
    assert main([str(run), text, "--out", str(chart)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out.replace(str(chart), ""), chart.read_bytes()


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("mnist_cnn", ("data=digits", "model=mlp", "debug=smoke")),
        ("gradient_flow", ("debug=smoke",)),
        ("xor", ("corrections=false", "trainer.epochs=2")),
        ("attention", ("debug=smoke", *RECALL)),
        ("attention", ("model=mean_pooling", "trainer.epochs=1")),
        ("imdb_rnn", ("model=bow", "trainer.epochs=1")),
    ],
)
def test_a_copied_run_says_the_same_as_one_beside_its_data(
    app: str,
    words: tuple[str, ...],
    texts: Path,
    picture: str,
    tmp_path: Path,
    capsys: Said,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("write_charts", "train_method", "compare_with_mean_pooling"):  # which take most of the time
        monkeypatch.setattr(f"apps.{app}.train.{name}", lambda *_: None, raising=False)
    on_texts = "model=bow" in words or "model=mean_pooling" in words
    run = trained(app, tmp_path / "run", *NUMPY, *words, *(own_texts(texts) if on_texts else []))
    capsys.readouterr()
    text = {"xor": "0.3,0.9", "attention": TEXT if on_texts else "k03 v1 k07 v0 k07", "imdb_rnn": TEXT}
    asked = text.get(app, picture)
    older = shutil.copytree(run, tmp_path / "older")
    metrics = json.loads((older / "metrics.json").read_text())
    (older / "metrics.json").write_text(json.dumps({k: v for k, v in metrics.items() if k not in NEWER}))
    by_data = answer(older, asked, capsys)
    set_loader(app, no_data, monkeypatch)
    shutil.rmtree(texts)
    copied = shutil.copytree(run, tmp_path / "elsewhere" / "run")
    assert answer(copied, asked, capsys) == by_data
    assert main([str(older), asked]) == DataError.status
    assert "the data is needed" in capsys.readouterr().err


RUNS = [
    *[("mnist_cnn", f"model={model}", "data.test_limit=50") for model in ("cnn", "fast_cnn", "mlp")],
    ("gradient_flow",),
    ("xor", "corrections=false"),
    ("attention", "data.longer=[24]"),
    ("attention", "data=imdb"),
    *[("imdb_rnn", f"model={model}") for model in ("lstm", "bilstm", "rnn", "bow", "nbsvm")],
    ("resnet_transfer", "data=digit_pictures", "transfer.mode=scratch", "weights=none"),
]


@pytest.mark.slow
@needs("mnist")
@needs("imdb")
@pytest.mark.parametrize("framework", ["numpy", "torch", "keras"])
@pytest.mark.parametrize("words", RUNS, ids=lambda words: "-".join(words))
def test_a_machine_that_has_never_seen_the_data_answers(
    words: tuple[str, ...], framework: str, picture: str, tmp_path: Path, capsys: Said
) -> None:
    app, *overrides = words
    trained(app, tmp_path / "run", "debug=smoke", f"framework={framework}", *overrides)
    is_text = app == "imdb_rnn" or "data=imdb" in overrides
    asked = {"xor": "0,1", "attention": "k03 v1 k07 v0 k07"}.get(app, picture)
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(tmp_path / "run", tmp_path / "elsewhere" / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    before = {key: value for key, value in metrics.items() if key not in NEWER}
    if app != "resnet_transfer":  # it has always answered without its data
        (tmp_path / "run" / "metrics.json").write_text(json.dumps(before))
    capsys.readouterr()
    text = TEXT if is_text else asked
    assert main([str(tmp_path / "run"), text]) == 0
    beside_data = capsys.readouterr().out.replace(f"{tmp_path}/", "")
    elsewhere = {key: value for key, value in os.environ.items() if key != "DATA_ARCHIVES"}
    elsewhere |= {f"{name}_proxy": "http://127.0.0.1:9" for name in ("http", "https")}
    done = subprocess.run(
        [sys.executable, "-m", "tools.predict", "run", text],
        cwd=tmp_path / "elsewhere",
        env=elsewhere | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace(f"{tmp_path}/", "") == beside_data
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["run"], "nothing was downloaded"
