"""The other side of `worker.py`: starts it, asks it for one seed after the other, ends it."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from shared.runs.environment import ROOT
from tools.regress.cases import Case

Item = TypeVar("Item")
Result = TypeVar("Result")


class Worker:
    """A process that trains one case on one source of data.

    Args:
        folder: where the cases are.
        name: the case.
        case: what is in its file.
        source: real or embedded.
        out: where run folders and the log go.
        root: the code that trains.
    """

    live: ClassVar[set["Worker"]] = set()
    stopped: ClassVar[bool] = False

    def __init__(
        self, folder: Path, name: str, case: Case, source: str, out: Path, root: Path = ROOT
    ) -> None:
        self.limit = case.limit_seconds
        runs = (out / name / source).resolve()
        runs.mkdir(parents=True, exist_ok=True)
        self.log = runs / "log.txt"
        words = [str(folder.resolve()), name, source, str(runs)]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.regress.worker", *words],
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Ctrl-C in a terminal goes to the whole group: here it is for the one that asks.
                process_group=0,
            )

    def __enter__(self) -> "Worker":
        Worker.live.add(self)
        if Worker.stopped:
            self.process.kill()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        Worker.live.discard(self)
        self.process.kill()  # nothing is asked of it any more
        self.process.communicate()

    def run(self, seed: int) -> dict[str, Any]:
        """Return what the worker answers; of one that ends or hangs, that it failed.

        Raises:
            CancelledError: `stop_all` has ended it: nothing is known of this seed.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(self.limit, stop)
        timer.start()
        try:
            self.process.stdin.write(f"{seed}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:  # it has ended before
            line = ""
        finally:
            timer.cancel()
        if line.endswith("\n"):  # a whole one
            answer: dict[str, Any] = json.loads(line)
            return answer
        if Worker.stopped:
            raise CancelledError
        reason = f"the process ended with status {self.process.wait()}"
        if late.is_set():
            reason = f"not done after {self.limit:g} s"
        return {"seed": seed, "status": "failed", "error": f"{reason}; see {self.log}"}

    @classmethod
    def stop_all(cls) -> None:
        """End every process that trains, and let none begin."""
        cls.stopped = True
        for worker in list(cls.live):
            worker.process.kill()


def side_by_side(
    jobs: int,
    action: Callable[[Item], Result],
    items: Sequence[Item],
    stop: Callable[[], None] = Worker.stop_all,
) -> Iterator[Result]:
    """Do `action` for every item, `jobs` at a time, and yield what it returns when it is done.

    Args:
        jobs: how many at a time.
        action: waits for processes and does little itself.
        items: what to do it for.
        stop: ends the processes that actions wait for.

    Raises:
        KeyboardInterrupt: after every process has been ended.
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
                stop()  # what has begun meanwhile
            raise
