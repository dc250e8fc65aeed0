"""export.py of every application: the file gives the network's logits; what does not is said."""

import copy
import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch

from apps.xor.export import EXPORT as XOR
from shared.errors import ConfigError
from tests.helpers import ROOT, trained
from tools.evaluate import restored
from tools.export import DIFFERENT, Export, exportable, exported, main

Said = pytest.CaptureFixture[str]
TEXTS = ("data=reviews", "debug=smoke", "model.embedding=8")


@pytest.fixture(scope="module")
def xor_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "xor"
    return trained("xor", folder, "debug=smoke", "trainer.threads=null")


def scaled(network: Any) -> Any:
    """A network that is not the one that was trained: its last bias is another one."""
    changed = copy.deepcopy(network)
    with torch.no_grad():
        changed.fc2.bias += 0.01
    return changed


def test_a_file_gives_the_logits_of_its_network(xor_run: Path, capsys: Said) -> None:
    assert main(XOR, "x", [str(xor_run)]) == 0
    assert "held against the network on 4 test examples of xor: logits" in capsys.readouterr().out
    place = xor_run / "export.onnx"
    result = json.loads((xor_run / "export.json").read_text())
    assert result["agrees"]
    assert result["classes_that_differ"] == 0
    assert result["relative_difference"] <= result["bound"] == 1e-4
    onnx.checker.check_model(str(place), full_check=True)
    written = onnx.load(str(place))
    assert {note.key: note.value for note in written.metadata_props}["input"] == result["input"]
    assert str(ROOT).encode() not in place.read_bytes(), "nothing of this machine"
    run = restored(XOR.application, xor_run, exportable(XOR, xor_run))
    session = onnxruntime.InferenceSession(str(place))
    for count in (1, 7):
        rows = np.random.default_rng(count).normal(size=(count, 2))
        (logits,) = session.run(None, {"rows": rows.astype(np.float32)})
        np.testing.assert_allclose(logits, run.learner.logits(rows), rtol=1e-4, atol=1e-6)


def test_a_file_that_gives_something_else_is_said(xor_run: Path, tmp_path: Path, capsys: Said) -> None:
    out = tmp_path / "wrong.onnx"
    wrong = replace(XOR, written=scaled)
    assert main(wrong, "x", [str(xor_run), "--out", str(out)]) == DIFFERENT == 5
    assert "does not give the network's logits" in capsys.readouterr().err
    result = json.loads((tmp_path / "wrong.json").read_text())
    assert not result["agrees"]
    assert result["largest_difference"] == pytest.approx(0.01, rel=1e-3)


def test_what_cannot_be_exported_is_said_in_a_line(xor_run: Path, tmp_path: Path, capsys: Said) -> None:
    own = trained("xor", tmp_path / "numpy", "framework=numpy", "debug=smoke")
    before = sorted(own.iterdir())
    (tmp_path / "file").touch()
    for words, message in (
        ([str(own)], "is a run of numpy: only torch's are exported; train again with"),
        ([str(tmp_path)], "is not a run folder"),
        ([str(xor_run), "--out", str(tmp_path / "network.pt")], "the name must end in .onnx"),
        ([str(xor_run), "--out", f"{tmp_path}/file/a.onnx"], "cannot write"),
    ):
        assert main(XOR, "x", words) == 2
        said = capsys.readouterr().err
        assert message in said
        assert len(said.splitlines()) == 1
    assert sorted(own.iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"numpy", "file"}


RUNS = [
    ("mnist_cnn", "data=digits", "model=cnn", "debug=smoke"),
    ("mnist_cnn", "data=digits", "model=fast_cnn", "debug=smoke"),
    ("mnist_cnn", "data=digits", "model=mlp", "trainer.precision=bfloat16", "debug=smoke"),
    ("xor", "model=published", "corrections=false", "trainer.epochs=1"),
    *[("imdb_rnn", *TEXTS, f"model={model}") for model in ("lstm", "rnn", "bow")],
    *[
        ("attention", *data, f"model={model}")
        for data in (("data=recall", "debug=smoke", "data.longer=[24]"), TEXTS)
        for model in ("single_head", "multi_head", "mean_pooling")
    ],
    ("resnet_transfer", "data=digit_pictures", "debug=smoke", "transfer.mode=scratch"),
    (
        "resnet_transfer",
        "data=digit_pictures",
        "debug=smoke",
        "transfer.mode=scratch",
        "model=resnet50",
        "model.stem=small",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join(run[:4]))
def test_every_network_can_be_written(run: tuple[str, ...], tmp_path: Path) -> None:
    """Its whole test set agrees; so do a batch of one and, of ids, other lengths."""
    app, *words = run
    if app == "resnet_transfer":
        words += ["weights=none"]
    folder = trained(app, tmp_path / "run", "trainer.threads=null", *words)
    export: Export = importlib.import_module(f"apps.{app}.export").EXPORT
    result, place = exported(export, folder, None)
    assert result["agrees"], result
    assert result["classes_that_differ"] == 0
    assert result["test_examples"] == json.loads((folder / "metrics.json").read_text())["test_examples"]
    finished = restored(export.application, folder, exportable(export, folder))
    session = onnxruntime.InferenceSession(str(place))
    (given,) = session.get_inputs()
    assert tuple(given.shape[: len(export.axes)]) == export.axes
    one = export.application.test_set(finished.data, finished.data, finished.config).inputs[:1]
    lengths = (3, 33, 301) if len(export.axes) == 2 else one.shape[1:2]
    for length in lengths:
        batch = np.resize(one, (1, length, *one.shape[2:]))
        kind = {"tensor(float)": np.float32, "tensor(double)": np.float64}.get(given.type)
        (logits,) = session.run(None, {given.name: batch.astype(kind or batch.dtype)})
        expected = finished.learner.logits(batch)
        np.testing.assert_allclose(logits, expected, atol=1e-4 * abs(expected).max())


@pytest.mark.slow
def test_what_onnxruntime_does_not_run_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = trained(
        "imdb_rnn", tmp_path / "run", *TEXTS, "trainer.precision=float64", "trainer.threads=null"
    )
    before = sorted(folder.iterdir())
    export = importlib.import_module("apps.imdb_rnn.export").EXPORT
    with pytest.raises(ConfigError, match=r"onnxruntime cannot run this network.* double"):
        exported(export, folder, None)
    assert sorted(folder.iterdir()) == before
