"""Ctrl-C and kill: everything ends within seconds, and nothing is half recorded."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.tools.regress.test_suite import TINY

SOON = 60.0  # seconds, on a busy machine; the training would take days
LONG = TINY | {"overrides": ["framework=numpy", "trainer.epochs=1000000"]}


def wait_until(condition: Callable[[], object], process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait for a condition, and fail if the process ends before."""
    end = time.monotonic() + 2 * SOON
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, "timeout"
        time.sleep(0.05)


def live_workers(folder: Path) -> list[int]:
    """Return the workers that have the folder in their command."""
    columns = ["-o", "pid=", "-o", "stat=", "-o", "args="]
    listed = subprocess.run(["ps", "-A", "-ww", *columns], capture_output=True, text=True, check=True)
    rows = [row.split(maxsplit=2) for row in listed.stdout.splitlines()]
    return [
        int(pid)
        for pid, state, words in rows
        if "tools.regress.worker" in words and str(folder) in words and not state.startswith("Z")
    ]


@contextlib.contextmanager
def training(command: list[str], folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """Start a program and wait until one of its workers trains, in a run folder in `folder`."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: list(folder.rglob("seed_*/config.yaml")), process)
        assert len(live_workers(folder)) == 1
        yield process
    finally:
        process.kill()


REGRESS = """
import sys
from pathlib import Path
from tools.regress import cases
from tools.regress.__main__ import main
cases.FOLDER = Path(sys.argv.pop(1), "cases")
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_survives_and_no_seed_is_half_recorded(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    for name in ("tiny", "waits"):
        (tmp_path / "cases" / f"{name}.yaml").write_text(json.dumps(LONG))
    out = tmp_path / "out"
    command = [sys.executable, "-c", REGRESS, str(tmp_path), f"out={out}", "jobs=1"]
    with training(command, tmp_path) as process:
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=SOON)
    if number == signal.SIGKILL:  # the worker notices that the pipe closes
        wait_until(lambda: not live_workers(tmp_path))
    else:
        assert process.returncode == 130, stderr
        assert stderr.splitlines() == ["interrupted"]
    assert live_workers(tmp_path) == []
    assert sorted(path.name for path in out.iterdir()) == ["tiny"], "no results.json of a failure"
    assert "FAILED" not in stdout


FAULTS = """
import sys
from pathlib import Path
from tools.regress import baselines, cases
from tools.regress.faults import __main__ as faults
folder = Path(sys.argv.pop(1))
cases.FOLDER, faults.RESULTS = folder / "cases", folder / "records"
baselines.git_state = lambda _: {"commit": "c0ffee", "dirty": False}
sys.exit(faults.main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [["clock_started_late", "momentum_not_kept"], ["honest"]])
def test_measuring_the_gate_ends_as_quickly(words: list[str], number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "records").mkdir()
    shutil.copy(ROOT / "conf" / "regression" / "xor_numpy.yaml", tmp_path / "cases")
    more = [f"out={tmp_path / 'out'}", "jobs=1"]
    with training([sys.executable, "-c", FAULTS, str(tmp_path), *words, *more], tmp_path) as process:
        process.send_signal(number)
        _, stderr = process.communicate(timeout=SOON)
    assert process.returncode == 130, stderr
    assert stderr.splitlines() == ["interrupted"]
    assert live_workers(tmp_path) == []
    for file in (tmp_path / "records").iterdir():
        assert '"failed"' not in file.read_text()
