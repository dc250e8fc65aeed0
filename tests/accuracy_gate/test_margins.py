"""Margins, inconclusive verdicts and slices."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from accuracy_gate import Baseline, Metric, Plan, Results, Run, Verdict, decide, power
from accuracy_gate.plan import LOOKS


def results(drop: float, n: int, seed: int, first: int = 0, **metric: Any) -> Results:
    """Return scores with a standard deviation of 1."""
    scores = np.random.default_rng(seed).standard_normal(n) - drop
    runs = tuple(Run(first + number, {"score": float(score)}) for number, score in enumerate(scores))
    return Results("case", {"score": Metric("max", **metric)}, runs)


def verdict_on(drop: float, margin: float | None, looks: tuple[int, ...] = (40,), seed: int = 1) -> Verdict:
    return decide(results(0, 40, 0, margin=margin), results(drop, looks[-1], seed, 100), Plan(40, 1, looks))


@pytest.mark.parametrize(
    ("drop", "margin", "outcome"),
    [
        (0.0, None, "passed"),
        (1.2, None, "regression"),
        (1.2, 2.5, "passed"),  # worse, but by less than what matters
        (4.0, 2.5, "regression"),
        (0.5, 0.5, "inconclusive"),
        (-3.0, 0.5, "passed"),
    ],
)
def test_a_margin_says_what_matters(drop: float, margin: float | None, outcome: str) -> None:
    assert verdict_on(drop, margin).outcome == outcome


def test_an_inconclusive_verdict_says_how_many_more_seeds_would_decide() -> None:
    verdict = verdict_on(0.6, 1.0, (8,), seed=2)
    assert verdict.outcome == "inconclusive"
    assert verdict.undecided
    assert not verdict.failing
    assert "more seeds would decide if nothing has changed" in verdict.reason
    assert "record a baseline with more seeds" in verdict_on(0.0, 0.05).reason


@pytest.mark.parametrize(
    ("looks", "times"), [((20,), 100), pytest.param(LOOKS, 1000, marks=pytest.mark.slow)]
)
def test_a_result_as_bad_as_the_margin_rarely_passes(looks: tuple[int, ...], times: int) -> None:
    """The stated 5 %; the pairs of the last look have nothing in common."""
    plan, passed = Plan(40, 1, looks, paired=True), 0
    for seed in range(times):
        baseline = results(0, 40, 2 * seed, margin=0.8)
        passed += decide(baseline, results(0.8, 20, 2 * seed + 1, margin=0.8), plan).outcome == "passed"
    assert passed / times <= 0.05 + 3 * (0.05 * 0.95 / times) ** 0.5


def test_slices_are_compared_like_metrics() -> None:
    def sliced(drop: float, first: int) -> Results:
        random = np.random.default_rng(first)
        noise = random.random((20, 2)) / 100
        runs = tuple(
            Run(first + n, {"f1": {"cat": 0.9 + cat, "dog": 0.5 + dog - drop}})
            for n, (cat, dog) in enumerate(noise.tolist())
        )
        return Results("case", {"f1": Metric("max", None, (0, 1))}, runs)

    baseline = Baseline(**vars(sliced(0, 0)))
    assert decide(baseline, sliced(0, 100)).outcome == "passed"
    worse = decide(baseline, sliced(0.02, 100))
    assert (worse.outcome, worse.reason[:7]) == ("regression", "f1.dog ")
    new = sliced(0, 100)
    lost = replace(new.runs[3], scores={"f1.cat": 0.9})
    assert decide(baseline, replace(new, runs=(*new.runs[:3], lost))).reason.startswith(
        "seed 103: f1.dog is None"
    )
    only = tuple(replace(run, scores={"f1.cat": 0.9}) for run in new.runs)
    assert "f1.dog is only in the baseline" in decide(baseline, replace(new, runs=only)).reason


def test_the_public_power_agrees_with_the_share_of_failures() -> None:
    baseline = Baseline(**vars(results(0, 20, 0)))
    spread = float(np.std(baseline.values("score"), ddof=1))
    found = [power(baseline, "score", drop * spread) for drop in (0.0, 1.0, 3.0)]
    assert found[0] < 0.01
    assert 0.3 < found[1] < 0.8
    assert found[2] > 0.99


def test_without_any_spread_every_drop_beyond_the_margin_is_found() -> None:
    runs = tuple(Run(seed, {"score": 1.0}) for seed in range(20))
    baseline = Baseline("case", {"score": Metric("max", 0.25)}, runs)
    (comparison,) = decide(baseline, baseline).comparisons
    assert comparison.detectable == pytest.approx(0.250001)
    assert [power(baseline, "score", drop) for drop in (0.0, 0.25, 0.2501)] == [0.0, 0.0, 1.0]
