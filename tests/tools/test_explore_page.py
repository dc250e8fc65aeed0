"""The page of tools.explore in a browser: what a user does, and the numbers that appear."""

import base64
import io
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from apps.api import compose, train
from shared.data.handwriting import mnist_form
from tests.tools.browser import MISSING, Browser, browser
from tools.explore import describe
from tools.explore.__main__ import main
from tools.runs import open_run

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} is not installed")

ENTER = "\ue007"
RIGHT, DOWN = "\ue014", "\ue015"
SOON = "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));"
SAVED = "await new Promise(done => setTimeout(done, 400));"  # the address follows the state after a while


class Pages(dict[str, Path]):
    """The pages of short runs, each written when it is needed first."""

    RUNS: ClassVar = {
        "digits": ("mnist_cnn", "data=digits", "model=mlp", "trainer.epochs=3"),
        "xor": ("xor", "corrections=false", "trainer.epochs=1"),
        "attention": ("attention", "data=recall", "trainer.max_steps=200"),
    }

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        app, *words = self.RUNS[name]
        folder = self.folder / name
        train(compose(app, ["framework=numpy", *words, f"hydra.run.dir={folder / 'run'}"]))
        assert main([str(folder / "run"), "--out", str(folder / "page.html")]) == 0
        self[name] = folder / "page.html"
        return self[name]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def shared_window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def window(shared_window: Browser) -> Iterator[Browser]:
    """Return the window of all tests, and check that nothing was logged to its console."""
    shared_window.set_size(1300, 900)
    shared_window.devtools("Emulation.setEmulatedMedia", features=[])
    yield shared_window
    assert shared_window.errors() == []


def show(window: Browser, page: Path, fragment: str = "") -> None:
    window.open("about:blank")
    window.open(f"{page.as_uri()}#{fragment}")


def text(window: Browser, selector: str) -> str:
    found: str = window.run("return document.querySelector(arguments[0]).textContent", selector)
    return found


def data_of(page: Path) -> dict[str, Any]:
    """Return the description of the run in a page."""
    (found,) = re.findall(
        r'<script type="application/json" id="description">(.*?)</script>', page.read_text()
    )
    description: dict[str, Any] = json.loads(found)
    return description


def texts(window: Browser, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)"
    found: list[str] = window.run(script, selector)
    return found


def loss_shown(window: Browser) -> float:
    return number(text(window, "#loss").split(": ")[1])


def number(shown: str) -> float:
    """Read the first number in a text of the page."""
    return float(shown.split()[0].rstrip(",").replace("\N{MINUS SIGN}", "-"))


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


def test_drawing_with_the_pointer_changes_the_prediction(pages: Pages, window: Browser) -> None:
    window.requests()
    show(window, pages["digits"])
    one, zero = draw_one_and_zero(window)
    assert (one[0], zero[0]) == ("1", "0")
    assert [url for url in window.requests() if not url.startswith(("file:", "about:"))] == []
    assert "drawing=" in window.run(f"{SAVED} return location.hash")


APPS = ["digits", *(pytest.param(app, marks=pytest.mark.slow) for app in ("xor", "attention"))]


@pytest.mark.parametrize("app", APPS)
def test_a_page_is_ready_within_a_second(app: str, pages: Pages, window: Browser) -> None:
    """Of processor time, in all processes of the browser: the machine may be busy."""
    before = window.seconds()
    window.open(pages[app].as_uri())
    assert window.run("return document.documentElement.dataset.ready")
    worked = window.seconds()
    assert 0 < sum(worked[one] - before.get(one, 0) for one in worked) < 1


