"""The page that explores the network of a run: its command, its content and its errors."""

import html.parser
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]

from apps.xor.corrections import EVERY, TRAININGS, squared_errors
from shared.application import FinishedRun
from shared.runs.reader import read_weights
from tests.apps.test_accuracy import OFFLINE, needs
from tests.forks import Forks
from tests.helpers import PUBLISHED_LOSSES, ROOT, TIMEOUT, app_config, trained
from tests.tools.test_explore_layers import decode, needs_node, run_modules
from tools.explore.bundle import Bundle
from tools.explore.describe import DECKS, PER_CLASS, describe, encode, load_test_images
from tools.runs import application_of

FRAMEWORKS = ["numpy", "torch", "keras"]
SMOKE = ("trainer.threads=1", "debug=smoke")
# By name: the application and the keys of its configuration.
RUNS = {
    "xor": ("xor", "corrections=false"),
    "mlp": ("mnist_cnn", "model=mlp", "data=digits"),
    "fast_cnn": ("mnist_cnn", "model=fast_cnn", "data=digits"),
    "cnn": ("mnist_cnn", "model=cnn", "model.channels=[4,6]", "data=digits", "trainer.precision=float32"),
    "single_head": ("attention", "model=single_head"),
    "multi_head": ("attention", "model=multi_head"),
}


@pytest.fixture(scope="module")
def xor_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "xor"
    return trained("xor", folder, "framework=numpy", "corrections=false", *SMOKE)


