"""Runs the cases of a layer: what the tests and `python -m tools.gradcheck` have in common."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import shared.backprop
from tools.gradcheck import images, plain, sequences  # noqa: F401  (they register their entries)
from tools.gradcheck.comparison import Difference, compare, manners
from tools.gradcheck.entries import ENTRIES, Options
from tools.gradcheck.optimizers import CLIPPING, OPTIMIZERS, compare_clipping, compare_optimizer
from tools.gradcheck.refusals import REFUSALS

REFERENCES = ("torch", "keras", "finite differences")
STEPPING_EXAMPLES = 24  # of an optimizer


@dataclass
class Outcome:
    """What one case has given: differences, and what is to be said of it."""

    found: list[Difference]
    lacking: list[str] = field(default_factory=list)
    note: str = ""


@dataclass
class Report:
    """What the cases of one layer have given.

    `largest` is the largest relative difference to each reference, `compared` the number of cases
    that were compared with it, `lacking` the reasons why others were not, with their number.
    """

    layer: str
    cases: int = 0
    checks: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)
    lacking: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take in one case."""
        self.cases += 1
        self.checks += len(outcome.found)
        for one in outcome.found:
            known = self.largest.get(one.reference, 0.0)
            self.largest[one.reference] = max(known, one.value)
        for name in {one.reference for one in outcome.found}:
            self.compared[name] = self.compared.get(name, 0) + 1
        for reason in outcome.lacking:
            self.lacking[reason] = self.lacking.get(reason, 0) + 1
        if outcome.note and outcome.note not in self.notes:
            self.notes.append(outcome.note)


def names() -> list[str]:
    """Return everything that is checked: layers, losses, optimizers, clipping."""
    return [*sorted(ENTRIES, key=str.lower), *OPTIMIZERS, *CLIPPING]


def check(name: str, library: Any = shared.backprop) -> Report:
    """Compare every case of a layer with every reference, and try what it must refuse."""
    report = Report(name)

    def use(options: Options, seed: int) -> None:
        outcome = run_case(name, library, options, seed, REFERENCES)
        report.add(outcome)
        messages = [str(one) for one in outcome.found if one.failed]
        assert not messages, f"{'; '.join(messages)}\nwith {options}, seed {seed}"

    try:
        every_case(name, use)
    except Exception as error:  # of the smallest case that Hypothesis found
        report.failures.append(str(error) if isinstance(error, AssertionError) else repr(error))
    for refusal in REFUSALS.get(name, []):
        report.checks += 1
        report.failures += refusal.problems(name, library)
    return report


def first_failure(name: str, library: Any) -> list[str]:
    """Return what is wrong with a layer of a copy of the library, in its first case that fails.

    Layers are compared with torch alone: what differs from it would differ from the others as well.
    """
    messages = list[str]()

    def use(options: Options, seed: int) -> None:
        if messages:
            return
        try:
            outcome = run_case(name, library, options, seed, ["torch"])
        except Exception as error:
            messages.append(f"{name}: {type(error).__name__}: {error}")
        else:
            messages.extend(str(one) for one in outcome.found if one.failed)

    for refusal in REFUSALS.get(name, []):
        messages += refusal.problems(name, library)
    if not messages:
        every_case(name, use)
    return messages


def run_case(name: str, library: Any, options: Options, seed: int, references: Any) -> Outcome:
    """Run the case that options and seed make."""
    if name in CLIPPING:
        found = compare_clipping(library, name, options, seed)
        return Outcome(found, note="Keras clips inside of its optimizers: compared with torch alone")
    if name in OPTIMIZERS:
        found = compare_optimizer(library, name, options, seed)
        arguments = OPTIMIZERS[name].keras(options)
        return Outcome(found, [arguments] if isinstance(arguments, str) else [])
    case = ENTRIES[name].build(library, options, np.random.default_rng(seed))
    found = [*compare(case, references), *manners(case)]
    lacking = [why for why in (case.torch, case.keras) if isinstance(why, str) and why]
    if case.finite not in ("complex", "central"):
        lacking.append(f"finite differences: {case.finite}")
    return Outcome(found, lacking, case.note)


def every_case(name: str, use: Callable[[Options, int], None]) -> None:
    """Call `use` with the options of each case and a seed: those fixed, then those drawn.

    Which are drawn is fixed too, so that a failure is there again next time.
    """
    strategies = CLIPPING | {key: one.options for key, one in OPTIMIZERS.items()}
    if name in strategies:
        strategy, examples = strategies[name], STEPPING_EXAMPLES
    else:
        strategy, examples = ENTRIES[name].options, ENTRIES[name].examples
        for number, options in enumerate(ENTRIES[name].always):
            use(options, number)

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy, st.integers(0, 10**6))
    def drawn(options: Options, seed: int) -> None:
        use(options, seed)

    drawn()
