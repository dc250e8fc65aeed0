"""Which verdict what results get."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from accuracy_gate import Plan, Record, Run, Verdict, decide
from shared.errors import ConfigError
from tests.tools.regress.samples import drawn, first_runs, record, sequence

PLAN = Plan(20, 9)
LAST = Plan(20, 9, (12,))
BASELINE = drawn("binomial", np.random.default_rng(0), 20)
HONEST = drawn("binomial", np.random.default_rng(1), 12, first=100)


def shifted(accuracy: float = 0.0, loss: float = 0.0) -> Record:
    runs = tuple(replace(run, accuracy=run.accuracy + accuracy, loss=run.loss + loss) for run in HONEST.runs)
    return replace(HONEST, runs=runs)


def said(new: Record, plan: Plan = LAST, baseline: Record = BASELINE) -> Verdict:
    verdict = decide(baseline, new, plan)
    assert verdict
    return verdict


def test_honest_results_pass_and_say_what_they_could_have_detected() -> None:
    verdict = said(HONEST)
    assert verdict.outcome == "passed"
    accuracy, loss = verdict.judgements
    assert accuracy.predicted == pytest.approx(0.00063, abs=5e-5)
    assert loss.predicted is None
    assert accuracy.detectable is not None
    assert accuracy.detectable > accuracy.spread
    assert accuracy.detectable * 10_000 == pytest.approx(round(accuracy.detectable * 10_000))


@pytest.mark.parametrize(("accuracy", "loss", "metric"), [(-0.01, 0.0, "accuracy"), (0.0, 0.1, "loss")])
def test_a_drop_of_accuracy_or_a_rise_of_loss_alone_is_a_regression(
    accuracy: float, loss: float, metric: str
) -> None:
    verdict = said(shifted(accuracy, loss))
    assert verdict.outcome == "regression"
    assert verdict.reason.startswith(metric)


@pytest.mark.parametrize(("accuracy", "loss"), [(0.003, 0.0), (0.0, -0.01), (0.003, -0.01)])
def test_better_results_pass(accuracy: float, loss: float) -> None:
    assert said(shifted(accuracy, loss)).outcome == "passed"


def test_a_clear_case_stops_early_and_an_unclear_one_goes_on() -> None:
    good = first_runs(shifted(0.001, -0.005), 3)
    assert said(good, PLAN).outcome == "passed"
    assert decide(BASELINE, first_runs(shifted(-0.01), 3), PLAN) is None, "1 of 1,771 is no proof"
    assert said(first_runs(shifted(-0.01), 5), PLAN).outcome == "regression"


def test_one_collapsed_seed_of_the_baseline_does_not_make_others_too_good() -> None:
    """The mean of its errors would be five times those of a usual seed."""
    usual = np.linspace(0.989, 0.991, 19)
    baseline = record([*usual, 0.1], np.full(20, 0.03), 10_000)
    better = record(usual[:12] + 0.001, np.full(12, 0.03), 10_000, first=100)
    assert said(better, baseline=baseline).outcome == "passed"


def test_too_good_to_be_true_is_suspicious_an_improvement_is_not() -> None:
    leaked = replace(HONEST, runs=tuple(replace(run, accuracy=1.0) for run in HONEST.runs))
    assert said(leaked).outcome == "suspicious"
    assert decide(BASELINE, first_runs(leaked, 3), PLAN) is None, "no early pass for it"
    assert said(first_runs(leaked, 5), PLAN).outcome == "suspicious"
    assert said(shifted(0.003)).outcome == "passed"


def test_the_same_numbers_by_seed_are_identical_even_the_worst_of_them() -> None:
    worst = sorted(BASELINE.runs, key=lambda run: run.accuracy)[:5]
    same = replace(BASELINE, runs=tuple(worst))
    assert said(same, PLAN).outcome == "identical"
    runs = (replace(worst[0], loss=worst[0].loss + 1e-12), *worst[1:])
    other = decide(BASELINE, replace(same, runs=runs), PLAN)
    assert other is None or other.outcome != "identical"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"accuracy": float("nan")}, "seed 100: accuracy is nan"),
        ({"accuracy": float("inf")}, "accuracy is inf"),
        ({"accuracy": 1.01}, "accuracy of 1.01 is impossible"),
        ({"accuracy": -0.1}, "accuracy of -0.1 is impossible"),
        ({"accuracy": None}, "accuracy is None, which is no number"),
        ({"accuracy": True}, "which is no number"),
        ({"accuracy": "0.99"}, "which is no number"),
        ({"loss": float("nan")}, "loss is nan"),
        ({"loss": -0.5}, "loss of -0.5 is impossible"),
        ({"loss": 1e200}, "loss of 1e+200 is impossible"),
        ({"status": "diverged", "error": "the loss is nan"}, "seed 100: diverged: the loss is nan"),
        ({"status": "failed"}, "seed 100: failed"),
    ],
)
def test_one_bad_run_fails_the_case(change: dict[str, Any], reason: str) -> None:
    runs = (replace(HONEST.runs[0], **change), *HONEST.runs[1:])
    verdict = said(replace(HONEST, runs=runs))
    assert verdict.outcome == "failed"
    assert verdict.bad
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("key", "old", "new", "reason"),
    [
        ("dataset_sha256", "a" * 64, "b" * 64, 'dataset_sha256: "aaaaaaaaaaa... -> "bbb'),
        ("embedded", False, True, "embedded: false -> true"),
        ("dataset", "mnist", "digits", 'dataset: "mnist" -> "digits"'),
        ("test_examples", 10_000, 360, "test_examples: 10000 -> 360"),
        ("config", {"lr": 0.1}, {"lr": 0.2}, "config.lr: 0.1 -> 0.2"),
        ("config", {"a": {"b": 1}}, {"a": {"b": 1, "c": None}}, "config.a.c: absent -> null"),
        ("config", {"lr": 0.1}, None, "config.lr: 0.1 -> absent"),
    ],
)
def test_what_differs_is_not_held_against_each_other(key: str, old: Any, new: Any, reason: str) -> None:
    before = replace(BASELINE, facts={**BASELINE.facts, key: old})
    facts = {**HONEST.facts, key: new}
    verdict = said(replace(HONEST, facts={k: v for k, v in facts.items() if v is not None}), baseline=before)
    assert verdict.outcome == "refused"
    assert not verdict.bad
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda runs: runs[:19], "has 19 seeds, 20 are needed"),
        (lambda runs: (Run(99, float("nan"), 0.1), *runs), "accuracy is nan"),
        (lambda runs: (replace(runs[0], status="diverged"), *runs), "diverged"),
    ],
)
def test_a_baseline_must_be_sound(spoil: Callable[[tuple[Run, ...]], tuple[Run, ...]], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        decide(replace(BASELINE, runs=spoil(BASELINE.runs)), HONEST, LAST)


def test_speed_fails_nothing() -> None:
    slow = replace(HONEST, runs=tuple(replace(run, seconds=1e6) for run in HONEST.runs))
    verdict = said(slow)
    assert verdict.outcome == "passed"
    assert (verdict.seconds(verdict.baseline), verdict.seconds(verdict.new)) == (1.0, 1e6)


def test_a_wide_spread_and_a_far_seed_are_remarked_upon() -> None:
    random = np.random.default_rng(0)
    wide = record(0.9 + 0.02 * random.standard_normal(20), np.full(20, 0.3), 10_000)
    far = record([0.9] * 11 + [0.4], np.full(12, 0.3), 10_000, first=100)
    notes = "; ".join(said(far, baseline=wide).notes)
    assert "training is unstable: its spread is" in notes
    assert "seed 111 is far below every seed of the baseline: 40.00 %" in notes.replace("%", " %")


@pytest.mark.parametrize(
    ("accuracy", "loss", "outcome"),
    [
        (1.0, 1 + 1e-12, "passed"),
        (1 - 1e-12, 1.0, "passed"),
        (1 - 1e-7, 1 + 1e-7, "passed"),
        (1 + 1e-7, 1 - 1e-7, "passed"),
        (1 - 1e-4, 1.0, "regression"),
        (1.0, 1 + 1e-4, "regression"),
    ],
)
@pytest.mark.parametrize("level", [0.3, 0.9, 1.0])
def test_where_all_seeds_are_the_same_rounding_is_no_regression_and_a_drop_is(
    accuracy: float, loss: float, outcome: str, level: float
) -> None:
    baseline = record([level] * 20, [level] * 20)
    new = record([min(1.0, level * accuracy)] * 12, [level * loss] * 12, first=100)
    for plan in (LAST, PLAN):
        found = next(said for said in sequence(baseline, new, plan) if said)
        assert found.outcome == outcome
        assert len(found.new.runs) <= 12  # type: ignore[union-attr]


def test_where_all_seeds_are_the_same_the_smallest_drop_that_counts_is_stated() -> None:
    baseline = record([0.9] * 20, [0.3] * 20)
    accuracy, loss = said(record([0.9] * 12, [0.3] * 12, first=100), baseline=baseline).judgements
    assert accuracy.detectable == pytest.approx(0.9e-6)
    assert loss.detectable == pytest.approx(0.3e-6)
    for drop, rise in ((0.91e-6, 0.0), (0.0, 0.31e-6)):
        new = record([0.9 - drop] * 12, [0.3 + rise] * 12, first=100)
        assert said(new, baseline=baseline).outcome == "regression"


def test_a_loss_of_zero_is_no_more_certain_than_its_last_bits() -> None:
    baseline = record([1.0] * 20, [0.0] * 20, 4)
    assert said(record([1.0] * 12, [1e-16] * 12, 4, 100), baseline=baseline).outcome == "passed"
    worse = record([1.0] * 12, [1e-9] * 12, 4, 100)
    assert said(worse, baseline=baseline).outcome == "regression"


def test_all_right_but_for_a_last_bit_is_not_suspicious_when_that_is_gone() -> None:
    baseline = record([1 - 1e-16 * 2] * 20, [0.1] * 20)
    assert said(record([1.0] * 12, [0.1] * 12, first=100), baseline=baseline).outcome == "passed"


def test_no_spread_at_all_still_detects_one_example() -> None:
    baseline = record([1.0] * 20, np.linspace(0.01, 0.02, 20), 4)
    assert said(record([1.0] * 12, [0.015] * 12, 4, 100), baseline=baseline).outcome == "passed"
    verdict = said(record([0.75] * 12, [0.015] * 12, 4, 100), baseline=baseline)
    assert verdict.outcome == "regression"
    assert verdict.judgements[0].detectable == 0.25
