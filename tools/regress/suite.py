"""Runs the cases of a suite, a few at a time, and decides on each as soon as it is clear."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from accuracy_gate import Plan, Record, Verdict, decide, refusal
from accuracy_gate.plan import FEWEST
from shared.errors import ConfigError, DataError
from tools.regress import baselines, cases
from tools.regress.cases import Case
from tools.regress.output import write_json
from tools.regress.process import Worker, side_by_side

Result = TypeVar("Result")


@dataclass
class Suite:
    """What the command line asks for, and the raw results so far.

    Attributes:
        names: the cases to run.
        sources: which data to try, in this order.
        out: the folder of the results.
        jobs: how many cases run at a time.
        cases: the folder of the cases.
        baselines: the folder of the baselines.
        results: the records so far, by what the cases are called.
        configs: by case and source, what a baseline must have been made with.
    """

    names: Sequence[str]
    sources: Sequence[str]
    out: Path
    jobs: int
    cases: Path = cases.FOLDER
    baselines: Path = baselines.FOLDER
    results: dict[str, Record] = field(default_factory=dict)
    configs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        """Compose and check every configuration before anything runs (Hydra knows no threads).

        Raises:
            ConfigError: one is wrong.
        """
        for name in self.names:
            for source, case in self.tries(name):
                try:
                    self.configs[name, source] = case.comparable(source)
                    if not self.plan(FEWEST, case.looks).can_fail:
                        raise ConfigError(f"looks={case.looks} are too few seeds ever to fail")
                except ConfigError as error:
                    raise ConfigError(f"{name}.yaml, {source} data: {error}") from error

    def tries(self, name: str) -> Iterator[tuple[str, Case]]:
        """Yield the sources of data that are asked for; a case with one only has that one."""
        case = cases.load(name, self.cases)
        for source in self.sources if case.embedded is not None else ("real",):
            yield source, case

    def each(self, action: Callable[[str], Result]) -> Iterator[Result]:
        """Do `action` for every case, `jobs` at a time, and yield what it returns when it is done.

        Raises:
            KeyboardInterrupt: after every process has been ended.
        """
        return side_by_side(self.jobs, action, self.names)

    def keep(self, record: Record) -> None:
        """Write all raw results, this one among them, before anything is decided by them."""
        with self.lock:
            self.results[record.case] = record
            content = {"cases": [self.results[case].as_json() for case in sorted(self.results)]}
            write_json(self.out / "results.json", content)

    def verdict(self, name: str) -> Verdict:
        """Run a case, on the embedded sample where the real data is missing, and decide."""
        notes: tuple[str, ...] = ()
        for source, case in self.tries(name):
            verdict = self._verdict(name, source, case)
            if verdict.outcome != "no data":
                return replace(verdict, notes=(*notes, *verdict.notes))
            notes = (f"the embedded sample stands in: {verdict.reason}",)
        return verdict

    def trained(self, name: str, seeds: int) -> tuple[str, Record]:
        """Run `seeds` seeds of a case; return the source of its data and the record.

        Raises:
            ConfigError: a run has failed.
            DataError: the data is missing.
        """
        for source, case in self.tries(name):
            title = baselines.title(name, source)
            answers: list[dict[str, Any]] = []
            with Worker(self.cases, name, case, source, self.out) as worker:
                while len(answers) < seeds and all(one["status"] == "done" for one in answers):
                    answers.append(worker.run(len(answers)))
                    record = baselines.record_of(title, self.configs[name, source], answers, None)
                    self.keep(record)
            if answers[-1]["status"] == "no data":
                missing = f"{name}: {answers[-1]['error']}"
                continue
            for fault in filter(None, (run.fault for run in record.runs)):
                raise ConfigError(f"{title}: nothing recorded: {fault}")
            return source, record
        raise DataError(missing)

    def plan(self, baseline: int, looks: Sequence[int]) -> Plan:
        """Return the plan of a case: it takes the seeds of its baseline, in their order."""
        return Plan(baseline, len(cases.names(self.cases)), tuple(looks), paired=True)

    def _verdict(self, name: str, source: str, case: Case) -> Verdict:
        title = baselines.title(name, source)
        baseline = baselines.read(name, source, self.baselines)
        config = self.configs[name, source]
        if baseline:
            planned = baselines.record_of(title, config, [], baseline)
            refused = refusal(baseline, planned)
            if refused:  # another configuration: no need to train to see that
                return refused
        looks = case.looks if baseline else [1]
        seeds = [run.seed for run in baseline.runs] if baseline else [0]
        answers: list[dict[str, Any]] = []
        with Worker(self.cases, name, case, source, self.out) as worker:
            for seed in seeds[: looks[-1]]:
                answers.append(worker.run(seed))
                record = baselines.record_of(title, config, answers, baseline)
                self.keep(record)
                undecided = _undecided(title, answers[-1], baseline, record)
                if undecided:
                    return undecided
                assert baseline
                if len(answers) in looks or answers[-1]["status"] != "done":
                    plan = self.plan(len(baseline.runs), looks)
                    verdict = decide(baseline, record, plan)
                    if verdict:
                        return verdict
        raise AssertionError("the last look always decides")


def _undecided(title: str, answer: dict[str, Any], baseline: Record | None, record: Record) -> Verdict | None:
    """Return why there is nothing to hold against each other; None where there is."""
    if answer["status"] in ("no data", "refused") and len(record.runs) == 1:
        return Verdict(title, answer["status"], answer["error"], (), baseline, record)
    if baseline is None:
        name, _, source = title.partition(".")
        more = f" data={source}" if source else ""
        reason = f"there is no baseline: make bless case={name}{more} records one"
        return Verdict(title, "refused", reason, (), None, record)
    return refusal(baseline, record)
