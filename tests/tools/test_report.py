import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from urllib.request import urlopen

import pytest

from shared import charts
from shared.errors import TrainingDiverged
from shared.runs.folder import RunFolder
from shared.runs.repeat import PYTHON
from tests.helpers import mnist_config
from tests.tools.browser import MISSING, Browser, browser
from tools.report.__main__ import main

HOSTILE = "</script><script>window.broken = 1</script><!-- <img src=http://127.0.0.1:9/x> & \" '"
EPOCHS = 3
TEXTS = "return [...document.querySelectorAll('{}')].map(one => one.textContent.trim())"
STEPS = [{"epoch": 1 + number // 4, "loss": 2 / (1 + number)} for number in range(12)]


def history(accuracy: float) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "train_accuracy": accuracy * epoch / EPOCHS,
            "validation_loss": 1.1 / epoch,
            "validation_accuracy": accuracy,
            "seconds": 0.5,
        }
        for epoch in range(1, EPOCHS + 1)
    ]


@cache
def curves_png() -> bytes:
    return charts.learning_curves(STEPS, history(0.9), "a run")


def make_run(path: Path, *words: str, error: BaseException | None = None, **metrics: Any) -> None:
    """Leave a run folder as a training does."""
    run = RunFolder.open(mnist_config(path, *words))
    with pytest.raises(type(error)) if error else run.session():
        if error:
            with run.session():
                raise error
        for row in history(0.9):
            run.add_row("history.csv", row)
        run.write_rows("history.csv")
        run.write("curves.png", curves_png())
        run.metrics |= {
            "model": "cnn",
            "dataset": "digits",
            "test_accuracy": 0.9,
            "test_loss": 0.25,
            "train_seconds": 1.5,
            "parameters": 1234,
            "epochs": EPOCHS,
            "git": {"commit": "0123abcd", "dirty": False},
            **metrics,
        }


def page_of(folders: list[Path], out: Path, *options: str) -> str:
    assert main([*map(str, folders), "--out", str(out), *options]) == 0
    return out.read_text()


