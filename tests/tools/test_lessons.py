"""The lessons run, their pages work without anything else, and every slide of the decks has a place."""

import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from tests.helpers import ROOT
from tests.tools.browser import MISSING, Browser, browser
from tools.check import check
from tools.gradcheck.__main__ import NAMES
from tools.lessons.__main__ import main
from tools.lessons.build import write_pages
from tools.lessons.notebook import LESSONS, execute, read, sources
from tools.lessons.page import HEADING, anchor

README = (LESSONS / "README.md").read_text()
SLIDES = [
    f"{deck}{n}" for deck, count in zip("ABCD", (14, 16, 14, 5), strict=True) for n in range(1, count + 1)
]
ROWS = {
    row[0]: row
    for row in ([cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines())
    if re.fullmatch(r"[A-D]\d+", row[0])
}
by_lesson = pytest.mark.parametrize("source", sources(), ids=lambda path: path.stem)


@cache
def recorded(source: Path) -> Any:
    return nbformat.read(source.with_suffix(".ipynb"), 4)


def texts(notebook: Any, kind: str) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == kind)


@by_lesson
def test_the_notebook_is_that_of_the_source(source: Path) -> None:
    assert [cell.source for cell in recorded(source).cells] == [cell.source for cell in read(source).cells], (
        "out of date: run .venv/bin/python -m tools.lessons --record"
    )
    text = source.with_suffix(".ipynb").read_text()
    assert len(text) < 600_000
    assert not re.search(r"/(?:home|root|work|tmp|Users)/|\"stderr\"|\"error\"", text)


@by_lesson
def test_a_lesson_has_its_parts(source: Path) -> None:
    text, notebook = texts(recorded(source), "markdown"), recorded(source)
    for part in ("## What the decks get wrong", "## Exercises", "## What to remember"):
        assert part in text
    assert f"solutions/lesson_{source.stem[:2]}.py" in text
    pictures = [
        out
        for cell in notebook.cells
        for out in cell.get("outputs", ())
        if "image/png" in out.get("data", {})
    ]
    assert pictures
    assert all(out.metadata["image/png"]["alt"] for out in pictures)


@by_lesson
def test_numbers_in_the_text_are_asserted(source: Path) -> None:
    """Every decimal number of the text occurs in the code, up to its sign."""
    prose = re.sub(r"`[^`]*`|\$[^$]*\$", "", texts(recorded(source), "markdown"))
    numbers = set(re.findall(r"(?<![\w.])\d+\.\d+(?:e-?\d+)?(?![\w])", prose))
    code = {float(number) for number in re.findall(r"\d+\.\d+(?:e-?\d+)?", texts(recorded(source), "code"))}
    assert {number for number in numbers if float(number) not in code} == set()


