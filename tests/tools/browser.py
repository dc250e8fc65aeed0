"""A real browser for tests: Chromium, driven by its own chromedriver with plain HTTP."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# The browser itself must not send requests: they would be counted.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
SECONDS = 120


class Browser:
    """One window.

    Args:
        address: the session's, at its chromedriver.
        driver: the process id of that.
    """

    def __init__(self, address: str, driver: int) -> None:
        self._address = address
        self._driver = driver

    def _post(self, command: str, **content: Any) -> Any:
        return answer(f"{self._address}/{command}", content)

    def open(self, url: str) -> None:
        """Open a page and wait until it and all in it is loaded."""
        self._post("url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a function body in the page; return its result."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def press_keys(self, *keys: str) -> None:
        """Press keys one after the other, where the focus is; see W3C WebDriver, section 17.4.2."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def draw(self, points: Sequence[tuple[float, float]]) -> None:
        """Press the pointer at the first point of the window, move it through the others, and lift it."""
        moves = [{"type": "pointerMove", "duration": 20, "x": round(x), "y": round(y)} for x, y in points]
        steps = [
            moves[0],
            {"type": "pointerDown", "button": 0},
            *moves[1:],
            {"type": "pointerUp", "button": 0},
        ]
        self._post("actions", actions=[{"type": "pointer", "id": "pointer", "actions": steps}])

    def set_size(self, width: int, height: int) -> None:
        """Set the size of the page, which may be narrower than a window can be."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def devtools(self, command: str, **params: Any) -> Any:
        """Send a command of the Chrome DevTools Protocol; return its result."""
        return self._post("goog/cdp/execute", cmd=command, params=params)

    def errors(self) -> list[str]:
        """Return the warnings and errors in the console since the last call."""
        return [entry["message"] for entry in self._post("se/log", type="browser")]

    def seconds(self) -> dict[int, float]:
        """Return the processor time of each of the browser's processes so far."""
        parents, worked = {}, {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # the process has ended
                fields = stat.read_text().rpartition(")")[2].split()  # proc(5), from the state on
                process = int(stat.parent.name)
                parents[process] = int(fields[1])
                worked[process] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        own = {self._driver}
        while more := {one for one, parent in parents.items() if parent in own} - own:
            own |= more
        return {process: worked[process] for process in own if process in worked}

    def requests(self) -> list[str]:
        """Return the URL of every request since the last call."""
        entries = [
            json.loads(entry["message"])["message"] for entry in self._post("se/log", type="performance")
        ]
        sent = [entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent]


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile and end it."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert driver.stdout is not None
        said = next(line for line in driver.stdout if "started successfully on port" in line)
        port = re.findall(r"\d+", said)[-1]
        address = f"http://127.0.0.1:{port}/session"
        wanted = {
            "goog:chromeOptions": {"args": [*OPTIONS, f"--user-data-dir={profile}"]},
            "goog:loggingPrefs": {"performance": "ALL", "browser": "WARNING"},
        }
        session = answer(address, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            window = Browser(f"{address}/{session}", driver.pid)
            window.open("about:blank")
            window.requests()  # those of the page that a new window shows
            yield window
        finally:
            request = urllib.request.Request(f"{address}/{session}", method="DELETE")
            urllib.request.urlopen(request, timeout=SECONDS).close()
    finally:
        driver.terminate()
        driver.communicate()


def answer(address: str, content: dict[str, Any]) -> Any:
    """Return the value in what chromedriver answers."""
    request = urllib.request.Request(
        address, json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=SECONDS) as response:
        return json.load(response)["value"]
