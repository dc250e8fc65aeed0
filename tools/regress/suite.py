"""Runs the cases of a suite in parallel processes, and decides on each as soon as it is clear."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from accuracy_gate import Results, Verdict, look, refusal
from shared.errors import ConfigError, DataError
from shared.output_file import write_json
from shared.runs.environment import ROOT
from tools.regress.baselines import read_baseline, record_of
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
            return json.loads(line)
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


@dataclass
class Suite:
    """The variants of each case in the order of preference, and the raw results so far by title.

    `root` is the checkout whose code trains.
    """

    variants: Mapping[str, Sequence[Variant]]
    out: Path
    jobs: int = 1
    root: Path = ROOT
    results: dict[str, Results] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, action: Callable[[str], Result]) -> Iterator[Result]:
        """Call `action` with the name of every case, `jobs` at a time; yield the results as they arrive."""
        return run_parallel(self.jobs, action, list(self.variants))

    def verdict(self, name: str) -> Verdict:
        """Run a case, on the embedded sample if the real data is missing, and decide."""
        notes: tuple[str, ...] = ()
        for variant in self.variants[name]:
            verdict = self._verdict(variant)
            if verdict.outcome != "no data":
                return replace(verdict, notes=(*notes, *verdict.notes))
            notes = (f"on the embedded sample instead: {verdict.reason}",)
        return verdict

    def measure(self, name: str, seeds: int) -> tuple[Variant, Results]:
        """Run the first `seeds` seeds of a case; return the variant that has data, and its record.

        Raises:
            ConfigError: a run failed.
            DataError: the data is missing.
        """
        for variant in self.variants[name]:
            for record in self._train(variant, range(seeds)):
                last = record.runs[-1]
                if last.status == "no data":
                    break
                if problem := record.problem(last):
                    raise ConfigError(f"{variant.title}: nothing recorded: {problem}")
            else:
                return variant, record
        raise DataError(f"{name}: {last.error}")

    def _train(
        self, variant: Variant, seeds: Iterable[int], baseline: Results | None = None
    ) -> Iterator[Results]:
        """Train one seed after another; yield the record so far, when all raw results are written."""
        answers: list[dict[str, Any]] = []
        with Worker(variant, self.out, self.root) as worker:
            for seed in seeds:
                answers.append(worker.run(seed))
                record = record_of(variant, answers, baseline)
                with self.lock:
                    self.results[record.case] = record
                    cases = [self.results[case].as_json() for case in sorted(self.results)]
                    write_json(self.out / "results.json", {"cases": cases})
                yield record

    def _verdict(self, variant: Variant) -> Verdict:
        baseline = read_baseline(variant)
        if baseline and (refused := refusal(baseline, record_of(variant, [], baseline))):
            return refused  # another configuration: no need to train
        seeds = [run.seed for run in baseline.runs][: variant.case.looks[-1]] if baseline else [0]
        for record in self._train(variant, seeds, baseline):
            last = record.runs[-1]
            if last.status in ("no data", "refused") and len(record.runs) == 1:
                return Verdict(variant.title, last.status, last.error, (), baseline, record)
            if baseline is None:
                more = f" data={variant.source}" if variant.source != "real" else ""
                reason = f"there is no baseline; record one with make bless case={variant.name}{more}"
                return Verdict(variant.title, "refused", reason, (), None, record)
            if verdict := look(baseline, record, variant.plan(len(baseline.runs))):
                return verdict
        raise AssertionError("the last look always decides")
