"""The false-alarm rate is measured correctly: for the gate, and for one that fails too easily."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accuracy_gate import Results, Run, Verdict
from tests.accuracy_gate.samples import make_record
from tools.regress.faults import honest
from tools.regress.faults.honest import HonestRuns, Pair, compare_directly, resample
from tools.results.gate import false_alarm_rate

LOOKS = (3, 5, 8, 12)


def pair(seed: int, shift: float = 0.0, fresh: int = 30) -> Pair:
    """Return a case with honest results, the fresh ones moved by `shift`."""
    random = np.random.default_rng(seed)
    accuracies = 0.9 + 0.01 * random.standard_normal(20 + fresh)
    accuracies[20:] += shift
    losses = 1 - accuracies
    name = f"case{seed}"
    return Pair(
        make_record(accuracies[:20], losses[:20], case=name),
        make_record(accuracies[20:], losses[20:], first=1000, case=name),
        LOOKS,
    )


def hasty_gate(baseline: Results, new: Results, looks: object, suite: int) -> Verdict:
    """Fail whenever the first new result is below the baseline's mean: half of the time."""
    mean = np.mean(baseline.values("accuracy"))
    outcome = "regression" if new.values("accuracy")[0] < mean else "passed"
    return Verdict(new.case, outcome, "", (), baseline, replace(new, runs=new.runs[:1]))


def test_honest_results_rarely_fail() -> None:
    found = resample([pair(0), pair(1)], draws=300)
    assert found["suites"]["of"] == found["cases"]["case0"]["of"] == 300
    assert found["suites"]["alarms"] <= 12, "P(more than 12 of 300) is 1e-5 at the promised 1 %"


def test_a_gate_that_fails_too_easily_is_exposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(honest, "gate", hasty_gate)
    found = resample([pair(0), pair(1)], draws=300)
    assert 0.6 < found["suites"]["alarms"] / 300 < 0.9, "one of two halves: three quarters"
    assert 0.35 < found["cases"]["case1"]["alarms"] / 300 < 0.65


def test_each_run_of_the_gate_takes_the_next_fresh_results(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compare_directly([pair(0)])["cases"]["case0"]["alarms"] == 0
    monkeypatch.setattr(honest, "gate", hasty_gate)
    found = compare_directly([pair(0), pair(1, fresh=15)])
    # each run takes one result, as long as twelve are left, which it might need
    assert (found["cases"]["case0"]["of"], found["cases"]["case1"]["of"]) == (19, 4)
    assert found["suites"]["of"] == 4


def test_a_failed_fresh_result_is_an_alarm_and_in_no_baseline() -> None:
    one = pair(0)
    failed = Run(1000, status="diverged", error="the loss is nan")
    fresh = replace(one.fresh, runs=(failed, *one.fresh.runs[1:]))
    found = resample([Pair(one.baseline, fresh, LOOKS)], draws=200)
    # in 3 of 50 divisions it is among the first three new results
    assert 2 <= found["suites"]["alarms"] <= 40
    assert compare_directly([Pair(one.baseline, fresh, LOOKS)])["suites"]["alarms"] == 1


def test_worse_fresh_results_are_alarms() -> None:
    found = compare_directly([pair(0, shift=-0.05)])
    assert found["suites"]["of"] >= 2
    assert found["suites"]["alarms"] == found["suites"]["of"]


def test_the_file_suffices_to_measure_again(tmp_path: Path) -> None:
    pairs = [pair(0), pair(1)]
    content = {
        "cases": [
            {"looks": LOOKS, "baseline": each.baseline.as_json(), "fresh": each.fresh.as_json()}
            for each in pairs
        ]
    }
    file = tmp_path / "honest.json"
    first = HonestRuns(file, "real", content).measure_rates(draws=40)
    kept = json.loads(file.read_text())
    again = HonestRuns(tmp_path / "again.json", "real", {"cases": kept["cases"]}).measure_rates(draws=40)
    assert again["resampled"] == first["resampled"] == resample(pairs, 40)
    assert again["direct"] == first["direct"]
    assert "Of 40 suites resampled from honest results, " in false_alarm_rate(first)
