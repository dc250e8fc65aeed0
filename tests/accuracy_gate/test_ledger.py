"""The ledger: a slow decline is found although each check passes, and honest checks raise no alarm."""

import json
from pathlib import Path

import numpy as np
import pytest

from accuracy_gate import Baseline, Metric, Results, Run, decide
from accuracy_gate.cli import main
from accuracy_gate.ledger import RATE, Bettor, append


def write_ledger(path: Path, checks: int, step: float) -> list[str]:
    """Append checks of five seeds, each worse than the one before by `step` spreads; return the verdicts.

    The runs of a seed are alike: they differ by a fifth of the spread.
    """
    random = np.random.default_rng(0)
    own = random.standard_normal(20)

    def draw(drop: float, n: int) -> Results:
        scores = 0.9 + 0.01 * (own[:n] + random.normal(-drop, 0.2, n))
        runs = tuple(Run(seed, {"accuracy": float(score)}) for seed, score in enumerate(scores))
        return Results("case", {"accuracy": Metric("max")}, runs)

    baseline, outcomes = Baseline(**vars(draw(0, 20))), []
    for check in range(checks):
        verdict = decide(baseline, draw(step * check, 5))
        append(path, verdict)
        outcomes.append(verdict.outcome)
    return outcomes


def test_a_slow_decline_is_found_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.jsonl"
    assert write_ledger(path, 12, 0.06).count("passed") == 12
    assert main(["drift", str(path), "--svg", str(tmp_path / "drift.svg")]) == 5
    assert "case accuracy: DECLINE, found at check " in capsys.readouterr().out
    assert (tmp_path / "drift.svg").read_text().startswith("<svg")


def test_no_decline_is_no_alarm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.jsonl"
    write_ledger(path, 12, 0.0)
    assert main(["drift", str(path)]) == 0
    assert "case accuracy: no decline; 12 checks" in capsys.readouterr().out


def test_false_alarms_are_as_rare_as_stated() -> None:
    random, alarms, times = np.random.default_rng(0), 0, 200
    for number in range(times):
        bettor = Bettor(str(number))
        for _ in range(12):
            for seed in range(3):
                bettor.see(seed, float(random.integers(0, 5)))  # many ties
        alarms += bettor.highest >= 1 / RATE
    assert alarms / times <= 0.03


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "line 2: not a line"),
        (json.dumps({"accuracy_gate": 2}), "line 2: not a line"),
        (
            json.dumps(
                {
                    "accuracy_gate": 1,
                    "case": "a",
                    "baseline": "b",
                    "metrics": {"a": {"goal": "max", "scores": [[1]]}},
                }
            ),
            "line 2: not a line",
        ),
    ],
)
def test_a_damaged_ledger_is_refused(
    line: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger.jsonl"
    write_ledger(path, 1, 0)
    path.write_text(path.read_text() + line + "\n")
    assert main(["drift", str(path)]) == 2
    assert reason in capsys.readouterr().err
