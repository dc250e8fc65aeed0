"""Run the cases of a layer: what the tests and `python -m tools.gradcheck` share."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

from shared import backprop
from tools.gradcheck import images, layers, optimizers, sequences  # noqa: F401  (they register entries)
from tools.gradcheck.entries import ENTRIES, LayerEntry, Options, Outcome
from tools.gradcheck.refusals import common_refusals, problems, special_refusals

REFERENCES = ("torch", "Keras", "finite differences")
SETTINGS: dict[str, Any] = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}


@dataclass
class Report:
    """The outcomes of all cases of one layer.

    `largest` is the largest relative difference to each reference, `compared` the number of cases
    compared with it, `lacking` the reasons for leaving out others, with their numbers.
    """

    cases: int = 0
    checks: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    compared: Counter[str] = field(default_factory=Counter)
    lacking: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of one case."""
        self.cases += 1
        self.checks += len(outcome.found)
        for one in outcome.found:
            self.largest[one.reference] = max(self.largest.get(one.reference, 0.0), one.value)
        self.compared.update({one.reference for one in outcome.found})
        self.lacking.update(outcome.lacking)
        if outcome.note and outcome.note not in self.notes:
            self.notes.append(outcome.note)


def check(
    name: str, library: Any = backprop, references: Sequence[str] = REFERENCES, shrink: bool = True
) -> Report:
    """Compare every case of a layer with the references, and check what it must refuse.

    The first cases are fixed. The others are random, but the same in every run, so that a failure can
    be repeated; `shrink` says whether to look for the smallest case that fails.
    """
    entry, report = ENTRIES[name], Report()

    def run_case(options: Options, number: int) -> None:
        outcome = entry.compare(library, options, number, references)
        report.add(outcome)
        messages = [f"{name}: {one}" for one in outcome.found if one.failed]
        assert not messages, f"{'; '.join(messages)}\nwith {options}, seed {number}"

    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    random_cases = given(entry.options, st.integers(0, 10**6))(run_case)
    random_cases = seed(0)(settings(max_examples=entry.examples, phases=phases, **SETTINGS)(random_cases))
    try:
        for number, options in enumerate(entry.always):
            run_case(options, number)
        random_cases()
    except Exception as error:
        wrong = isinstance(error, AssertionError)
        report.failures = [str(error) if wrong else f"{name}: {type(error).__name__}: {error}"]
    else:
        count, report.failures = check_refusals(name, library)
        report.checks += count
    return report


def check_refusals(name: str, library: Any) -> tuple[int, list[str]]:
    """Check what a layer must refuse; return the number of refusals, and the problems."""
    refusals = list(special_refusals(library).get(name, []))
    entry = ENTRIES[name]
    if isinstance(entry, LayerEntry):
        simplest = find(entry.options, lambda _: True, settings=settings(**SETTINGS))
        case = entry.case(library, entry.always[0] if entry.always else simplest, 0)
        refusals += common_refusals(case) if case.inputs else []
    return len(refusals), list(problems(name, library, refusals))
