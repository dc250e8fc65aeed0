"""The parent's side of `worker.py`: starts it, sends it one seed after another, ends it."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from shared.runs.environment import ROOT
from tools.regress.cases import Variant

Item = TypeVar("Item")
Result = TypeVar("Result")


class Worker:
    """A process that trains one variant of a case.

    Args:
        variant: what to train.
        out: the folder for run folders and the log.
        root: the code that trains.
    """

    live: ClassVar[set["Worker"]] = set()
    stopped: ClassVar[bool] = False

    def __init__(self, variant: Variant, out: Path, root: Path = ROOT) -> None:
        self.limit_seconds = variant.case.limit_seconds
        runs = (out / variant.name / variant.source).resolve()
        runs.mkdir(parents=True, exist_ok=True)
        self.log = runs / "log.txt"
        words = [str(variant.cases.resolve()), variant.name, variant.source, str(runs)]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.regress.worker", *words],
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,  # so that Ctrl-C in a terminal reaches only the parent
            )

    def __enter__(self) -> "Worker":
        Worker.live.add(self)
        if Worker.stopped:
            self.process.kill()
        return self

    def __exit__(self, *_: object) -> None:
        Worker.live.discard(self)
        self.process.kill()
        self.process.communicate()

    def run(self, seed: int) -> dict[str, Any]:
        """Return the worker's answer; if it crashes or hangs, one that says so.

        Raises:
            CancelledError: `stop_all` has ended the worker, and nothing is known of this seed.
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
        if Worker.stopped:
            raise CancelledError
        reason = f"the process ended with status {self.process.wait()}"
        if late.is_set():
            reason = f"not done after {self.limit_seconds:g} s"
        return {"seed": seed, "status": "failed", "error": f"{reason}; see {self.log}"}

    @classmethod
    def stop_all(cls) -> None:
        """Kill all workers, and every worker that starts from now on."""
        cls.stopped = True
        for worker in list(cls.live):
            worker.process.kill()


def run_parallel(
    jobs: int,
    action: Callable[[Item], Result],
    items: Sequence[Item],
    stop: Callable[[], None] = Worker.stop_all,
) -> Iterator[Result]:
    """Call `action` with every item, `jobs` at a time, and yield the results as they arrive.

    Args:
        jobs: number of threads.
        action: waits for processes and computes little itself.
        items: the arguments.
        stop: ends the processes that actions wait for.

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
            stop()
            while not all(future.done() for future in futures):
                time.sleep(0.1)
                stop()  # processes that have started meanwhile
            raise