def test_logits_and_loss_are_those_of_numpy(pages: Pages, window: Browser) -> None:
    show(window, pages["digits"], "example=4&target=7")
    run = open_run(str(pages["digits"].parent / "run"))
    images = describe.load_test_images(run)
    ones = np.flatnonzero(images.test_labels == 1)
    image = images.test_images[ones[1]]  # the fifth example: there are three of each class
    mean, std = run.preprocessing.mean_and_std
    logits = run.learner.logits(((image[None] / 255 - mean) / std).astype(np.float32))
    shown = [number(one) for one in texts(window, ".classes td:nth-child(3)")[:10]]
    assert shown == pytest.approx(logits[0].tolist(), rel=2e-3)
    loss = np.log(np.exp(logits - logits[0, 7]).sum())
    assert float(text(window, "#loss").split(": ")[1]) == pytest.approx(loss, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("app", "places"),
    [
        ("digits", "fc1.weight:300 fc2.bias:3 activation1:40 fc3:2 input:400"),
        ("xor", "fc1.weight:3 fc1.bias:1 sigmoid:5 fc2:2 input:1"),
        (
            "attention",
            "scores:3 weights:1 query:5 key:70 value:80 question:4 items:130 embedded:33 sum:2 logits:1 "
            "query.weight:77 key.weight:5 key.bias:2 value.weight:9 fc.weight:3 embedding.weight:{token}",
        ),
    ],
)
def test_terms_add_up_to_the_gradient_and_the_finite_difference(
    app: str, places: str, pages: Pages, window: Browser
) -> None:
    token = 64 * data_of(pages[app])["examples"][0]["input"][0] + 3 if app == "attention" else 0
    for place in places.format(token=token).split():
        show(window, pages[app], f"mode=backward&target=7&select={place}")
        gradient, difference = (number(text(window, selector)) for selector in ("#gradient", "#difference"))
        assert gradient == pytest.approx(difference, rel=2e-4, abs=1e-9), place
        levels = window.run(
            "return [...document.querySelectorAll('#explanation table')].map(table => "
            "[...table.querySelectorAll('td:last-child')].map(cell => cell.textContent))"
        )
        assert levels or place.startswith(("fc3", "logits", "fc2:"))
        if levels:
            assert number(levels[0][-1]) == pytest.approx(gradient, rel=1e-3)
        for *terms, total in levels:
            rounding = 2e-3 * max(abs(number(term)) for term in terms)
            assert sum(map(number, terms)) == pytest.approx(number(total), abs=rounding), place


@pytest.mark.slow
def test_the_slider_visits_the_layers_from_the_loss_to_the_pixels(pages: Pages, window: Browser) -> None:
    show(window, pages["digits"], "mode=backward&step=0")
    titles, waiting = [], []
    for _ in range(7):
        titles.append(text(window, "#backward h3").split(": ")[1])
        waiting.append(texts(window, ".card .quiet").count("not computed yet"))
        window.run("document.getElementById('step').focus()")
        window.press_keys(RIGHT)
        window.run(SOON)
    names = ["fc3", "activation2", "fc2", "activation1", "fc1", "flatten"]
    assert [title.split(" ")[0] for title in titles] == ["the", *names]
    assert waiting == sorted(waiting, reverse=True)
    assert waiting[0] > waiting[3] > waiting[-1] == 0


def test_everything_about_a_number_is_reached_with_the_keyboard(pages: Pages, window: Browser) -> None:
    show(window, pages["digits"])
    window.run("document.querySelector('#layer-activation1 canvas').focus()")
    window.press_keys(RIGHT, RIGHT, DOWN, ENTER)
    window.run(SOON)
    assert text(window, "#readout").startswith("output of activation1[18]")
    assert text(window, "#explanation h2") == "Chain rule for activation1[18]"
    assert "select=activation1%3A18" in window.run(f"{SAVED} return location.hash")
    unlabeled = (
        "return [...document.querySelectorAll('input, select, button, canvas, svg')].filter(one => "
        "!one.labels?.length && !one.textContent.trim() && !one.getAttribute('aria-label') "
        "&& one.checkVisibility() && !one.closest('button')).map(one => one.outerHTML)"
    )
    assert window.run(unlabeled) == []
    window.run("document.querySelector('#explanation-body button.term').focus()")
    window.press_keys(ENTER)
    window.run(SOON)
    assert text(window, "#explanation h2") != "Chain rule for activation1[18]"
    assert window.run("return document.activeElement.textContent") == text(window, "#explanation h2")