class Scripts(html.parser.HTMLParser):
    """Collects the scripts of a page by their type."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str | None, str] = {}
        self.kind: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kind = dict(attrs).get("type") if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self.kind:
            self.found.setdefault(self.kind, data)


def open_run(folder: Path) -> FinishedRun[Any]:
    return FinishedRun.open(application_of(folder), folder)


# The page


def test_the_command_writes_a_page_with_the_weights_of_the_run(forks: Forks, xor_run: Path) -> None:
    result = forks.run("tools.explore", str(xor_run))
    page = xor_run / "explore.html"
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"wrote {page}: {page.stat().st_size / 1e6:.2g} MB; open it in a browser\n"
    scripts = Scripts(page.read_text()).found
    description = json.loads(scripts["application/json"])
    assert (description["app"], description["framework"], description["model"]) == (
        "xor",
        "numpy",
        "two_layer",
    )
    assert [example["label"] for example in description["examples"]] == [0, 1, 1, 0]
    weights = read_weights(xor_run, open_run(xor_run).metrics)
    assert description["weights"].keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(decode(description["weights"][name]), value)
    assert "class Linear extends Module" in scripts["module"]
    assert not re.search(r"^(import|export)\b", scripts["module"], re.MULTILINE)


def test_a_torch_run_needs_no_torch(forks: Forks, tmp_path: Path) -> None:
    run = trained("xor", tmp_path / "run", "framework=torch", "corrections=false", *SMOKE)
    result = forks.run("tools.explore", str(run), "--out", str(tmp_path / "page.html"))
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "page.html").exists()


@pytest.mark.slow
def test_a_keras_run_needs_no_torch(tmp_path: Path) -> None:
    run = trained("xor", tmp_path / "run", "framework=keras", "corrections=false", *SMOKE)
    (tmp_path / "poisoned").mkdir()
    (tmp_path / "poisoned" / "torch.py").write_text("import os; os._exit(99)")
    command = [sys.executable, "-m", "tools.explore", str(run)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "poisoned")}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert result.returncode == 0, result.stderr
    assert (run / "explore.html").exists()


def test_the_examples_of_a_digit_network_are_test_images_of_each_class(tmp_path: Path) -> None:
    run = trained("mnist_cnn", tmp_path / "run", "framework=numpy", "model=mlp", "data=digits", *SMOKE)
    description = describe(open_run(run))
    assert [example["label"] for example in description["examples"]] == sorted([*range(10)] * PER_CLASS)
    assert description["examples_from"] == "digits"


@needs_node
def test_the_networks_of_the_decks_learn_as_their_programs_do(xor_run: Path, tmp_path: Path) -> None:
    starts = describe(open_run(xor_run))["starts"]
    assert [start["name"] for start in starts] == ["a7", "c7", "d5"]
    rows = [[example["input"] for example in start["examples"]] for start in starts]
    cases = [
        {
            "kind": "network",
            "description": {"app": "xor", **start},
            "inputs": encode(np.array(inputs, float)),
            "labels": [0, 1, 1, 0],
            "optimizer": "SGD",
            "options": {"lr": start["lr"]},
            "steps": 1001,
        }
        for start, inputs in zip(starts, rows, strict=True)
    ]
    losses = [result["losses"] for result in run_modules(cases, tmp_path)]
    curves = [squared_errors(TRAININGS[label]) for label, _ in DECKS.values()]
    for number in (0, 2):  # the loss of deck C is another
        np.testing.assert_allclose(losses[number][::EVERY], curves[number][: 1000 // EVERY + 1], rtol=1e-9)
    np.testing.assert_allclose(losses[2][::1000], PUBLISHED_LOSSES[:2], rtol=1e-9)
    assert losses[1][1000] < losses[1][0]


def test_embedded_digits_stand_in_for_mnist_without_a_download(
    xor_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake_run(tmp_path / "run", xor_run, "mnist_cnn", f"data.root={tmp_path / 'empty'}")
    metrics = json.loads((folder / "metrics.json").read_text()) | {"dataset": "mnist"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    monkeypatch.delenv("DATA_ARCHIVES", raising=False)
    monkeypatch.setattr("urllib.request.OpenerDirector.open", no_network)
    assert load_test_images(open_run(folder)).name == "digits"


def no_network(*arguments: Any, **keywords: Any) -> None:
    pytest.fail("nothing may be downloaded")


# Refusals


def fake_run(folder: Path, like: Path, app: str, *words: str) -> Path:
    """Write a run folder of an application, with the metrics of another run."""
    folder.mkdir()
    config = app_config(app, folder, "framework=numpy", *words).model_dump(mode="json")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(like / "metrics.json", folder)
    return folder


@pytest.mark.parametrize(
    ("app", "words", "message"),
    [
        ("imdb_rnn", [], "is a run of imdb_rnn; the page shows xor, mnist_cnn and attention (data=recall)"),
        ("attention", ["data=reviews"], "is a run on reviews; the page shows xor, mnist_cnn and attention"),
        ("attention", ["model=mean_pooling"], "is a run of mean_pooling, which has no attention to show"),
    ],
)
def test_a_run_that_the_page_cannot_show_is_refused(
    app: str, words: list[str], message: str, forks: Forks, xor_run: Path, tmp_path: Path
) -> None:
    result = forks.run("tools.explore", str(fake_run(tmp_path / "run", xor_run, app, *words)))
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_unfinished_run_is_refused(forks: Forks, xor_run: Path, tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", xor_run, "xor")
    (run / "metrics.json").unlink()
    result = forks.run("tools.explore", str(run))
    assert result.returncode == 2
    assert result.stderr == f"error: {run}: this run has not ended; it has no metrics.json\n"


def test_a_page_that_would_be_too_large_is_refused(forks: Forks, xor_run: Path, tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", xor_run, "mnist_cnn", "model.hidden=1000")
    with (run / "weights.safetensors").open("wb") as file:
        file.truncate(12_000_000)
    result = forks.run("tools.explore", str(run))
    assert result.returncode == 2
    assert result.stderr == (
        "error: the page would have 16.0 MB, and the limit is 15 MB; train a smaller network\n"
    )


def test_damaged_weights_are_reported(forks: Forks, xor_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(xor_run, tmp_path / "run")
    content = (run / "weights.safetensors").read_bytes()
    (run / "weights.safetensors").write_bytes(content[:-1] + b"\x7f")
    result = forks.run("tools.explore", str(run))
    assert result.returncode == 3
    assert "weights.safetensors is damaged or another file" in result.stderr


# The bundle


def write_modules(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.js").write_text(text)
    return folder / "main.js"


def test_a_module_comes_once_and_after_those_that_it_imports(tmp_path: Path) -> None:
    main = write_modules(
        tmp_path,
        main='import { b } from "./b.js";\nimport {\n  a,\n} from "./a.js";\nconsole.log(a, b);\n',
        b='import { a } from "./a.js";\nexport const b = a + 1;\n',
        a="export const a = 1;\n",
    )
    assert Bundle(main).script == (
        "// a.js\nconst a = 1;\n\n// b.js\nconst b = a + 1;\n\n// main.js\nconsole.log(a, b);\n"
    )


@pytest.mark.parametrize(
    ("text", "other", "message"),
    [
        ('import { a } from "./a.js";\nconst a = 2;\n', "export const a = 1;\n", "a.js declares a, too"),
        ('import { b } from "./a.js";\n', "export const a = 1;\n", "a.js does not export b"),
        ('import { b } from "./a.js";\n', "const b = 1;\n", "a.js does not export b"),
        ('import { a as b } from "./a.js";\n', "export const a = 1;\n", "a.js does not export a as b"),
        ('import a from "./a.js";\n', "export default 1;\n", 'cannot bundle import a from "./a.js";'),
        ('import "./a.js";\n', "export default 1;\n", "a.js: cannot bundle export default 1;"),
        ('import fs from "node:fs";\n', "", 'cannot bundle import fs from "node:fs";'),
        ("const { a, b } = window;\n", "", "main.js: declare names one by one"),
        ('import "./a.js";\n', 'import "./main.js";\n', "main.js imports itself, by way of a.js"),
        ('console.log("</script>");\n', "", "cannot bundle </script"),
    ],
)
def test_modules_that_cannot_share_a_scope_are_refused(
    text: str, other: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Bundle(write_modules(tmp_path, main=text, a=other))


# The same answers as the network of the run


def logits_in_javascript(run: FinishedRun[Any], inputs: Sequence[Any], folder: Path) -> Any:
    case = {"kind": "logits", "description": describe(run), "inputs": [encode(x) for x in inputs]}
    (found,) = run_modules([case], folder)
    return np.concatenate([decode(logits) for logits in found])


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", RUNS)
def test_the_page_of_a_run_has_its_network(name: str, framework: str, tmp_path: Path) -> None:
    app, *words = RUNS[name]
    run = open_run(trained(app, tmp_path / "run", f"framework={framework}", *words, *SMOKE))
    inputs = run.test_examples().inputs[:20].astype(float)
    shape = describe(run)["input"]["shape"]
    found = logits_in_javascript(run, list(inputs.reshape(len(inputs), 1, *shape)), tmp_path)
    expected = run.learner.logits(run.test_examples().inputs[:20])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("data", ["digits", pytest.param("mnist", marks=needs("mnist"))])
@pytest.mark.parametrize(
    ("framework", "model"), [("numpy", "mlp"), ("torch", "fast_cnn"), ("keras", "fast_cnn"), ("torch", "cnn")]
)
def test_100_test_digits_are_classified_as_by_the_run(
    framework: str, model: str, data: str, tmp_path: Path
) -> None:
    words = [f"framework={framework}", f"model={model}", f"data={data}", "data.train_limit=3000"]
    words += [*(OFFLINE if data == "mnist" else ()), "data.test_limit=100", "trainer.epochs=1"]
    run = open_run(trained("mnist_cnn", tmp_path / "run", *words, "trainer.precision=float32"))
    predict: Callable[..., Any] = importlib.import_module("apps.mnist_cnn.predict").network_inputs
    images = run.data.test_images[:100]
    expected = np.concatenate([run.learner.logits(predict(run, image)) for image in images])
    found = logits_in_javascript(run, images, tmp_path)
    assert run.metrics["test_accuracy"] > 0.4, "a network that has learned something"
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
