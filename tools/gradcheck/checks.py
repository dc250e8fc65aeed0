"""Run the cases of a layer: what the tests and `python -m tools.gradcheck` share."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

from shared import backprop
from tools.gradcheck import images, layers, sequences  # noqa: F401  (they register their entries)
from tools.gradcheck.comparison import Difference, compare, side_effects
from tools.gradcheck.entries import ENTRIES, Options
from tools.gradcheck.optimizers import CLIPPING, OPTIMIZERS, compare_clipping, compare_optimizer
from tools.gradcheck.refusals import common_refusals, problems, special_refusals

REFERENCES = ("torch", "keras", "finite differences")
SETTINGS: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "phases": [Phase.generate, Phase.shrink],
    "suppress_health_check": list(HealthCheck),
}


@dataclass
class Outcome:
    """The differences found in one case, and why some references were left out."""

    found: list[Difference]
    lacking: list[str] = field(default_factory=list)
    note: str = ""


@dataclass
class Report:
    """The outcomes of all cases of one layer.

    `largest` is the largest relative difference to each reference, `compared` the number of cases
    compared with it, `lacking` the reasons for leaving out others, with their numbers.
    """

    layer: str
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


def check(name: str, library: Any = backprop) -> Report:
    """Compare every case of a layer with every reference, and check what it must refuse."""
    report = Report(name)

    def use(options: Options, number: int) -> None:
        outcome = run_case(name, library, options, number, REFERENCES)
        report.add(outcome)
        messages = [str(one) for one in outcome.found if one.failed]
        assert not messages, f"{'; '.join(messages)}\nwith {options}, seed {number}"

    try:
        every_case(name, use)
    except Exception as error:  # of the smallest case that Hypothesis found
        report.failures.append(str(error) if isinstance(error, AssertionError) else repr(error))
    count, messages = check_refusals(name, library)
    report.checks += count
    report.failures += messages
    return report


def first_failure(name: str, library: Any) -> list[str]:
    """Return the messages of the first case that fails in a copy of the library.

    Layers are compared with torch only: whatever differs from torch also differs from the others.
    """
    messages = list[str]()

    def use(options: Options, number: int) -> None:
        if messages:
            return
        try:
            outcome = run_case(name, library, options, number, ["torch"])
        except Exception as error:
            messages.append(f"{name}: {type(error).__name__}: {error}")
        else:
            messages.extend(str(one) for one in outcome.found if one.failed)

    every_case(name, use)
    return messages or check_refusals(name, library)[1]


def run_case(name: str, library: Any, options: Options, number: int, references: Sequence[str]) -> Outcome:
    """Run the case with these options and this seed."""
    if name in CLIPPING:
        found = compare_clipping(library, name, options, number)
        return Outcome(found, note="Keras clips inside its optimizers, so only torch is compared")
    if name in OPTIMIZERS:
        found = compare_optimizer(library, name, options, number)
        arguments = OPTIMIZERS[name].keras(options)
        return Outcome(found, [arguments] if isinstance(arguments, str) else [])
    case = ENTRIES[name].case(library, options, number)
    found = [*compare(case, references), *side_effects(case)]
    lacking = [why for why in (case.torch, case.keras) if isinstance(why, str) and why]
    if case.finite not in ("complex", "central"):
        lacking.append(f"finite differences: {case.finite}")
    return Outcome(found, lacking, case.note)


def check_refusals(name: str, library: Any) -> tuple[int, list[str]]:
    """Check what a layer must refuse; return the number of refusals, and the problems."""
    refusals = list(special_refusals(library).get(name, []))
    if name in ENTRIES:
        entry = ENTRIES[name]
        simplest = find(entry.options, lambda _: True, settings=settings(**SETTINGS))
        case = entry.case(library, entry.always[0] if entry.always else simplest, 0)
        refusals += common_refusals(case) if case.inputs else []
    return len(refusals), list(problems(name, library, refusals))


def every_case(name: str, use: Callable[[Options, int], None]) -> None:
    """Call `use` with the options and the seed of each case: first the fixed ones, then random ones.

    The random ones are the same in every run, so that a failure can be repeated.
    """
    strategies = CLIPPING | {key: one.options for key, one in OPTIMIZERS.items()}
    if name in strategies:
        strategy, examples = strategies[name], 36
    else:
        strategy, examples = ENTRIES[name].options, ENTRIES[name].examples
        for number, options in enumerate(ENTRIES[name].always):
            use(options, number)

    @seed(0)
    @settings(max_examples=examples, **SETTINGS)
    @given(strategy, st.integers(0, 10**6))
    def draw(options: Options, number: int) -> None:
        use(options, number)

    draw()