def test_a_step_can_be_undone(pages: Pages, window: Browser) -> None:
    show(window, pages["digits"], "example=4&target=7&lr=0.01&select=fc3.bias:7")
    loss, bias, gradient = (
        loss_shown(window),
        number(text(window, "#value")),
        number(text(window, "#gradient")),
    )
    click(window, "#one-step")
    stepped = loss_shown(window)
    assert stepped < loss
    assert number(text(window, "#value")) == pytest.approx(bias - 0.01 * gradient, rel=1e-5, abs=1e-7)
    click(window, "#ten-steps")
    assert loss_shown(window) < stepped
    assert text(window, "#training").startswith("11 steps")
    saved = window.run(f"{SAVED} return location.hash")
    after = loss_shown(window)
    click(window, "#undo")
    assert loss_shown(window) == stepped
    click(window, "#undo")
    assert (loss_shown(window), number(text(window, "#value"))) == (loss, bias)
    show(window, pages["digits"], saved[1:])
    assert loss_shown(window) == after  # a link repeats the steps
    click(window, "#reset")
    assert loss_shown(window) == loss


@pytest.mark.slow
def test_adam_takes_another_step(pages: Pages, window: Browser) -> None:
    show(window, pages["digits"], "example=4&target=7&lr=0.01&select=fc3.bias:7")
    bias, gradient = number(text(window, "#value")), number(text(window, "#gradient"))
    choose(window, "#training-panel select", "adam")
    click(window, "#one-step")
    assert number(text(window, "#value")) == pytest.approx(bias - 0.01 * np.sign(gradient), abs=1e-5)


@pytest.mark.slow
def test_a_large_learning_rate_is_said_to_diverge(pages: Pages, window: Browser) -> None:
    show(window, pages["digits"], "on=all&lr=0.01")
    click(window, "#ten-steps")
    assert text(window, "#warning") == ""
    choose(window, "#lr", "1000")
    click(window, "#one-step")
    assert "learning rate is too large" in text(window, "#warning")
    click(window, "#reset")
    choose(window, "#lr", "1e300")
    click(window, "#ten-steps")
    assert text(window, "#warning").startswith("Diverged")
    assert "no prediction" in text(window, "#prediction")
    click(window, "#reset")
    assert text(window, "#warning") == ""


def test_xor_is_learned_in_the_page(pages: Pages, window: Browser) -> None:
    show(window, pages["xor"], "start=drawn&seed=3&optimizer=adam&lr=0.05")
    assert any("wrong" in one for one in texts(window, "#prediction-panel td"))
    surface = window.run("return document.querySelector('#surface canvas').toDataURL()")
    click(window, "#run")
    for _ in range(100):
        if not any("wrong" in one for one in texts(window, "#prediction-panel td")):
            break
        window.run("await new Promise(done => setTimeout(done, 100))")
    click(window, "#run")
    assert not any("wrong" in one for one in texts(window, "#prediction-panel td"))
    assert window.run("return document.querySelector('#surface canvas').toDataURL()") != surface


@pytest.mark.slow
def test_gradients_vanish_through_sigmoid_layers(pages: Pages, window: Browser) -> None:
    show(window, pages["xor"], "start=drawn&depth=5")
    names, sizes = texts(window, "#gradients tbody th"), texts(window, "#gradients tbody td:nth-child(2)")
    shown = dict(zip(names, map(number, sizes), strict=True))
    weights = [shown[f"fc{layer}.weight"] for layer in range(1, 7)]
    assert weights == sorted(weights)
    assert weights[0] < weights[-1] / 1000


@pytest.mark.slow
def test_weights_of_the_graph_are_chosen_with_the_keyboard(pages: Pages, window: Browser) -> None:
    show(window, pages["xor"])
    window.run("document.querySelector('#graph g[tabindex]').focus()")
    window.press_keys(RIGHT, ENTER)
    window.run(SOON)
    assert text(window, "#explanation h2") == "Chain rule for fc1.weight[0, 1]"


@pytest.mark.slow
def test_scores_are_pulled_by_the_softmax(pages: Pages, window: Browser) -> None:
    """The gradients of the scores add up to 0, since the weights add up to 1."""
    show(window, pages["attention"], "mode=backward")
    scores = [number(one) for one in texts(window, "#softmax-panel td:nth-child(6)")]
    weights = [number(one) for one in texts(window, "#softmax-panel td:nth-child(3)")]
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    assert sum(scores) == pytest.approx(0, abs=1e-3 * max(map(abs, scores)))
    window.run("document.querySelector('#heat-panel canvas').focus()")
    window.press_keys(DOWN, ENTER)
    window.run(SOON)
    assert "asked=" in window.run(f"{SAVED} return location.hash")