@by_lesson
def test_links_lead_somewhere(source: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", texts(recorded(source), "markdown")):
        assert target.startswith("https://") or (LESSONS / target).exists(), target


def test_every_slide_has_a_place() -> None:
    assert list(ROWS) == SLIDES
    anchors = {
        f"{source.stem}.ipynb#{anchor(heading)}"
        for source in sources()
        for _, heading in HEADING.findall(texts(recorded(source), "markdown"))
    }
    for slide, _, lesson, command, _ in ROWS.values():
        links = set(re.findall(r"\]\((\d\w+\.ipynb#[^)]*)\)", lesson))
        assert links <= anchors, f"{slide}: {links - anchors}"
        assert links or "bibliography" in lesson, slide
        known_command(command.strip("`"))


def known_command(command: str) -> None:
    """Check that a command of the table exists: its target, application, experiment and case."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    match command.split():
        case ["make", target, *words]:
            assert target in targets, command
        case [".venv/bin/python", "-m", module, *words]:
            assert (ROOT / module.replace(".", "/")).is_dir(), command
        case _:
            assert command == "-"
            return
    for word in words:
        key, value = word.split("=")
        assert key != "+experiment" or (ROOT / "conf" / "experiment" / f"{value}.yaml").exists(), command
        assert key != "case" or value in NAMES, command


def test_the_errata_of_each_slide_are_all_named() -> None:
    lines = (ROOT / "docs" / "errata.md").read_text().splitlines()
    places = [line.split("|")[1].strip() for line in lines if line.startswith("| ") and "tests/" in line]
    for slide, row in ROWS.items():
        expected = dict.fromkeys(place for place in places if slide in slides_of(place))
        assert row[4] == (f"[{'; '.join(expected)}](../docs/errata.md)" if expected else "-"), slide


def slides_of(place: str) -> Iterator[str]:
    """Yield the slides of a place such as "A4-A7, D5"."""
    for deck, first, last in re.findall(r"\b([A-D])(\d+)(?:-[A-D](\d+))?", place):
        yield from (f"{deck}{number}" for number in range(int(first), int(last or first) + 1))


def test_the_solutions_are_right() -> None:
    rng = np.random.default_rng(0)
    shapes = {
        "MyTanh": (4, 3),
        "Neuron": (4, 3),
        "MyLinear": (4, 3),
        "Patient": (4, 2),
        "MySiLU": (4, 3),
        "MyCenter": (4, 3),
    }
    inputs = {name: [rng.standard_normal(shape)] for name, shape in shapes.items()}
    inputs |= {"MyAverage": [rng.standard_normal((2, 1, 4, 4))], "Overlap": [rng.standard_normal((2, 3, 3))]}
    inputs |= {name: [rng.standard_normal((4, 3)), rng.uniform(size=(4, 3))] for name in ("Huber", "Entropy")}
    inputs["MyRecurrent"] = [rng.standard_normal((4, 5, 2))]
    inputs |= {name: [rng.standard_normal((4, 3))] for name in ("FrozenNorm", "MySoftmax")}
    found = set()
    for path in sorted((LESSONS / "solutions").glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, given in inputs.items():
            if hasattr(module, name):
                result = check(getattr(module, name)(), *given)
                assert result.ok, result
                found.add(name)
        if path.stem == "lesson_01":
            sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
            h = 1e-5
            slope = (sigmoid(3 * (1 + h) - 1) ** 2 - sigmoid(3 * (1 - h) - 1) ** 2) / (2 * h)
            assert pytest.approx(slope, rel=1e-6) == module.PREDICTION
    assert found == set(inputs)


def test_an_unknown_lesson_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["name=99"]) == 2
    assert capsys.readouterr().err.startswith("error: no lesson starts with '99'; choose from 01_one_neuron")


def test_pages_link_to_what_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.lessons.build.execute", recorded)
    out = tmp_path / "any" / "folder"
    out.mkdir(parents=True)
    (out / "00_removed.ipynb").write_text(nbformat.writes(recorded(sources()[0])))
    assert links_after("04", out) == set()
    assert links_after("03", out) == {"03_losses.html", "04_backward_by_hand.html"}


def links_after(name: str, out: Path) -> set[str]:
    """Write a lesson; check every link of every page, and return those to other lessons."""
    assert main([f"name={name}", f"out={out}"]) == 0
    found = {
        (page.stem, link.partition("#")[0])
        for page in out.glob("*.html")
        for link in re.findall(r'href="(?!https:|data:|#)([^"]*)"', page.read_text())
    }
    for page, link in found:
        assert (out / link).exists(), f"{page}: {link}"
    return {link for page, link in found if page != "index" and re.match(r"\d", link)}


@pytest.mark.slow
def test_a_lesson_that_cannot_be_executed_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.lessons.notebook.LESSONS", tmp_path)
    monkeypatch.setattr("tools.lessons.notebook.SECONDS", 2)
    cells = {
        "1_raises": "1 / 0",
        "2_slow": "while True: pass",
        "3_dies": "import os; os._exit(1)",
        "4_runs": "1",
    }
    for name, cell in cells.items():
        (tmp_path / f"{name}.py").write_text(f"# %% [markdown]\n# # {name}\n\n# %%\n{cell}\n")
    assert main([f"out={tmp_path}/pages"]) == 5
    error = capsys.readouterr().err
    assert error.startswith("error: 1_raises.py: a cell failed:\nZeroDivisionError")
    assert error.splitlines()[-3:] == [
        "error: 2_slow.py: A cell timed out while it was being executed, after 2 seconds.",
        "error: 3_dies.py: Kernel died",
        "[4/4] 4_runs",
    ]
    assert {path.name for path in (tmp_path / "pages").glob("*.html")} == {"4_runs.html", "index.html"}


def test_the_packages_of_the_lessons_are_declared() -> None:
    """Of what they import, only markdown-it and Pygments come with another package: rich."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["dev"], *(requires("rich") or ())]
    declared = {re.match(r"[\w-]+", line).group().lower() for line in listed}  # type: ignore[union-attr]
    packages = packages_distributions()
    text = "\n".join(path.read_text() for path in (ROOT / "tools" / "lessons").glob("*.py"))
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)) & packages.keys()
    assert imported >= {"nbformat", "nbclient"}
    assert {packages[name][0].lower() for name in imported} <= declared


