"""Runs the cases of a suite in parallel, and decides on each as soon as it is clear."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from accuracy_gate import Record, Verdict, decide, refusal
from shared.errors import ConfigError, DataError
from shared.files import write_json
from shared.runs.environment import ROOT
from tools.regress.baselines import read_baseline, record_of
from tools.regress.cases import Variant
from tools.regress.process import Worker, run_parallel

Result = TypeVar("Result")


@dataclass
class Suite:
    """The variants of each case in the order of preference, and the raw results so far by title.

    `root` has the code that trains.
    """

    variants: Mapping[str, Sequence[Variant]]
    out: Path
    jobs: int = 1
    root: Path = ROOT
    results: dict[str, Record] = field(default_factory=dict)
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

    def measure(self, name: str, seeds: int) -> tuple[Variant, Record]:
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
                if last.problem:
                    raise ConfigError(f"{variant.title}: nothing recorded: {last.problem}")
            else:
                return variant, record
        raise DataError(f"{name}: {last.error}")

    def _train(
        self, variant: Variant, seeds: Iterable[int], baseline: Record | None = None
    ) -> Iterator[Record]:
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
        looks = variant.case.looks
        seeds = [run.seed for run in baseline.runs][: looks[-1]] if baseline else [0]
        for record in self._train(variant, seeds, baseline):
            last = record.runs[-1]
            if last.status in ("no data", "refused") and len(record.runs) == 1:
                return Verdict(variant.title, last.status, last.error, (), baseline, record)
            if baseline is None:
                more = f" data={variant.source}" if variant.source != "real" else ""
                reason = f"there is no baseline; record one with make bless case={variant.name}{more}"
                return Verdict(variant.title, "refused", reason, (), None, record)
            if refused := refusal(baseline, record):
                return refused
            look = len(record.runs) in looks or last.status != "done"
            if look and (verdict := decide(baseline, record, variant.plan(len(baseline.runs)))):
                return verdict
        raise AssertionError("the last look always decides")
