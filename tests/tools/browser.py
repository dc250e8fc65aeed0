"""A real browser for tests: Chromium, driven by its own chromedriver with plain HTTP."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
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
            "goog:loggingPrefs": {"performance": "ALL"},
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