@pytest.mark.slow
@by_lesson
def test_a_lesson_runs_and_gives_what_is_recorded(source: Path) -> None:
    """All but the pictures is compared: their bytes depend on the fonts."""

    def outputs(notebook: Any) -> list[Any]:
        outs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
        return [out.get("text") or out.data.get("text/markdown") or sorted(out.data) for out in outs]

    assert outputs(execute(source)) == outputs(recorded(source))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    write_pages({source.stem: source.with_suffix(".ipynb") for source in sources()}, folder)
    return folder


needs_browser = pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not on the PATH")


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.slow
@needs_browser
@by_lesson
def test_in_a_browser_a_page_is_whole(source: Path, pages: Path, window: Browser) -> None:
    window.requests()
    address = f"file://{pages}/{source.stem}.html"
    window.open(address)
    assert all(url == address or url.startswith("data:") for url in window.requests())
    assert window.run("return [...document.images].every(one => one.naturalWidth > 500 && one.alt)")
    formulas = window.run(
        "return [...document.querySelectorAll('math')].map(one => one.getBoundingClientRect().width)"
    )
    assert len(formulas) >= 5
    assert min(formulas) > 0
    assert "$" not in window.run(
        "return [...document.querySelectorAll('p, li')].map(one => one.innerText).join()"
    )
    assert window.run("return document.querySelectorAll('merror').length") == 0
    panels = "return [...document.querySelectorAll('.tabs')].map(one => one.querySelectorAll('.cell').length)"
    assert all(count >= 2 for count in window.run(panels))
    window.run("document.querySelectorAll('.tabs label')[1].click()")
    assert (
        window.run("return getComputedStyle(document.querySelectorAll('.tabs .cell')[1]).display") == "block"
    )
    links = window.run(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map(one => one.hash.slice(1))"
    )
    assert window.run("return arguments[0].filter(one => !document.getElementById(one))", links) == []
    window.run("document.getElementById('slides').click()")
    assert window.run("return document.querySelectorAll('section.current').length") == 1
    shown = window.run(
        "return slides.map((one, n) => { show(n);"
        " const boxes = [...one.querySelectorAll('.code, .output')];"
        " const whole = boxes.every(box => box.scrollWidth <= box.clientWidth);"
        " return [whole && one.scrollHeight <= 720 && one.scrollWidth <= 1280, parseInt(one.style.fontSize),"
        " one.innerText]; })"
    )
    assert [number for number, (fits, size, _) in enumerate(shown, 1) if not fits or size < 14] == []
    assert any("Find the mistake." in text for _, _, text in shown)
    window.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Home', bubbles: true}))")
    assert window.run("return document.querySelector('section.current h1') !== null")
    window.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}))")
    assert not window.run("return document.body.classList.contains('slides')")


@pytest.mark.slow
@needs_browser
def test_in_a_browser_the_index_finds_a_section(pages: Path, window: Browser) -> None:
    window.open(f"file://{pages}/index.html")
    search = "const box = document.getElementById('search'); box.value = arguments[0];"
    search += "box.dispatchEvent(new Event('input')); return document.getElementById('found').innerText"
    assert "The chain rule" in window.run(search, "chain rule")
    assert window.run(search, "zzzz") == "No section contains all of these words."
    assert json.loads(window.run("return document.getElementById('data').textContent"))


def test_a_missing_package_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "tools.lessons.build")
    monkeypatch.setitem(sys.modules, "nbformat", None)
    assert main([]) == 2
    assert capsys.readouterr().err == "error: nbformat is not installed; run make install\n"
