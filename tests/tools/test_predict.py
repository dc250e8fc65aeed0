"""Predictions of every application: of pictures, rows, key-value pairs and texts."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apps.mnist_cnn.predict import APPLICATION, network_inputs
from shared import charts
from shared.application import FinishedRun
from shared.data import digits, handwriting
from shared.data.pictures import decode_whole
from shared.errors import DataError
from shared.runs.reader import read_metrics
from tests.apps.test_accuracy import OFFLINE, needs
from tests.helpers import trained
from tools.predict import main

NUMPY = ("framework=numpy", "trainer.threads=1")
Said = pytest.CaptureFixture[str]
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return trained("mnist_cnn", folder, *NUMPY, "data=digits", "model=mlp", "debug=smoke")


@pytest.fixture(scope="module")
def xor_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("xor", tmp_path_factory.mktemp("runs") / "xor", *NUMPY, "corrections=false")


@pytest.fixture(scope="module")
def recall_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learned to look up, and its twin."""
    data = ["data.keys=16", "data.values=4", "data.pairs=4", "data.longer=[8]", "data.train_limit=10000"]
    folder = tmp_path_factory.mktemp("runs") / "recall"
    return trained("attention", folder, *NUMPY, *data, "trainer.epochs=4", "optimizer.lr=0.01")


def trained_on_texts(app: str, folder: Path, *overrides: str) -> Path:
    for label, words in (("bad", "awful dull"), ("good", "great fun")):
        (folder / "texts" / label).mkdir(parents=True)
        for number in range(12):
            (folder / "texts" / label / f"{number}.txt").write_text(f"a {words} film {words}")
    data = ["data=text_folder", f"data.root={folder}/texts", "trainer.batch_size=4", "optimizer.lr=0.05"]
    return trained(app, folder / "run", *NUMPY, *data, *overrides)


# Digits


def on_paper(digit: Array, random: np.random.Generator) -> Image.Image:
    """A digit of MNIST's form, 5 times as large, dark, anywhere on a sheet of light gray paper."""
    side = 5 * digits.FIELD
    large = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))
    height, width = random.integers(side, 2 * side, 2)
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    sheet = np.full((height, width), 230, np.uint8)
    sheet[top : top + side, left : left + side] -= (large * 0.8).astype(np.uint8)
    return Image.fromarray(sheet)


def accuracies(folder: Path, files: Path, count: int) -> tuple[float, float]:
    """Return the accuracy on test images as they are, and written to files as on paper."""
    run = FinishedRun.open(APPLICATION, folder)
    random, right = np.random.default_rng(0), np.zeros(2)
    for pixels, label in zip(run.data.test_images[:count], run.data.test_labels, strict=False):
        file = files / "digit.png"
        on_paper(pixels, random).save(file)
        seen = handwriting.mnist_form(decode_whole(file.read_bytes(), file.name), file.name)
        assert seen.dark
        for place, digit in enumerate((pixels, seen.pixels)):
            right[place] += run.learner.logits(network_inputs(run, digit)).argmax() == label
    return right[0] / count, right[1] / count


@needs("mnist")
def test_digits_on_pictures_are_recognized_as_well_as_those_of_the_test_set(tmp_path: Path) -> None:
    words = ["model=mlp", "trainer.epochs=2", "data.train_limit=10000", "data.test_limit=200"]
    run = trained("mnist_cnn", tmp_path / "run", *OFFLINE, *NUMPY, *words)
    plain, on_pictures = accuracies(run, tmp_path, 200)
    assert plain == pytest.approx(read_metrics(run)["test_accuracy"])
    assert plain > 0.88, "a trained network"
    assert on_pictures >= plain - 0.02  # 4 of 200


def test_the_form_is_that_of_mnist() -> None:
    shape = np.zeros((60, 30), np.uint8)
    shape[:15] = shape[:, :8] = 255  # an upside-down L
    forms = []
    for top, left, height, width in ((5, 9, 90, 80), (31, 2, 99, 300)):
        sheet = np.zeros((height, width), np.uint8)
        sheet[top : top + 60, left : left + 30] = shape
        for pixels, dark in ((sheet, False), (255 - sheet, True)):
            digit = handwriting.mnist_form(Image.fromarray(pixels), "picture")
            assert digit.dark == dark
            forms.append(digit.pixels)
    for form in forms:
        np.testing.assert_array_equal(form, forms[0])
    rows, columns = np.nonzero(forms[0])
    assert [int(np.ptp(places)) + 1 for places in (rows, columns)] == [20, 10]
    for axis in (0, 1):
        along = forms[0].sum(axis=1 - axis, dtype=float)
        assert along @ np.arange(28) / along.sum() == pytest.approx(14, abs=0.5)