@pytest.mark.parametrize("app", APPS)
def test_nothing_is_wider_than_a_narrow_screen(app: str, pages: Pages, window: Browser) -> None:
    window.set_size(360, 740)
    for fragment in ("", "mode=backward&select=fc1.weight:1&theme=dark", "mode=backward&select=scores:1"):
        show(window, pages[app], fragment)
        window.run("for (const one of document.querySelectorAll('details')) one.open = true")
        widths = window.run(
            f"{SOON} return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert widths[0] <= widths[1]


@pytest.mark.slow
def test_colors_follow_the_system_or_the_choice(pages: Pages, window: Browser) -> None:
    background = f"{SOON} return getComputedStyle(document.body).backgroundColor"
    show(window, pages["xor"])
    light = window.run(background)
    window.devtools(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    dark = window.run(background)
    assert light != dark
    show(window, pages["xor"], "theme=light")
    assert window.run(background) == light


@pytest.mark.slow
@pytest.mark.parametrize("app", list(Pages.RUNS))
def test_a_strange_address_shows_the_page(app: str, pages: Pages, window: Browser) -> None:
    """Nothing must reach the console; the fixture checks it."""
    for fragment in (
        "mode=no&step=2.5&example=1.5&target=99&select=constructor:0&theme=no&constructor=1",
        "mode=backward&step=1e9&example=-7&target=1&select=fc1.weight:1e9&head=-1&asked=1e3",
        "optimizer=no&lr=-1&on=rlength&log=sgd,1,no,5&start=no&depth=1e9&seed=1.5&drawing=%00",
        "log=sgd,x,all,1&select=input:1:2&%&=&&drawing=AAAA&start=drawn&depth=-5",
    ):
        show(window, pages[app], fragment)
        assert window.run("return document.documentElement.dataset.ready")
        click(window, "#one-step")
        assert text(window, "#training").startswith("1 step;")


@pytest.mark.slow
def test_use_for_a_minute_leaks_no_memory(pages: Pages, window: Browser) -> None:
    show(window, pages["digits"], "mode=backward&lr=0.001&on=all&select=fc2.weight:5")

    def use(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            draw_one_and_zero(window)
            click(window, "#run")
            window.run("await new Promise(done => setTimeout(done, 500))")
            click(window, "#run")
            for selector in ("#reset", "#step-body .term", ".thumbnails button:nth-child(9)"):
                click(window, selector)

    def memory() -> tuple[float, float]:
        window.devtools("HeapProfiler.collectGarbage")
        found = {one["name"]: one["value"] for one in window.devtools("Performance.getMetrics")["metrics"]}
        return found["JSHeapUsedSize"], found["Nodes"]

    window.devtools("Performance.enable")
    use(10)
    heap, nodes = memory()
    use(60)
    later_heap, later_nodes = memory()
    assert later_heap < heap + 3e6
    assert later_nodes < nodes + 500


@pytest.mark.slow
def test_predictions_of_pictures_are_those_of_predict(pages: Pages, window: Browser) -> None:
    run = open_run(str(pages["digits"].parent / "run"))
    images = describe.load_test_images(run).test_images
    mean, std = run.preprocessing.mean_and_std
    show(window, pages["digits"])
    for image in images[:100]:
        file = io.BytesIO()
        Image.fromarray(np.pad(255 - image, 6, constant_values=255)).resize((120, 120)).save(file, "PNG")
        picture = mnist_form(Image.open(io.BytesIO(file.getvalue())), "a digit").pixels
        logits = run.learner.logits(((picture[None] / 255 - mean) / std).astype(np.float32))[0]
        window.run(
            "const bytes = Uint8Array.from(atob(arguments[0]), sign => sign.charCodeAt(0));"
            "const data = new DataTransfer();"
            "data.items.add(new File([bytes], 'digit.png', { type: 'image/png' }));"
            "const field = document.querySelector('input[type=file]');"
            "field.files = data.files; field.dispatchEvent(new Event('change'));"
            "await new Promise(done => setTimeout(done, 60));" + SOON,
            base64.b64encode(file.getvalue()).decode(),
        )
        shown = [number(one) for one in texts(window, ".classes td:nth-child(3)")[:10]]
        assert shown == pytest.approx(logits.tolist(), rel=2e-3, abs=1e-5)
        assert text(window, "#prediction")[0] == str(logits.argmax())
