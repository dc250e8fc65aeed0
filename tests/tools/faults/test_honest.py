"""The rate of false alarms is measured right: of the gate, and of one that is too quick to fail."""

import json
from pathlib import Path

import numpy as np
import pytest

from accuracy_gate import Record, Run, Verdict
from accuracy_gate.interval import interval
from tests.tools.regress.samples import record
from tools.regress.faults.honest import Honest, Pair, directly, gate, resampled, told

LOOKS = (3, 5, 8, 12)


def pair(seed: int, shift: float = 0.0, fresh: int = 30) -> Pair:
    """Return a case with honest results, the fresh ones moved by `shift`."""
    random = np.random.default_rng(seed)
    accuracies = 0.9 + 0.01 * random.standard_normal(20 + fresh)
    accuracies[20:] += shift
    losses = 1 - accuracies
    name = f"case{seed}"
    return Pair(
        record(accuracies[:20], losses[:20], case=name),
        record(accuracies[20:], losses[20:], first=1000, case=name),
        LOOKS,
    )


def hasty(baseline: Record, new: Record, looks: object, suite: int) -> Verdict:
    """Fail whenever the first new result is below the baseline's mean: half of the time."""
    mean = np.mean([run.accuracy for run in baseline.runs])
    outcome = "regression" if new.runs[0].accuracy < mean else "passed"
    return Verdict(new.case, outcome, "", (), baseline, Record(new.case, new.runs[:1]))


def test_honest_results_seldom_fail() -> None:
    found = resampled([pair(0), pair(1)], draws=300)
    assert found["suites"]["of"] == found["cases"]["case0"]["of"] == 300
    assert found["suites"]["alarms"] <= 12, "1 % are promised: P(more than 12 of 300) is 1e-5"


def test_a_gate_that_is_too_quick_to_fail_is_found_out() -> None:
    found = resampled([pair(0), pair(1)], draws=300, decision=hasty)
    assert 0.6 < found["suites"]["alarms"] / 300 < 0.9, "one of two halves: three quarters"
    assert 0.35 < found["cases"]["case1"]["alarms"] / 300 < 0.65
    assert found["suites"]["low"] > 0.01


def test_the_draws_are_the_same_every_time() -> None:
    pairs = [pair(0)]
    assert resampled(pairs, 50, hasty) == resampled(pairs, 50, hasty)


def test_fresh_results_are_taken_one_run_of_the_gate_after_the_other() -> None:
    found = directly([pair(0), pair(1, fresh=15)], hasty)
    # each run takes one result, as long as there are the twelve that it might need
    assert (found["cases"]["case0"]["of"], found["cases"]["case1"]["of"]) == (19, 4)
    assert found["suites"]["of"] == 4
    assert directly([pair(0)])["cases"]["case0"]["alarms"] == 0


def test_a_fresh_result_that_failed_is_an_alarm_and_in_no_baseline() -> None:
    one = pair(0)
    failed = Run(1000, status="diverged", error="the loss is nan")
    fresh = Record(one.fresh.case, (failed, *one.fresh.runs[1:]), one.fresh.facts)
    found = resampled([Pair(one.baseline, fresh, LOOKS)], draws=200)
    # it is among the first three new ones in 3 of 50 divisions
    assert 2 <= found["suites"]["alarms"] <= 40
    assert directly([Pair(one.baseline, fresh, LOOKS)])["suites"]["alarms"] == 1


def test_fresh_results_that_are_worse_are_alarms() -> None:
    found = directly([pair(0, shift=-0.05)])
    assert found["suites"]["of"] >= 2
    assert found["suites"]["alarms"] == found["suites"]["of"]


def test_the_gate_decides_as_early_as_it_can() -> None:
    same, worse = pair(3), pair(3, shift=-0.05)
    assert len(gate(same.baseline, same.fresh, LOOKS, 9).new.runs) == 3  # type: ignore[union-attr]
    verdict = gate(worse.baseline, worse.fresh, LOOKS, 9)
    assert verdict.outcome == "regression"
    assert len(verdict.new.runs) == 5  # type: ignore[union-attr]


def test_the_file_is_enough_to_measure_again(tmp_path: Path) -> None:
    pairs = [pair(0), pair(1)]
    content = {
        "cases": [
            {"looks": LOOKS, "baseline": each.baseline.as_json(), "fresh": each.fresh.as_json()}
            for each in pairs
        ]
    }
    file = tmp_path / "honest.json"
    first = Honest(file, "real", content).measure(draws=40)
    kept = json.loads(file.read_text())
    again = Honest(tmp_path / "again.json", "real", {"cases": kept["cases"]}).measure(draws=40)
    assert again["resampled"] == first["resampled"] == resampled(pairs, 40)
    assert again["direct"] == first["direct"]
    assert "false alarms in 40 resampled suites" in told(first)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 100, 0.0, 0.03622), (100, 100, 0.96378, 1.0), (5, 20, 0.08657, 0.49105)],
)
def test_the_interval_is_the_exact_one(count: int, of: int, low: float, high: float) -> None:
    # 0 of n: 1 - 0.025^(1/n); 5 of 20 from Clopper and Pearson's tables
    assert interval(count, of) == pytest.approx((low, high), abs=1e-5)
