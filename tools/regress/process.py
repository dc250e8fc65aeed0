"""Processes that train: starts them, sends them one seed after another, ends them (see `worker.py`)."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from tools.regress.cases import Variant

Item = TypeVar("Item")
Result = TypeVar("Result")

stopped = threading.Event()
_running: set["subprocess.Popen[str]"] = set()
_lock = threading.Lock()


def stop_all() -> None:
    """Terminate every worker, and every one that starts from now on."""
    with _lock:
        stopped.set()
        while _running:
            _running.pop().terminate()


class Worker:
    """A process that trains a variant with the code in `root`; run folders and log go to `out`.

    Ctrl-C in a terminal does not reach it, because it has a process group of its own.
    """

    def __init__(self, variant: Variant, out: Path, root: Path) -> None:
        self.limit_seconds = variant.case.limit_seconds
        runs = (out / variant.name / variant.source).resolve()
        runs.mkdir(parents=True, exist_ok=True)
        self.log = runs / "log.txt"
        words = [variant.case.model_dump_json(), variant.source, str(runs)]
        with open(self.log, "w") as log, _lock:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.regress.worker", *words],
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,
            )
            _running.add(self.process)
            if stopped.is_set():
                self.process.terminate()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        _running.discard(self.process)
        self.process.kill()
        self.process.communicate()

    def run(self, seed: int) -> dict[str, Any]:
        """Return the worker's answer; if it crashes or hangs, one that says so.

        Raises:
            CancelledError: `stop_all` has ended it, and nothing is known of this seed.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(self.limit_seconds, stop)
        timer.start()
        line = ""
        with contextlib.suppress(OSError):  # if it has already ended
            self.process.stdin.write(f"{seed}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        timer.cancel()
        if line.endswith("\n"):  # a complete one
            answer: dict[str, Any] = json.loads(line)
            return answer
        if stopped.is_set():
            raise CancelledError
        reason = f"the process ended with status {self.process.wait()}"
        if late.is_set():
            reason = f"not done after {self.limit_seconds:g} s"
        return {"seed": seed, "status": "failed", "error": f"{reason}; see {self.log}"}


def run_parallel(jobs: int, action: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Call `action` with every item in `jobs` threads, and yield the results as they arrive.

    Raises:
        KeyboardInterrupt: after all processes have been ended.
    """
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(action, item) for item in items]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            raise