def data_in(page: str) -> list[dict[str, Any]]:
    """Return the runs in the page, read as a browser does: up to the first </script>."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    found: list[dict[str, Any]] = json.loads(text)["runs"]
    return found


def test_runs_of_every_status_are_in_the_page(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    make_run(runs / "2026-01-01_00-00-01")
    make_run(runs / "2026-01-01_00-00-02", error=TrainingDiverged("the loss is nan"))
    make_run(runs / "2026-01-01_00-00-03", error=KeyboardInterrupt("after step 3"))
    make_run(runs / "2026-01-01_00-00-04", error=ZeroDivisionError("a defect"))
    RunFolder.open(mnist_config(runs / "2026-01-01_00-00-05"))
    page = page_of([runs], tmp_path / "page.html")
    found = data_in(page)
    assert [run["status"] for run in found] == ["not ended", "failed", "interrupted", "diverged", "done"]
    assert found[3]["error"] == "the loss is nan"
    done = found[-1]
    assert (done["accuracy"], done["loss"], done["started"]) == (0.9, 0.25, "2026-01-01 00:00")
    assert done["history"]["validation_loss"] == [1.1 / epoch for epoch in (1, 2, 3)]
    assert done["config"]["data.name"] == "digits"
    assert done["facts"]["metrics.git.commit"] == "0123abcd"
    assert done["command"] == f"{PYTHON} -m apps.mnist_cnn data=digits"
    for run in found:  # what there is without a script
        assert f"<tr><th>{run['name']}</th><td>mnist_cnn</td><td>{run['status']}</td>" in page


def test_nothing_in_a_run_becomes_html(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "<img src=x> & 'run'"
    make_run(tmp_path / "run", dataset=HOSTILE, model=HOSTILE)
    folder.parent.mkdir()
    (tmp_path / "run").rename(folder)
    metrics = json.loads((folder / "metrics.json").read_text()) | {"status": HOSTILE}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text + f"extra: {json.dumps(HOSTILE)}\n")
    page = page_of([tmp_path / "runs"], tmp_path / "page.html")
    (run,) = data_in(page)
    assert (run["dataset"], run["status"], run["name"]) == (HOSTILE, HOSTILE, folder.name)
    assert run["config"]["extra"] == HOSTILE
    assert not run["command"]
    assert "the key extra is unknown" in run["problem"]
    assert "<script>window" not in page
    assert "<img" not in page
    assert "<!--" not in page
    assert page.count("</script>") == 2  # data, script


@pytest.mark.parametrize(("options", "images"), [([], "data: 'self' file:"), (["--embed"], "data:")])
def test_the_policy_forbids_every_request(options: list[str], images: str, tmp_path: Path) -> None:
    """Except for pictures of this machine."""
    make_run(tmp_path / "runs" / "a")
    page = page_of([tmp_path / "runs"], tmp_path / "page.html", *options)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith(f"default-src 'none'; img-src {images}; style-src 'sha256-")
    assert "http" not in policy
    assert "unsafe" not in policy
    assert not re.search(r'(src|href)=(?!"data:,")', page.partition("<script>")[0])


def test_damaged_and_foreign_folders_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    make_run(runs / "good")
    copies = ("bad_metrics", "bad_history", "list_metrics", "bad_config", "no_config", "bytes")
    for name in (*copies, "odd"):
        shutil.copytree(runs / "good", runs / name)
    (runs / "bad_metrics" / "metrics.json").write_text("{")
    (runs / "bad_history" / "history.csv").write_text("epoch,train_loss\n1,0.5\n2\n")
    (runs / "list_metrics" / "metrics.json").write_text("[NaN]")
    (runs / "bad_config" / "config.yaml").write_text("a: [")
    (runs / "no_config" / "config.yaml").unlink()
    (runs / "bytes" / "config.yaml").write_bytes(b"\xff\xfe\x00app: \x80")
    (runs / "odd" / "config.yaml").write_text("app: {1: []}\nframework: [1]\nseed: x\nmodel: 3\n")
    (runs / "foreign").mkdir()
    (runs / "foreign" / "config.yaml").write_text("key: value\n")
    page = page_of([runs, tmp_path / "nowhere"], tmp_path / "page.html")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9
    for name in (*copies, "foreign", "nowhere", "odd"):
        assert sum(f"/{name}" in line for line in lines) == 1, name
        assert f"<li>{tmp_path}" in page
    names = {run["name"] for run in data_in(page)}
    assert names == {"good", "bad_metrics", "bad_history", "list_metrics", "odd"}
    assert "problems in 9 folders" in page


def test_values_that_are_not_finite_numbers_are_left_out(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a")
    folder = tmp_path / "runs" / "a"
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics |= {"test_loss": float("inf"), "test_accuracy": "much", "epochs": None}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.csv").write_text("epoch,train_loss\n1,nan\n2,0.5\n")
    (run,) = data_in(page_of([folder], tmp_path / "page.html"))
    assert (run["loss"], run["accuracy"], run["epochs"]) == (None, None, None)
    assert run["history"] == {"epoch": [1, 2], "train_loss": [None, 0.5]}


def test_no_run_or_an_unwritable_page_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    for folder, out, message in (
        ("empty", "page.html", f"no run in {tmp_path}/empty: train something first"),
        ("run", "run/curves.png/x.html", f"cannot write {tmp_path}/run/curves.png/x.html: the folder "),
        ("run", "", f"cannot write {tmp_path}: it is a folder; name a file in it"),
    ):
        assert main([str(tmp_path / folder), "--out", str(tmp_path / out)]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {message}")


def test_pictures_are_linked_or_embedded(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "plain")
    file = (tmp_path / "runs" / "plain").rename(tmp_path / "runs" / "a: 50% #1?é") / "curves.png"
    (tmp_path / "pages").mkdir()
    for name, options in (("pages/linked.html", []), ("embedded.html", ["--embed"])):
        out = tmp_path / name
        (picture,) = data_in(page_of([tmp_path / "runs"], out, *options))[0]["pictures"]
        assert picture.keys() == {"name", "path", "address"}
        assert picture["path"] == str(file)
        with urlopen(urljoin(out.as_uri(), picture["address"])) as opened:
            assert opened.read() == file.read_bytes()
        assert picture["address"].startswith("data:") == bool(options)
        assert (out.stat().st_size > file.stat().st_size) == bool(options)


def test_shortened_runs_are_marked(tmp_path: Path) -> None:
    for name, words in (
        ("a", []),
        ("b", ["debug=smoke"]),
        ("c", ["trainer.max_steps=3", "data.test_limit=9"]),
    ):
        make_run(tmp_path / "runs" / name, *words)
    page = page_of([tmp_path / "runs"], tmp_path / "page.html")
    marks = {run["name"]: run["debug"] for run in data_in(page)}
    assert marks == {"a": "", "b": "smoke", "c": "max_steps=3, test_limit=9"}
    assert "<th>b</th><td>mnist_cnn</td><td>done</td><td>smoke</td>" in page
    assert "3 runs of 1 application, newest first; 2 shortened for debugging" in page


needs_browser = pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not on the PATH")


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as opened:
        yield opened


def choose(window: Browser, *names: str) -> None:
    """Tick the runs of these names, and no others, as a user does."""
    window.run("document.getElementById('clear').click()")
    for name in names:
        window.run(
            "[...document.querySelectorAll('#runs tbody tr')].find(row => "
            "row.cells[0].textContent.trim() === arguments[0]).querySelector('input').click()",
            name,
        )


def assert_soon(window: Browser, script: str, expected: Any) -> None:
    """Assert what a script returns after the browser has drawn and loaded what is missing."""
    for _ in range(100):
        if (found := window.run(script)) == expected:
            break
        time.sleep(0.1)
    assert found == expected


@pytest.mark.slow
@needs_browser
def test_in_a_browser_runs_are_sorted_filtered_and_compared(tmp_path: Path, window: Browser) -> None:
    runs = tmp_path / "runs"
    for seed, accuracy in ((1, 0.5), (2, 0.9), (3, 0.7)):
        words = ["framework=numpy"] if seed == 3 else []
        make_run(runs / f"run {seed}", f"seed={seed}", *words, test_accuracy=accuracy)
    make_run(runs / "stopped", error=KeyboardInterrupt("after step 3"), dataset=HOSTILE)
    make_run(runs / "hostile", dataset=HOSTILE, model=HOSTILE)
    (runs / "hostile").rename(runs / HOSTILE.replace("/", "|"))
    make_run(runs / "smoke", "debug=smoke", test_accuracy=1.0)
    page_of([runs], tmp_path / "page.html")
    window.open(f"file://{tmp_path}/page.html")
    assert "smoke (smoke)" not in window.run(TEXTS.format(".legend li")), "not compared at first"
    names = TEXTS.format("#runs tbody th")
    click = (
        "[...document.querySelectorAll('#runs thead button')]"
        ".find(one => one.textContent === arguments[0]).click()"
    )
    window.run(click, "test accuracy")
    assert window.run(names)[0] == "run 1"
    assert window.run(names)[-2:] == ["stopped", "smoke"]
    window.run(click, "test accuracy")
    assert window.run("return document.querySelector('[aria-sort=descending]') !== null")
    last = window.run(names)[-2:]
    assert last == ["stopped", "smoke"], "what has no accuracy or was shortened comes last either way"
    choose(window, "smoke")
    assert window.run(TEXTS.format(".legend li")) == ["smoke (smoke)"]
    search = "const box = document.getElementById('text'); box.value = arguments[0];"
    search += "box.dispatchEvent(new Event('input'))"
    window.run(search, "framework=numpy seed=3")
    assert window.run(names) == ["run 3"]
    window.run(search, "")
    asked = window.requests()
    assert f"file://{runs}/run%201/curves.png" not in asked, "not looked at so far"
    choose(window, "run 1", "run 3", "stopped")
    curves = TEXTS.format(".charts svg title")
    kinds = [f"run {n}, {part}" for n in (1, 3) for part in ("training", "validation")]
    assert_soon(window, curves, kinds * 2)
    differing = window.run(TEXTS.format("#configs tr.differs th"))
    assert {"\u2260 seed differs", "\u2260 framework differs"} <= set(differing)
    window.run("document.querySelector('.run').scrollIntoView()")
    assert_soon(window, "return [...document.images].map(one => one.naturalWidth)", [1200, 1200])
    choose(window, HOSTILE.replace("/", "|"))
    assert window.run("return window.broken === undefined")
    asked += window.requests()
    assert asked[0] == f"file://{tmp_path}/page.html"
    assert f"file://{runs}/run%201/curves.png" in asked
    assert all(url.startswith(("data:", f"file://{runs}/")) for url in asked[1:]), asked
    (tmp_path / "page.html").rename(tmp_path / "runs" / "moved.html")
    window.open(f"file://{tmp_path}/runs/moved.html")
    choose(window, "run 1")
    window.run("document.querySelector('.run').scrollIntoView()")
    advice = "Run make report again; a page written with ARGS=--embed can be moved."
    assert_soon(window, TEXTS.format("figure"), [f"{runs}/run 1/curves.png was not found. {advice}"])


class Listener(BaseHTTPRequestHandler):
    """Records the requests."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.slow
