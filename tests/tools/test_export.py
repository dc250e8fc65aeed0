"""ONNX files give the logits of their networks; a file that does not is reported."""

import copy
import json
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch

from apps.xor.predict import APPLICATION as XOR
from shared.application import Export, FinishedRun
from shared.errors import ConfigError, DataError
from tests.helpers import ROOT, trained
from tools.cli import FAILED_CHECK
from tools.export import FORMATS, export, main
from tools.runs import open_run

Said = pytest.CaptureFixture[str]
TEXTS = ("data=reviews", "debug=smoke", "model.embedding=8")


@pytest.fixture(scope="module")
def xor_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "xor"
    return trained("xor", folder, "debug=smoke", "trainer.threads=null")


def with_another_bias(network: Any, file_format: str) -> Any:
    """A network that is not the one that was trained: its last bias is another one."""
    changed = copy.deepcopy(network)
    with torch.no_grad():
        changed.fc2.bias += 0.01
    return changed


def test_a_file_gives_the_logits_of_its_network(xor_run: Path, capsys: Said) -> None:
    assert main([str(xor_run)]) == 0
    assert "compared with the network on 4 test examples of xor: logits" in capsys.readouterr().out
    place = xor_run / "export.onnx"
    result = json.loads((xor_run / "export.json").read_text())
    assert result["agrees"]
    assert result["classes_that_differ"] == 0
    assert result["relative_difference"] <= result["bound"] == 1e-4
    onnx.checker.check_model(str(place), full_check=True)
    written = onnx.load(str(place))
    assert {note.key: note.value for note in written.metadata_props}["input"] == result["input"]
    assert str(ROOT).encode() not in place.read_bytes(), "nothing of this machine"
    run = FinishedRun.open(XOR, xor_run)
    session = onnxruntime.InferenceSession(str(place))
    for count in (1, 7):
        rows = np.random.default_rng(count).normal(size=(count, 2))
        (logits,) = session.run(None, {"rows": rows.astype(np.float32)})
        np.testing.assert_allclose(logits, run.learner.logits(rows), rtol=1e-4, atol=1e-6)


LOAD = {
    "torch": "import torch; run = torch.export.load(sys.argv[1]).module()\n"
    "logits = [run(torch.from_numpy(batch)).detach() for batch in batches]",
    "keras": "import keras; run = keras.saving.load_model(sys.argv[1])\n"
    "logits = [run(batch) for batch in batches]",
}


