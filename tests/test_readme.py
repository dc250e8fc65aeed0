"""The commands, links and code on the documentation pages work; commands run at smoke size."""

import os
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers import ROOT

README = ROOT / "README.md"
DOCUMENTS = [README, *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("apps/*/README.md"))]
DOCUMENTS += [ROOT / "lessons" / "README.md"]
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
CONSOLE_BLOCK = re.compile(r"^```console\n\$ (.*?)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)\)")
ANCHOR = re.compile(r"\]\(([^)#]*)#([^)]+)\)")

TARGETS = {  # by application
    app: target
    for target, app in re.findall(
        r"^(train-[\w-]+):.*\n\t@\$\(RUN\) -m apps\.(\w+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
}
RUN_TOOL = re.compile(r"(?:tools\.|make )(evaluate|predict|export|rerun)\b")
SMOKE = ["debug=smoke", "trainer.max_steps=3"]
OWN_TESTS = {  # what is too slow to try here, and where it is tested
    "make test": "tests/test_readme.py",
    "make install": "tests/test_setup.py",
    "make check": "tests/tools/test_check.py",
    "make explore": "tests/tools/test_explore.py",
    "make gradcheck": "tests/tools/gradcheck",
    "make lessons": "tests/tools/test_lessons.py",
    "make report": "tests/tools/test_report.py",
    "make sweep": "tests/tools/test_sweep.py",
    "make regress": "tests/tools/regress",
    "make bless": "tests/tools/regress",
    "tools.regress": "tests/tools/regress",
    "tools.regress.faults": "tests/tools/regress",
}
COMMANDS = sorted(
    {
        line
        for document in DOCUMENTS
        for block in SHELL_BLOCK.findall(document.read_text())
        for line in block.splitlines()
    }
)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a documented command in the repository's folder."""
    # Without MAKEFLAGS and the like: they belong to the make that may be running these tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MA")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def application(command: str) -> str | None:
    """Return the application that a command trains or whose run it looks at."""
    if found := re.search(r"\b(?:apps\.|outputs/)(\w+)", command):
        return found[1]
    if RUN_TOOL.search(command):
        return "mnist_cnn"  # run=latest
    return next((app for app, target in TARGETS.items() if f"make {target}" in command), None)


def with_real_paths(command: str, folder: Path) -> list[str]:
    """Return the words of a command with existing files and folders instead of placeholders."""
    own = folder / "own"
    for label in ("dull", "good"):
        (own / label).mkdir(parents=True)
        for number in range(60):
            (own / label / f"{number}.txt").write_text(f"a {label} film, {number}")
            Image.new("RGB", (40, 30), (4 * number, 90, 40)).save(own / label / f"{number}.png")
    digit = Image.new("L", (60, 60))
    digit.paste(255, (25, 10, 32, 50))  # a one
    digit.save(own / "digit.png")
    for placeholder, path in (
        (r"(?<==)PATH", own),
        (r"PICTURE\.jpg|IMAGE\.jpg", own / "good" / "0.png"),
        (r"DIGIT\.png", own / "digit.png"),
        (r"(?<=run=)latest|outputs/\w+/DATE_TIME", folder / "run"),
        (r"(?<=trainer\.resume=)latest", folder / "run"),
    ):
        command = re.sub(placeholder, str(path), command)
    return shlex.split(command)


def train(words: list[str], folder: Path) -> None:
    """Train at smoke size with a documented command; the run folder is `folder`/run."""
    result = run([*words, *SMOKE, f"hydra.run.dir={folder}/run", f"hydra.sweep.dir={folder}/sweep"])
    assert result.returncode == 0, result.stderr
    assert re.search(r"test: accuracy|finetune: [0-9.]+%", result.stdout)
    assert list(folder.rglob("metrics.json"))


QUICK = {"xor", "mnist_cnn"}  # applications whose predictions are tried among the fast tests


def commands_to_try() -> Iterator[Any]:
    """Yield each command that trains or looks at a run.

    Fast tests are one prediction for each application in `QUICK`, which trains first, and the first --help.
    """
    seen = set()
    for command in COMMANDS:
        if app := application(command):
            kind = "--help" if "--help" in command else app
            quick = "--help" in command or ("tools.predict" in command and app in QUICK)
            fast = kind not in seen and quick
            seen |= {kind} if fast else set()
            yield pytest.param(command, app, marks=[] if fast else [pytest.mark.slow])


@pytest.mark.parametrize(("command", "app"), list(commands_to_try()))
def test_command_works(command: str, app: str, tmp_path: Path) -> None:
    words = with_real_paths(command, tmp_path)
    if tool := RUN_TOOL.search(command):
        framework = ["framework=torch"] if tool[1] == "export" else []  # the only one to be exported
        train(["make", TARGETS[app], *framework], tmp_path)
        if tool[1] == "rerun":
            out = f"--out {tmp_path}/again"
            words += [f"ARGS={out}"] if words[0] == "make" else out.split()
        result = run(words)
        assert result.returncode == 0, result.stderr
        assert re.search(r"\.png|to the last bit|metrics\.json says|logits differ by", result.stdout)
    elif "--help" in words:
        assert run(words).stdout.startswith("usage:")
    else:
        if "trainer.resume=" in command:
            train(words[:-1], tmp_path)
            (tmp_path / "run" / "metrics.json").unlink()  # a killed run has none
        train(words, tmp_path)


def test_the_quick_applications_have_a_fast_test() -> None:
    assert {param.values[1] for param in commands_to_try() if not param.marks} >= QUICK


@pytest.mark.parametrize("command", [command for command in COMMANDS if not application(command)])
def test_any_other_command_has_tests_of_its_own(command: str) -> None:
    found = re.search(r"make [\w-]+|tools\.[\w.]+", command)
    assert found, command
    assert (ROOT / OWN_TESTS[found[0]]).exists()


@pytest.mark.parametrize(
    ("command", "shown"),
    [block for document in DOCUMENTS for block in CONSOLE_BLOCK.findall(document.read_text())],
)
def test_error_reads_as_shown(command: str, shown: str) -> None:
    result = run(shlex.split(command))
    assert result.returncode == 2
    assert f"\n{shown}" in f"\n{result.stderr}"  # after warnings of make, if any


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text()
    for target in LINK.findall(text):
        if not target.startswith("https://"):
            assert (document.parent / target).exists(), target
    for target, anchor in ANCHOR.findall(text):
        if not target.startswith("https://") and not target.endswith(".ipynb"):  # tools/test_lessons.py
            headings = re.findall(r"^#+ (.*)", (document.parent / target or document).read_text(), re.M)
            slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{target}#{anchor}"


def test_documented_targets_exist() -> None:
    listed = run(["make", "help"]).stdout
    for document in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"`make ([a-z-]+)", document.read_text()):
            assert f"make {target} " in listed, target


def test_training_loop_in_the_readme_is_the_source() -> None:
    (block,) = PYTHON_BLOCK.findall(README.read_text())
    excerpts = re.findall(r"^# (\S+\.py): \w+\n(.*?)(?=\n# |\Z)", block, re.DOTALL | re.MULTILINE)
    assert len(excerpts) == 2
    for path, code in excerpts:
        source = (ROOT / path).read_text()
        indented = (textwrap.indent(code.strip(), " " * width) for width in (4, 8))
        assert any(text in source for text in indented), f"README.md shows other code than {path}"


def test_backpropagation_example_runs() -> None:
    (block,) = PYTHON_BLOCK.findall((ROOT / "docs" / "gradients.md").read_text())
    random = np.random.default_rng(0)
    exec(block, {"images": random.random((5, 784), np.float32), "labels": random.integers(10, size=5)})


def test_readme_is_one_page() -> None:
    assert len(README.read_text().splitlines()) <= 150