@needs_browser
def test_in_a_browser_a_planted_request_is_seen_and_the_policy_stops_it(
    tmp_path: Path, window: Browser
) -> None:
    """Without this, counting no request would prove nothing."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/planted"
    make_run(tmp_path / "runs" / "a")
    page = page_of([tmp_path / "runs"], tmp_path / "page.html")
    planted = page.replace("<h1>", f'<img src="{address}"><h1>')
    (tmp_path / "planted.html").write_text(planted)
    window.open(f"file://{tmp_path}/planted.html")
    assert server.asked == []  # type: ignore[attr-defined]
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", planted)
    (tmp_path / "free.html").write_text(free)
    window.open(f"file://{tmp_path}/free.html")
    assert address in window.requests()
    assert server.asked == ["/planted"]  # type: ignore[attr-defined]
    server.shutdown()


@pytest.mark.slow
@needs_browser
def test_in_a_browser_a_thousand_runs_open_in_two_seconds(tmp_path: Path, window: Browser) -> None:
    """Seconds of processor time in all of the browser's processes: on a free core they pass."""
    make_run(tmp_path / "original")
    files = {path.name: path.read_bytes() for path in (tmp_path / "original").iterdir()}
    metrics = json.loads(files.pop("metrics.json"))
    config = files.pop("config.yaml").decode()
    for number in range(1000):
        folder = tmp_path / "runs" / f"2026-01-01_00-{number // 60:02}-{number % 60:02}"
        folder.mkdir(parents=True)
        changed = metrics | {"test_accuracy": number / 1000, "seed": number}
        (folder / "metrics.json").write_text(json.dumps(changed))
        (folder / "config.yaml").write_text(re.sub("(?m)^seed: .*", f"seed: {number}", config))
        for name, content in files.items():  # no two pictures alike
            tail = f"{number:099}".encode() if name.endswith(".png") else b""
            (folder / name).write_bytes(content + tail)
    page_of([tmp_path / "runs"], tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 10_000_000, "without pictures"
    before = window.seconds()
    window.open(f"file://{tmp_path}/page.html")
    assert window.run("return document.querySelectorAll('#runs tbody tr').length") == 100
    window.run("document.querySelector('#runs thead button').click()")
    worked = window.seconds()
    assert 0 < sum(worked[one] - before.get(one, 0) for one in worked) < 2
    window.run("document.getElementById('more-rows').click()")
    assert window.run("return document.querySelectorAll('#runs tbody tr').length") == 1000
