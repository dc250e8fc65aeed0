"""The page of tools.explore in a browser: what a user does, and the numbers that appear."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.api import compose, train
from tests.tools.browser import MISSING, Browser, browser
from tools.explore.__main__ import main

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} is not installed")

ENTER = "\ue007"
RIGHT, DOWN = "\ue014", "\ue015"
SOON = "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));"


@pytest.fixture(scope="module")
def digits_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(
        tmp_path_factory.mktemp("mlp"), "mnist_cnn", "data=digits", "model=mlp", "trainer.epochs=2"
    )


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as opened:
        opened.set_size(1300, 900)
        yield opened
        assert opened.errors() == []


def page_of(folder: Path, app: str, *words: str) -> Path:
    train(compose(app, ["framework=numpy", *words, f"hydra.run.dir={folder / 'run'}"]))
    assert main([str(folder / "run"), "--out", str(folder / "page.html")]) == 0
    return folder / "page.html"


def show(window: Browser, page: Path, fragment: str = "") -> None:
    window.open("about:blank")
    window.open(f"{page.as_uri()}#{fragment}")


def text(window: Browser, selector: str) -> str:
    found: str = window.run("return document.querySelector(arguments[0]).textContent", selector)
    return found


def number(shown: str) -> float:
    """Read the first number in a text of the page."""
    return float(shown.split()[0].replace("\N{MINUS SIGN}", "-"))


def click(window: Browser, selector: str) -> None:
    window.run(f"document.querySelector(arguments[0]).click(); {SOON}", selector)


def choose(window: Browser, selector: str, value: Any) -> None:
    window.run(
        "const field = document.querySelector(arguments[0]); field.value = arguments[1];"
        f"for (const name of ['input', 'change']) field.dispatchEvent(new Event(name)); {SOON}",
        selector,
        value,
    )


def middle(window: Browser, selector: str) -> tuple[float, float, float]:
    """Return the center and the width of an element in the window."""
    box = window.run(
        "const found = document.querySelector(arguments[0]); found.scrollIntoView({block: 'center'});"
        "const { x, y, width, height } = found.getBoundingClientRect();"
        "return [x + width / 2, y + height / 2, width]",
        selector,
    )
    return box[0], box[1], box[2]


def draw_one_and_zero(window: Browser) -> tuple[str, str]:
    """Draw two digits with the pointer; return the page's predictions."""
    x, y, side = middle(window, "#pad")
    window.draw([(x, y + part * side) for part in (-0.3, -0.15, 0, 0.15, 0.3)])
    window.run(SOON)
    one = text(window, "#prediction")
    click(window, ".pad button")
    turns = [2 * math.pi * part / 24 for part in range(25)]
    window.draw([(x + 0.2 * side * math.cos(turn), y + 0.3 * side * math.sin(turn)) for turn in turns])
    window.run(SOON)
    return one, text(window, "#prediction")


def test_drawing_with_the_pointer_changes_the_prediction(digits_page: Path, window: Browser) -> None:
    window.requests()
    show(window, digits_page)
    one, zero = draw_one_and_zero(window)
    assert (one[0], zero[0]) == ("1", "0")
    assert [url for url in window.requests() if not url.startswith(("file:", "about:"))] == []
    assert "drawing=" in window.run("await new Promise(done => setTimeout(done, 500)); return location.hash")


def test_the_page_is_ready_within_a_second(digits_page: Path, window: Browser) -> None:
    ready = []
    for _ in range(3):  # the machine may be busy
        show(window, digits_page)
        ready.append(float(window.run("return document.documentElement.dataset.ready")))
    assert min(ready) < 1000


def test_gradients_on_the_page_equal_finite_differences(digits_page: Path, window: Browser) -> None:
    for place in ("fc1.weight:300", "fc2.bias:3", "activation1:40", "fc3:2", "input:400"):
        show(window, digits_page, f"mode=backward&example=4&target=7&select={place}")
        gradient, difference = (number(text(window, selector)) for selector in ("#gradient", "#difference"))
        assert gradient == pytest.approx(difference, rel=1e-4, abs=1e-9)
    assert gradient != 0
