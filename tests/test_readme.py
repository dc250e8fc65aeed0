"""The README's own commands work, at smoke size."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("apps/*/README.md"))]
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
CONSOLE_BLOCK = re.compile(r"^```console\n\$ (.*?)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)\)")

SLOW = re.compile(r".*\.(rerun|evaluate|export)|mnist_cnn\.predict")  # each trains first
SMOKE = ["debug=smoke", "trainer.max_steps=3"]
COMMANDS = sorted(
    {
        line
        for document in DOCUMENTS
        for block in SHELL_BLOCK.findall(document.read_text())
        for line in block.splitlines()
    }
)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of the README as it stands, in the repository's folder."""
    # Not MAKEFLAGS and the like: they belong to the make that may be running these tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MA")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def is_tool(words: list[str]) -> bool:
    """Whether a command is about a finished run: tools.TOOL RUN."""
    return any(re.fullmatch(r"tools\.(evaluate|predict|export|rerun)", word) for word in words)


def with_real_places(words: list[str], folder: Path) -> list[str]:
    """Return the command with folders that are there in place of the README's stand-ins."""
    own = folder / "own"
    for label in ("dull", "good"):
        (own / label).mkdir(parents=True)
        for number in range(60):
            (own / label / f"{number}.txt").write_text(f"a {label} film, {number}")
            Image.new("RGB", (40, 30), (4 * number, 90, 40)).save(own / label / f"{number}.png")
    words = [word.replace("=PATH", f"={own}") for word in words]
    words = [word.replace("PICTURE.jpg", f"{own}/good/0.png") for word in words]
    bar = Image.new("L", (60, 60))
    bar.paste(255, (25, 10, 32, 50))  # as good as a one
    bar.save(own / "digit.png")
    words = [word.replace("DIGIT.png", f"{own}/digit.png") for word in words]
    for number, word in enumerate(words):
        if found := re.fullmatch(r"outputs/(\w+)/DATE_TIME", word):
            words[number] = f"{folder}/run"
            train(["make", training(found[1])], folder)
        if word == "trainer.resume=latest":
            words[number] = f"trainer.resume={folder}/run"
            train(words[:number], folder)
            (folder / "run" / "metrics.json").unlink()  # a killed run has none
    return words


def training(app: str) -> str:
    """Return the target that trains an application: imdb_rnn has train-imdb."""
    return f"train-{app.partition('_')[0]}"


def train(words: list[str], folder: Path) -> None:
    """Train at smoke size with a command of the README; the run folder is `folder`/run."""
    result = run([*words, *SMOKE, f"hydra.run.dir={folder}/run", f"hydra.sweep.dir={folder}/sweep"])
    assert result.returncode == 0, result.stderr
    assert re.search("test: accuracy|a class, finetune: [0-9.]+%", result.stdout)
    assert list(folder.rglob("metrics.json"))


def application(command: str) -> str:
    """Return what a command starts: mnist, imdb_rnn.predict, ..."""
    if tool := re.search(r"-m tools\.(\w+) outputs/(\w+)", command):
        return f"{tool[2]}.{tool[1]}"
    found = re.search(r"train-([a-z-]+)|apps\.([\w.]+)", command)
    return next(filter(None, found.groups())) if found else ""


def tried(commands: Sequence[str]) -> Iterator[Any]:
    """Yield each command that starts something; after the first of its kind they are slow tests.

    What a tool looks at has been trained with `make train-APP`: this one is tried with the tool.
    """
    tools = (re.search(r"outputs/(\w+)/DATE_TIME", command) for command in commands)
    known = {application(f"make {training(tool[1])}") for tool in tools if tool}
    for command in commands:
        if kind := application(command):
            marks = [pytest.mark.slow] if kind in known or SLOW.fullmatch(kind) else []
            known.add(kind)
            yield pytest.param(command, marks=marks)


@pytest.mark.parametrize("command", list(tried(COMMANDS)))
def test_a_command_works(command: str, tmp_path: Path) -> None:
    words = with_real_places(shlex.split(command), tmp_path)
    if "--help" not in words and not is_tool(words):
        train(words, tmp_path)
        return
    if "tools.rerun" in words:
        words += ["--out", f"{tmp_path}/again"]
    result = run(words)
    assert result.returncode == 0, result.stderr
    if is_tool(words):
        said = r"\.png|to the last bit|metrics\.json says|logits differ by"
        assert re.search(said, result.stdout)


def test_every_command_is_tried_or_is_this_very_test_run() -> None:
    untried = [command for command in COMMANDS if not application(command)]
    assert untried == [
        "make gradcheck",
        "make report",
        "make sweep app=mnist_cnn",
        "make test",
    ]  # tests of their own
    assert len(COMMANDS) > 5


@pytest.mark.parametrize(
    ("command", "shown"),
    [block for document in DOCUMENTS for block in CONSOLE_BLOCK.findall(document.read_text())],
)
def test_an_error_reads_as_it_is_shown(command: str, shown: str) -> None:
    result = run(shlex.split(command))
    assert result.returncode == 2
    assert result.stderr.startswith(shown)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        if not target.startswith("https://"):
            assert (document.parent / target).exists(), target


def test_the_documented_targets_exist() -> None:
    listed = run(["make", "help"]).stdout
    for document in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"`make ([a-z-]+)", document.read_text()):
            assert f"make {target} " in listed, target
