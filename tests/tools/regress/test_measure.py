"""Faults are measured by the gate itself, and the tables show what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigError
from tests.accuracy_gate.samples import make_record
from tests.tools.regress.test_suite import TINY
from tools.regress import baselines, cases
from tools.regress.__main__ import main as regress
from tools.regress.cases import Case, Variant
from tools.regress.faults import __main__ as faults
from tools.regress.faults import planted
from tools.regress.faults.__main__ import main
from tools.regress.faults.honest import HonestRuns
from tools.regress.faults.measure import mean_changes, outcome, require_baseline
from tools.regress.faults.planted import load_faults
from tools.results.__main__ import RESULTS, fill_tables
from tools.results.gate import gate_block

FAULTS = """
[strong]
sentence = "The optimizer never takes a step."
cases = ["tiny"]
file = "shared/training/numpy_learner.py"
edits = [["optimizer.step(gradients)", "pass"]]

[none]
sentence = "None, a comment has changed."
cases = ["tiny"]
file = "shared/training/numpy_learner.py"
edits = [["# np.float64 would widen float32", "# changed"]]
"""


def case(verdict: str, accuracy_p: float = 0.5, loss_p: float = 0.5) -> dict[str, Any]:
    """Return the entry of a case in a row."""
    metric = {"baseline_mean": 0.97, "new_mean": 0.91}
    compared = {
        "seeds": 12,
        "accuracy": {"difference": -0.001, "p": accuracy_p},
        "loss": {"difference": 0.002, "p": loss_p},
    }
    return {
        "case": "xor_numpy",
        "verdict": verdict,
        "reason": "dataset_sha256: a -> b",
        "seeds": 5,
        "metrics": {} if verdict in ("refused", "failed") else {"accuracy": metric, "loss": metric},
        "runs": [],
        "compared": compared,
    }


def row(name: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "fault": name,
        "sentence": f"It is {name}.",
        "data": "real",
        "outcome": outcome(parts),
        "cases": list(parts),
        "seconds": 3.0,
        "versions": {"numpy": "2"},
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "hardware": {"cpu": "C", "threads": 1, "memory_gib": 8.0},
    }


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([case("regression")], "caught"),
        ([case("failed")], "caught"),
        ([case("suspicious")], "caught"),
        ([case("passed"), case("regression")], "caught"),
        ([case("refused")], "refused"),
        ([case("passed")], "unseen"),
        ([case("identical")], "unseen"),
        ([case("passed", accuracy_p=0.03)], "missed"),
        ([case("passed", loss_p=0.19)], "missed"),
        ([case("passed"), case("passed", loss_p=0.01)], "missed"),
        ([case("passed") | {"compared": {"fault": "seed 5: diverged"}}], "missed"),
    ],
)
def test_the_outcome_of_a_fault_follows_from_its_cases(rows: list[dict[str, Any]], expected: str) -> None:
    assert outcome(rows) == expected


def test_worse_results_have_a_small_p() -> None:
    before = make_record([0.9 + 0.001 * n for n in range(20)], [0.3] * 20)
    after = make_record([0.8 + 0.001 * n for n in range(12)], [0.3] * 12)
    found = mean_changes(before, after)
    assert found["seeds"] == 12
    assert found["accuracy"]["difference"] == pytest.approx(-0.1)
    assert found["accuracy"]["p"] == pytest.approx(2.0**-12), "each seed is worse"
    assert found["loss"] == {"difference": pytest.approx(0), "p": 1.0}


def test_the_tables_show_what_was_measured(tmp_path: Path) -> None:
    rows = [
        row("caught", case("regression")),
        row("late", case("passed", loss_p=0.01)),
        row("hidden", case("identical")),
        row("other", case("refused")),
        row("second", case("failed")),
    ]
    (tmp_path / "gate.json").write_text(json.dumps({"faults": rows}))
    text = fill_tables("<!-- gate: faults -->\n<!-- end of gate -->\n", tmp_path)
    assert "2 of 3 planted faults were caught (67 %; 95 % interval: 9.4 to 99.2 %)" in text
    assert "; 1 more leave accuracy and loss as good as before" in text
    assert "| It is caught. | `xor_numpy` | regression | 5 | 97.00 % -> 91.00 % | " in text
    assert "| It is late. | `xor_numpy` | passed after 5 | 12 | -0.10 points | 0.5 | " in text
    assert text.index("It is caught.") < text.index("Missed:") < text.index("It is late.")
    assert text.index("Invisible:") < text.index("It is hidden.") < text.index("Refused,")
    assert "commit 0123456789." in text
    assert fill_tables(text.replace("97.00", "98.00"), tmp_path) == text


def test_the_summary_has_both_rates(tmp_path: Path) -> None:
    rates = {"alarms": 12, "of": 4000}
    direct = {"alarms": 0, "of": 7}
    honest = {
        "cases": [{"baseline": {"case": "a"}, "fresh": {"runs": [{}] * 30}}],
        "resampled": {"suites": rates, "cases": {"a": rates}},
        "direct": {"suites": direct, "cases": {"a": direct}},
    }
    (tmp_path / "gate.json").write_text(json.dumps({"faults": [row("caught", case("failed"))]}))
    assert gate_block("summary", tmp_path).startswith("Not measured yet")
    (tmp_path / "honest.json").write_text(json.dumps(honest))
    text = gate_block("summary", tmp_path)
    assert "1 of 1 planted faults were caught" in text
    assert "Of 4,000 suites resampled from honest results" in text
    assert "0.30 % raised a false alarm (95 % interval: 0.2 to 0.5 %)" in text
    assert "30 more honest runs raised 0 in 7 runs of the suite" in text


def test_the_recorded_faults_are_the_planted_ones() -> None:
    planted = {fault.name: fault for fault in load_faults()}
    for each in json.loads((RESULTS / "gate.json").read_text())["faults"]:
        fault = planted[each["fault"]]
        assert each["sentence"] == fault.sentence, f"{fault.name}: measure it again"
        assert {entry["case"].partition(".")[0] for entry in each["cases"]} == set(fault.cases)


def test_without_a_baseline_nothing_is_measured(tmp_path: Path) -> None:
    variant = Variant("tiny", "real", Case.model_validate(TINY), {})
    with pytest.raises(ConfigError, match="tiny has no baseline: make bless case=tiny"):
        require_baseline(variant)


def clean(_: Path) -> dict[str, Any]:
    return {"commit": "c0ffee", "dirty": False}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["no_such_fault"], "unknown fault 'no_such_fault'"),
        (["data=auto"], "unknown data 'auto'; choose from real, embedded"),
        (["sedes=3"], "unknown key 'sedes' (did you mean 'seeds'?)"),
        (["seeds=3"], "seeds should be a whole number, 12 or more"),
        (["honest", "seeds=19"], "seeds should be a whole number, 20 or more"),
    ],
)
def test_a_wrong_command_is_refused(
    words: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(baselines, "git_state", clean)
    assert main(words) == 2
    assert reason in capsys.readouterr().err


def test_only_committed_code_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(baselines, "git_state", lambda _: {"commit": "0", "dirty": True})
    assert main([]) == 2
    assert "commit your changes first" in capsys.readouterr().err


@pytest.mark.slow
def test_a_strong_fault_is_caught_and_code_without_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(baselines, "git_state", clean)
    for module in (cases, planted):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(cases, "BASELINES", tmp_path / "baselines")
    monkeypatch.setattr(faults, "RESULTS", tmp_path)
    (tmp_path / "tiny.yaml").write_text(json.dumps(TINY))
    (tmp_path / "tiny.toml").write_text(FAULTS)
    assert regress(["--bless", "case=tiny", f"out={tmp_path / 'bless'}"]) == 0

    assert main(["jobs=1", "strong"]) == 0
    assert main(["jobs=1"]) == 0
    said = capsys.readouterr().out
    assert "1 faults to measure, 1 measured before" in said, "it goes on where it stopped"
    assert "1 of 1 planted faults were caught" in said
    rows = json.loads((tmp_path / "gate.json").read_text())["faults"]
    none, strong = (each["cases"][0] for each in rows)
    assert (rows[0]["outcome"], none["verdict"]) == ("unseen", "identical")
    assert none["compared"]["accuracy"]["difference"] == 0
    assert len(none["runs"]) == none["compared"]["seeds"] == 12
    assert (rows[1]["outcome"], strong["verdict"]) == ("caught", "regression")
    assert strong["metrics"]["loss"]["new_mean"] > strong["metrics"]["loss"]["baseline_mean"]

    monkeypatch.setattr(HonestRuns.measure_rates, "__defaults__", (400,))  # draws
    assert main(["jobs=1", "honest", "seeds=20"]) == 0
    honest = json.loads((tmp_path / "honest.json").read_text())
    (entry,) = honest["cases"]
    assert [run["seed"] for run in entry["fresh"]["runs"]] == list(range(1000, 1020))
    assert honest["resampled"]["suites"]["of"] == 400
    assert honest["direct"]["suites"]["of"] >= 1