@pytest.mark.parametrize("pixels", [np.full((9, 9), 128), np.arange(200, 230)[:, None]])
def test_a_picture_with_nothing_on_it_is_refused(pixels: Array) -> None:
    with pytest.raises(DataError, match=r"picture\.png: there is nothing on it"):
        handwriting.mnist_form(Image.fromarray(pixels.astype(np.uint8)), "picture.png")


def test_pictures_are_answered_one_by_one(digits_run: Path, tmp_path: Path, capsys: Said) -> None:
    run = FinishedRun.open(APPLICATION, digits_run)
    random = np.random.default_rng(0)
    (tmp_path / "other").mkdir()
    names = ["a.png", "other/a.png", "$x^$.png", "a_prediction.png"]
    for number, name in enumerate(names):
        on_paper(run.data.test_images[number], random).save(tmp_path / name)
    before = (tmp_path / "a_prediction.png").read_bytes()
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "words.png").write_text("words")
    given = [str(tmp_path / name) for name in ("short.png", *names, "words.png", "none.png")]
    status = main([str(digits_run), *given, "--out", str(tmp_path)])
    assert status == DataError.status
    said = capsys.readouterr()
    answers = [line for line in said.out.splitlines() if not line.startswith("chart: ")]
    assert len(answers) == 4
    for line, name in zip(answers, names, strict=True):
        assert re.fullmatch(
            re.escape(f"{tmp_path}/{name}") + r": (\d \d+\.\d%, ){2}\d \d+\.\d% \(dark on light\)", line
        )
    assert len(said.err.splitlines()) == 3
    for message in ("short.png: damaged or truncated", "words.png: not a pic", "none.png cannot be read"):
        assert message in said.err
    assert (tmp_path / "a_prediction.png").read_bytes() == before, "an input stays as it is"
    for name in ("a_prediction_2", "a_prediction_3", "$x^$_prediction", "a_prediction_prediction"):
        assert Image.open(tmp_path / f"{name}.png").size[0] > 1000


