"""The command line: what it refuses, and its exit status."""

import re
from pathlib import Path

import pytest

from accuracy_gate import Verdict
from tests.helpers import ROOT
from tools.regress.__main__ import main, report

GUIDE = ROOT / "docs" / "regression-gate.md"


def test_the_documented_cases_are_real() -> None:
    for name in re.findall(r"case=(\w+_\w+)", GUIDE.read_text()):
        assert (ROOT / "conf" / "regression" / f"{name}.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["cas=xor_numpy"], "unknown key 'cas' (did you mean 'case'?)"),
        (["case=xor_nunpy"], "unknown case 'xor_nunpy' (did you mean 'xor_numpy'?)"),
        (["data=both"], "unknown data 'both'; choose from auto, real, embedded"),
        (["sedes=30", "--bless"], "unknown key 'sedes' (did you mean 'seeds'?)"),
        (["seeds=30"], "seeds= does not go with regress, which takes case, data, out, jobs"),
        (["suite=9"], "unknown key 'suite'"),
        (["--bless", "suite=9"], "unknown key 'suite'"),
        (["case=xor_numpy", "case=xor_torch"], "case= is given twice"),
        (["jobs=" + "9" * 5000], "jobs should be below a billion (given jobs=9999"),
        (["jobs=0"], "jobs should be a whole number, 1 or more (given jobs=0)"),
        (["case"], "cannot read 'case'"),
        (["--bless"], "--bless needs to know which baselines to record"),
        (["--bless", "case=xor_numpy", "seeds=3"], "seeds should be a whole number, 20 or more"),
    ],
)
def test_a_wrong_command_is_explained(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert reason in line


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["passed", "identical"], 0),
        (["passed", "refused"], 2),
        (["refused", "no data"], 3),
        (["refused", "regression"], 5),
        (["failed"], 5),
        (["suspicious"], 5),
    ],
)
def test_the_most_severe_outcome_sets_the_exit_status(
    outcomes: list[str], expected: int, tmp_path: Path
) -> None:
    assert report([Verdict(outcome, outcome, "") for outcome in outcomes], tmp_path) == expected
