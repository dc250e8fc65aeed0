"""The command line, and decisions on two files, as other projects use them."""

import json
import math
import re
import shlex
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from accuracy_gate import Verdict
from tests.helpers import ROOT
from tests.test_readme import run
from tools.regress.__main__ import main, report

GUIDE = ROOT / "docs" / "regression-gate.md"
EXAMPLE = ROOT / "docs" / "regression-example"


def decide(
    tmp_path: Path, baseline: Any, results: Any, *words: str, out: str = "out"
) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the content of regress.json."""
    for name, content in (("baseline", baseline), ("results", results)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    files = ["--baseline", f"{tmp_path}/baseline.json", "--results", f"{tmp_path}/results.json"]
    found = main([*files, f"out={tmp_path / out}", *words])
    report = tmp_path / out / "regress.json"
    return found, json.loads(report.read_text()) if report.exists() else {}


def example(name: str) -> Any:
    return json.loads((EXAMPLE / f"{name}.json").read_text())


def test_the_documented_command_prints_the_documented_table(tmp_path: Path) -> None:
    text = GUIDE.read_text()
    pattern = r"^\.venv/bin/python -m tools\.regress --baseline .*$"
    (command,) = re.findall(pattern, text, re.MULTILINE)
    words = shlex.split(command.replace("out=/tmp/gate", f"out={tmp_path}/gate"))
    result = run([sys.executable, *words[1:]])
    assert result.returncode == 5, result.stderr
    assert f"```text\n{result.stdout}```\n" in text
    names = sorted(path.name for path in (tmp_path / "gate").iterdir())
    assert names == ["regress.json", "regress.md", "regress.xml"]
    ElementTree.parse(tmp_path / "gate" / "regress.xml")


def test_the_documented_format_is_read(tmp_path: Path) -> None:
    text = GUIDE.read_text()
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    found, report = decide(tmp_path, example("baseline"), json.loads(block))
    assert found == 5
    assert report["cases"][0]["reason"] == "seed 102: failed: out of memory"


def test_the_documented_cases_are_real() -> None:
    for name in re.findall(r"case=(\w+_\w+)", GUIDE.read_text()):
        assert (ROOT / "conf" / "regression" / f"{name}.yaml").is_file()


def test_a_decision_on_files_imports_neither_hydra_nor_a_framework(tmp_path: Path) -> None:
    heavy = "'hydra', 'torch', 'tensorflow', 'keras'"
    program = (
        f"import sys; from tools.regress.__main__ import main; main({['--baseline', 'x', '--results', 'y']});"
        f"sys.exit(len([name for name in ({heavy}) if name in sys.modules]))"
    )
    assert run([sys.executable, "-c", program]).returncode == 0


def test_better_results_pass(tmp_path: Path) -> None:
    results = example("results")
    for one in results["runs"]:
        one["test_accuracy"] += 0.02
        one["test_loss"] -= 0.03
    found, report = decide(tmp_path, example("baseline"), results)
    assert (found, report["passed"]) == (0, True)


@pytest.mark.parametrize("which", ["baseline", "results"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is not JSON"),
        ('{"runs": [{"seed": 0, "test_accuracy": 1' + "0" * 400 + "}]}", "runs[0].test_accuracy "),
        (json.dumps({"config": math.nan, "runs": [{"seed": 0}]}), "results: config should be"),
        (None, "Is a directory"),
    ],
)
def test_an_unreadable_file_is_named_with_the_reason(
    which: str, content: str | None, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file.json"
    if content is None:
        file.mkdir()
    else:
        file.write_text(content)
    files = {name: EXAMPLE / f"{name}.json" for name in ("baseline", "results")} | {which: file}
    words = [f"--{name}={path}" for name, path in files.items()]
    assert main([*words, f"out={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}")
    assert reason in line
    assert not (tmp_path / "out").exists()


def test_a_case_without_results_fails(tmp_path: Path) -> None:
    both = {"cases": [example("baseline"), example("baseline") | {"case": "roses"}]}
    found, report = decide(tmp_path, both, {"cases": [example("baseline")]})
    assert found == 5
    assert [case["verdict"] for case in report["cases"]] == ["identical", "failed"]


def test_the_suite_size_sets_the_level(tmp_path: Path) -> None:
    for words, level in (([], 0.0045), (["suite=10"], 0.00045)):
        _, report = decide(tmp_path, example("baseline"), example("results"), *words, out=f"{level}")
        assert report["cases"][0]["metrics"]["loss"]["level"] == pytest.approx(level, rel=0.05)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--results", "x"], "--baseline FILE and --results FILE belong together"),
        (["--baseline", "x"], "--baseline FILE and --results FILE belong together"),
        (["--baseline", "nowhere", "--results", "y"], "nowhere: No such file"),
        (["cas=xor_numpy"], "unknown key 'cas' (did you mean 'case'?)"),
        (["case=xor_nunpy"], "unknown case 'xor_nunpy' (did you mean 'xor_numpy'?)"),
        (["data=both"], "unknown data 'both'; choose from auto, real, embedded"),
        (["sedes=30", "--bless"], "unknown key 'sedes' (did you mean 'seeds'?)"),
        (["seeds=30"], "seeds= does not go with regress, which takes case, data, out, jobs"),
        (["suite=9"], "suite= does not go with regress"),
        (["--bless", "suite=9"], "suite= does not go with --bless, which takes case, data, out"),
        (["--baseline=x", "--results=y", "case=z"], "case= does not go with --baseline and --res"),
        (["--baseline=x", "--results=y", "cas=z"], "unknown key 'cas' (did you mean 'case'?)"),
        (["--baseline=x", "--results=y", "--bless"], "--bless does not go with --baseline and"),
        (["--results=y", "--bless", "case=all"], "--bless does not go with --baseline and"),
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


BASELINE, RESULTS = example("baseline"), example("results")
DAMAGED = [*BASELINE["runs"][:-1], {"seed": 99, "test_accuracy": 0.9, "test_loss": math.nan}]


@pytest.mark.parametrize(
    ("baseline", "results", "reason"),
    [
        (RESULTS, RESULTS, "{}: flowers: the baseline has 5 seeds, 20 are needed"),
        (BASELINE | {"runs": DAMAGED}, RESULTS, "{}: flowers: the baseline is damaged: seed 99: loss is nan"),
        (
            BASELINE,
            RESULTS | {"seeds": [], "runs": RESULTS["runs"][:1]},
            "flowers: 1 results are too few to tell a drop from noise; give at least 2",
        ),
    ],
)
def test_results_that_cannot_be_judged_are_refused(
    baseline: Any, results: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decide(tmp_path, baseline, results)[0] == 2
    assert capsys.readouterr().err == f"error: {reason.format(tmp_path / 'baseline.json')}\n"


def test_results_are_not_overwritten(tmp_path: Path) -> None:
    assert decide(tmp_path, example("baseline"), example("results"))[0] == 5
    assert decide(tmp_path, example("baseline"), example("results"))[0] == 2


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