def test_one_picture_can_be_named_and_several_not(xor_run: Path, tmp_path: Path, capsys: Said) -> None:
    out = tmp_path / "row.png"
    assert main([str(xor_run), "0,1", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert main([str(xor_run), "0,1", "1,1", "--out", str(out)]) == 2
    assert "is one file for 2 charts" in capsys.readouterr().err
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "folder")
    assert main([str(xor_run), "0,1", "--out", place]) == 2
    assert "Not a directory; give --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "content", "status", "message"),
    [
        ("weights.safetensors", "x", 3, "weights.safetensors is damaged or another file"),
        ("metrics.json", None, 2, "this run has not ended"),
        ("metrics.json", {"classes": 5}, 3, "metrics.json is not what a run has written; train again"),
        (
            "metrics.json",
            {"preprocessing": {"mean_and_std": [0.5, 0]}},
            3,
            "metrics.json is not what a run has written",
        ),
    ],
)
def test_changed_runs_are_refused(
    file: str, content: Any, status: int, message: str, xor_run: Path, tmp_path: Path, capsys: Said
) -> None:
    run = shutil.copytree(xor_run, tmp_path / "run", ignore=shutil.ignore_patterns("predictions"))
    if isinstance(content, dict):
        content = json.dumps(read_metrics(run) | content)
    (run / file).unlink() if content is None else (run / file).write_text(content)
    assert main([str(run), "0,1", "1,1"]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (run / "predictions").exists()


def test_a_machine_without_gpu_or_compiler_answers(
    tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("xor", tmp_path / "run", "debug=smoke", "corrections=false", "trainer.threads=null")
    assert main([str(run), "0,1"]) == 0
    capsys.readouterr()
    config = (run / "config.yaml").read_text()
    config = config.replace("device: auto", "device: cuda").replace("compile: false", "compile: true")
    (run / "config.yaml").write_text(config)
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([str(run), "0,1"]) == 0
    assert "0,1: class " in capsys.readouterr().out


# Rows


def test_rows_have_an_output_and_a_class(xor_run: Path, capsys: Said) -> None:
    assert main([str(xor_run), "0,0", "0,1", "1.0,0", "1,1"]) == 0
    said = capsys.readouterr().out
    found = re.findall(r"^(\S+): class (\d), probability of class 1: ([01]\.\d{4})$", said, re.M)
    assert [(row, label) for row, label, _ in found] == [
        ("0,0", "0"),
        ("0,1", "1"),
        ("1.0,0", "1"),
        ("1,1", "0"),
    ]
    assert all((float(probability) > 0.5) == (label == "1") for _, label, probability in found)
    assert len(list((xor_run / "predictions").glob("*.png"))) == 4


# Pairs and texts


def test_a_value_is_looked_up_where_its_key_is(recall_run: Path, capsys: Said) -> None:
    asked = ["k03 v1 k07 v0 k11 v1 k02 v0 k07", "k03 v1 k07 v0 k11 v1 k02 v0 k11"]
    assert main([str(recall_run), *asked]) == 0
    answers = re.findall(
        r"^(k\d+)\? (v\d), probability (\d+)\.\d%\nweight: (k\d+ v\d) (\d+)\.\d%",
        capsys.readouterr().out,
        re.M,
    )
    assert [(key, value, pair) for key, value, _, pair, _ in answers] == [
        ("k07", "v0", "k07 v0"),
        ("k11", "v1", "k11 v1"),
    ]
    assert all(int(probability) > 80 and int(weight) > 80 for _, _, probability, _, weight in answers)


NOT_PAIRS = "these are not pairs and a key"


@pytest.mark.parametrize(
    ("run", "text", "message"),
    [
        *(("xor_run", row, f"{row!r} is not a row") for row in ("0", "0,1,1", "a,b", "nan,0", "1e9,0", "")),
        pytest.param("xor_run", "x" * 100_000, "xx ... xx", id="a long input"),
        *(("recall_run", text, NOT_PAIRS) for text in ("k03 v1 k07 v0", "k03", "")),
        ("recall_run", "k3 v1 k3", "'k3' is not a key: there are k00 to k15; give k00 v1 k01 v0 ... and one"),
        ("recall_run", "k03 v9 k03", "'v9' is not a value: there are v0 to v3"),
        ("recall_run", "k03 v1 k03 v0 k03", "a key is in two pairs"),
        ("recall_run", "k03 v1 k07", "k07 is in none of the pairs"),
    ],
)
def test_an_input_of_another_form_is_refused(
    run: str, text: str, message: str, request: pytest.FixtureRequest, capsys: Said
) -> None:
    assert main([str(request.getfixturevalue(run)), text]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said) < 500


def test_words_of_a_text_weigh(tmp_path: Path, capsys: Said) -> None:
    run = trained_on_texts("attention", tmp_path, "model=mean_pooling", "trainer.epochs=30")
    capsys.readouterr()
    assert main([str(run), "AWFUL<br />film $zxqw", "zxqw"]) == 2
    said = capsys.readouterr()
    assert re.match(
        r"AWFUL<br />film \$zxqw:\nbad: probability \d+\.\d%\ngood: probability \d+\.\d%\n", said.out
    )
    assert "1 of 3 words are not in the vocabulary\n" in said.out
    assert "weight: awful 33.3%, film 33.3%, $zxqw 33.3%\n" in said.out
    assert said.err.startswith("error: the network knows none of these words: zxqw;")


def test_several_texts_have_a_picture_each(tmp_path: Path, capsys: Said) -> None:
    run = trained_on_texts("imdb_rnn", tmp_path, "model=bow", "trainer.epochs=12")
    assert main([str(run), "an awful film", "a great film"]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^(\w+): probability (?:[5-9]\d|100)\.", said, re.M) == ["bad", "good"]
    first, second = re.findall("^chart: (.*)$", said, re.M)
    assert Path(first).read_bytes() != Path(second).read_bytes()
    (tmp_path / "review.txt").write_text("an awful film")
    assert main(["--out", str(tmp_path / "charts"), str(run), str(tmp_path / "review.txt")]) == 0
    assert main([str(run), "--out", str(tmp_path / "charts"), "a great film"]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^(\w+): probability (?:[5-9]\d|100)\.", said, re.M) == ["bad", "good"]
    charts = [tmp_path / "charts" / name for name in ("prediction.png", "prediction_2.png")]
    assert [one.read_bytes() for one in charts] == [Path(one).read_bytes() for one in (first, second)]


def test_names_of_files_and_classes_that_mean_something_to_matplotlib() -> None:
    names = ["$\\frac$", "a_$_b^$"]
    picture = np.zeros((8, 8, 3), np.uint8)
    drawn = charts.prediction({names[0]: picture}, names, np.array([0.9, 0.1]), "$_^$.jpg")
    assert drawn.startswith(b"\x89PNG")
