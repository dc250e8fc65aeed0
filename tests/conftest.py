"""Loaded before any test."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.forks import Forks

# What a shell starts in the background ignores Ctrl-C, and so does what it starts; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests that run side by side get a core each, and whatever they start inherits it: libraries whose
# threads wait by spinning would take it from each other, at several times the cost.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_collectstart() -> None:
    """Load torch's compiler before TensorFlow, where tests are run: pytest-xdist's own process
    collects nothing and needs neither.
    """
    import shared.parity  # noqa: F401  (see there)


@pytest.fixture
def keras_float64() -> Iterator[None]:
    """Let Keras build its networks in float64."""
    from tools.gradcheck.entries import double_precision

    with double_precision():
        yield


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The matplotlib figure of each chart that is drawn."""
    from shared import charts

    drawn: list[Any] = []
    to_png = charts.png

    def png(chart: Any) -> bytes:
        drawn.append(chart)
        return to_png(chart)

    monkeypatch.setattr(charts, "png", png)
    return drawn


@pytest.fixture(scope="session")
def no_frameworks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which importing any framework ends the program with status 99."""
    folder = tmp_path_factory.mktemp("poisoned")
    for name in ("torch", "tensorflow", "keras"):
        (folder / f"{name}.py").write_text("import os; os._exit(99)")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="session")
def forks(no_frameworks: dict[str, str]) -> Iterator[Forks]:
    """Runs commands that end before a framework is needed, quickly."""
    started = Forks(no_frameworks)
    yield started
    started.close()