def logits_elsewhere(path: Path, file_format: str, batches: list[Any], folder: Path) -> list[Any]:
    """Return the logits of a file for each batch, in a process that cannot import this repository."""
    np.savez(folder / "inputs.npz", *batches)
    program = f"""
import importlib.util, sys
import numpy as np
assert not any(importlib.util.find_spec(name) for name in ("apps", "shared", "tools"))
batches = [*np.load("inputs.npz").values()]
{LOAD[file_format]}
np.savez("logits.npz", *map(np.asarray, logits))
"""
    # Without .pth files, which may lead to a repository.
    start = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n{program}"
    command = [sys.executable, "-I", "-S", "-c", start, str(path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [*np.load(folder / "logits.npz").values()]


@pytest.mark.parametrize("file_format", ["torch", "keras"])
def test_a_file_of_a_framework_gives_the_logits_of_its_network(
    file_format: str, xor_run: Path, tmp_path: Path, capsys: Said
) -> None:
    run = xor_run
    if file_format == "keras":
        run = trained("xor", tmp_path / "run", "framework=keras", "debug=smoke", "trainer.threads=null")
    assert main([str(run), "--format", file_format]) == 0
    assert "compared with the network on 4 test examples of xor: logits" in capsys.readouterr().out
    suffix = {"torch": "pt2", "keras": "keras"}[file_format]
    result = json.loads((run / f"export.{suffix}.json").read_text())
    assert result["agrees"]
    assert not result["generated"]
    with zipfile.ZipFile(run / f"export.{suffix}") as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    assert any(b"rows (batch, 2): two bits" in content for content in contents), "the notes"
    assert not any(str(ROOT).encode() in content for content in contents), "nothing of this machine"


def test_a_network_trained_on_a_gpu_is_exported_from_the_cpu(
    xor_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(  # torch's device `meta` stands in for the GPU
        "shared.training.torch_learner.device_of",
        lambda trainer: torch.device("cpu" if trainer.device == "cpu" else "meta"),
    )
    assert main([str(xor_run), "--out", str(tmp_path / "a.onnx")]) == 0


def test_random_inputs_are_compared_without_the_data(
    xor_run: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(config: Any) -> Any:
        raise DataError("the data is not at hand")

    monkeypatch.setattr("apps.xor.predict.APPLICATION", replace(XOR, load_data=no_data))
    assert main([str(xor_run), "--format", "torch", "--out", str(tmp_path / "a.pt2")]) == 0
    assert (
        "compared with the network on 250 random inputs, without the data set xor" in capsys.readouterr().out
    )
    assert json.loads((tmp_path / "a.pt2.json").read_text())["generated"] is True


def test_a_file_with_other_logits_is_reported(
    xor_run: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "wrong.onnx"
    wrong = replace(XOR, export=Export("rows", prepare=with_another_bias))
    monkeypatch.setattr("apps.xor.predict.APPLICATION", wrong)
    assert main([str(xor_run), "--out", str(out)]) == FAILED_CHECK == 5
    assert "does not give the network's logits" in capsys.readouterr().err
    result = json.loads((tmp_path / "wrong.json").read_text())
    assert not result["agrees"]
    assert result["largest_difference"] == pytest.approx(0.01, rel=1e-3)


def test_what_cannot_be_exported_is_said_in_a_line(xor_run: Path, tmp_path: Path, capsys: Said) -> None:
    own = trained("xor", tmp_path / "numpy", "framework=numpy", "debug=smoke")
    before = sorted(own.iterdir())
    (tmp_path / "file").touch()
    for words, message in (
        ([str(own)], "is a run of numpy: only torch networks can be exported as onnx; train again"),
        ([str(own), "--format", "keras"], "is a run of numpy: only keras networks can be exported as keras"),
        (
            [str(xor_run), "--format", "keras"],
            "is a run of torch: only keras networks can be exported as keras",
        ),
        ([str(tmp_path)], "is not a run folder"),
        ([str(xor_run), "--out", str(tmp_path / "network.pt")], "the name must end in .onnx"),
        ([str(xor_run), "--out", str(xor_run / "metrics.onnx")], "its report would replace metrics.json"),
        ([str(xor_run), "--out", f"{tmp_path}/file/a.onnx"], "cannot write"),
    ):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert sorted(own.iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"numpy", "file"}


SCRATCH = ("data=digit_pictures", "debug=smoke", "transfer.mode=scratch", "weights=none")
RUNS = [
    ("mnist_cnn", "data=digits", "model=cnn", "debug=smoke"),
    ("mnist_cnn", "data=digits", "model=fast_cnn", "debug=smoke"),
    ("mnist_cnn", "data=digits", "model=mlp", "trainer.precision=bfloat16", "debug=smoke"),
    ("xor", "model=published", "corrections=false", "trainer.epochs=1"),
    *[("imdb_rnn", *TEXTS, f"model={model}") for model in ("lstm", "bilstm", "rnn", "bow")],
    ("imdb_rnn", "data=reviews", "debug=smoke", "model=nbsvm", "model.buckets=1000"),
    *[
        ("attention", *data, f"model={model}")
        for data in (("data=recall", "debug=smoke", "data.longer=[24]"), TEXTS)
        for model in ("single_head", "multi_head", "mean_pooling")
    ],
    ("gradient_flow", "debug=smoke", "framework=torch"),
    ("resnet_transfer", *SCRATCH),
    ("resnet_transfer", *SCRATCH, "model=resnet50", "model.stem=small"),
    ("resnet_transfer", *SCRATCH, "model=mobilenet_v2", "model.stem=small"),
]


TrainOnce = Callable[[str, tuple[str, ...]], Path]  # framework and words to the run folder


@pytest.fixture(scope="module")
def train_once(tmp_path_factory: pytest.TempPathFactory) -> TrainOnce:
    """Train one of RUNS in a framework, once for all tests; return the run folder."""

    @cache
    def train_words(framework: str, words: tuple[str, ...]) -> Path:
        app, *overrides = (word for word in words if not word.startswith("framework="))
        folder = tmp_path_factory.mktemp("runs") / "run"
        return trained(app, folder, "trainer.threads=null", f"framework={framework}", *overrides)

    return train_words


@pytest.mark.slow
@pytest.mark.parametrize("words", RUNS, ids=lambda words: "-".join(words))
def test_every_network_can_be_written(words: tuple[str, ...], train_once: TrainOnce) -> None:
    """Its whole test set agrees; so do a batch of one and, of ids, other lengths."""
    folder = train_once("torch", words)
    run = open_run(str(folder))
    place = folder / "export.onnx"
    result = export(run, place)
    assert result["agrees"], result
    assert result["classes_that_differ"] == 0
    assert result["test_examples"] == json.loads((folder / "metrics.json").read_text())["test_examples"]
    if run.config.trainer.precision == "bfloat16":  # the file computes in float32
        trainer = run.config.trainer.model_copy(update={"precision": "float32"})
        run = replace(run, config=run.config.model_copy(update={"trainer": trainer}))
    session = onnxruntime.InferenceSession(str(place))
    (given,) = session.get_inputs()
    axes = run.application.export.axes
    assert tuple(given.shape[: len(axes)]) == axes
    one = run.test_examples().inputs[:1]
    lengths = (3, 33, 301) if len(axes) == 2 else one.shape[1:2]
    for length in lengths:
        batch = np.resize(one, (1, length, *one.shape[2:]))
        kind = {"tensor(float)": np.float32, "tensor(double)": np.float64}.get(given.type)
        (logits,) = session.run(None, {given.name: batch.astype(kind or batch.dtype)})
        expected = run.learner.logits(batch)
        np.testing.assert_allclose(logits, expected, atol=1e-4 * abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "file_format"),
    [
        (words, file_format)
        for words in RUNS
        for file_format in ("torch", "keras")
        if file_format == "torch" or "model=resnet50" not in words  # in Keras, the layers of resnet18
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_every_file_loads_without_this_repository(
    words: tuple[str, ...], file_format: str, train_once: TrainOnce, tmp_path: Path
) -> None:
    """Batches of one and of several, and of ids, other lengths."""
    run = open_run(str(train_once(file_format, words)))
    path = tmp_path / f"file{FORMATS[file_format].suffix}"
    result = export(run, path, file_format)
    assert result["agrees"], result
    assert result["classes_that_differ"] == 0
    if run.config.trainer.precision == "bfloat16":  # the file computes in float32
        trainer = run.config.trainer.model_copy(update={"precision": "float32"})
        run = replace(run, config=run.config.model_copy(update={"trainer": trainer}))
    one = run.test_examples().inputs[:1]
    dtype = next(iter(run.learner.weights().values())).dtype if one.dtype.kind == "f" else one.dtype
    shapes = [(1, *one.shape[1:]), (5, *one.shape[1:])]
    if len(run.application.export.axes) == 2:
        shapes += [(1, length) for length in (3, 33, 301)]
    batches = [np.resize(one, shape) for shape in shapes]
    found = logits_elsewhere(path, file_format, [batch.astype(dtype) for batch in batches], tmp_path)
    for logits, batch in zip(found, batches, strict=True):
        expected = run.learner.logits(batch)
        np.testing.assert_allclose(logits, expected, atol=1e-4 * abs(expected).max())


@pytest.mark.slow
def test_what_onnxruntime_does_not_run_leaves_nothing_behind(tmp_path: Path) -> None:
    words = [*TEXTS, "trainer.precision=float64", "trainer.threads=null"]
    folder = trained("imdb_rnn", tmp_path / "run", *words)
    before = sorted(folder.iterdir())
    with pytest.raises(ConfigError, match=r"onnxruntime cannot run this network.* double"):
        export(open_run(str(folder)), folder / "export.onnx")
    assert sorted(folder.iterdir()) == before
