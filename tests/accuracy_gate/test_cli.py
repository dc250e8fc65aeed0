"""The command line: from a program to a verdict, and one clear line for everything that is wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from accuracy_gate import Results, parse
from accuracy_gate.cli import main
from tests.helpers import ROOT

PATTERNS = ("--regex", r"a=acc: (\S+)", "--regex", r"b=loss: (\S+)")
EXAMPLES = ROOT / "accuracy_gate" / "examples"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drop").write_text("0")
    return tmp_path


def shell(text: str) -> list[str]:
    return ["--", "sh", "-c", text]


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that a wrong command prints."""
    before = sorted(Path().iterdir())
    capsys.readouterr()
    try:
        status = main(words)
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    assert sorted(Path().iterdir()) == before, "nothing half-written"
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("seed ")]
    return lines[-1]


def test_record_and_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = 'BEGIN { srand({seed} + 7); print "start"; print "accuracy:", 0.9 + 0.01 * rand() - d }'
    command = f"awk -v d=$(cat drop) '{program}'"
    assert main(["record", "--seeds", "20", *shell(command)]) == 0
    (baseline,) = parse(Path("accuracy-baseline.json").read_bytes(), "f")
    assert len({run.scores["accuracy"] for run in baseline.runs}) > 15
    assert main(["check"]) == 0
    assert "identical" in capsys.readouterr().out
    assert main(["check", "--unpaired", "--results", "raw.json"]) == 0
    said = capsys.readouterr()
    assert said.err.count("seed ") < 20, "it stops as soon as it is decided"
    (raw,) = parse(Path("raw.json").read_bytes(), "f")
    assert raw.runs[0].seed == 20
    Path("drop").write_text("0.02")
    assert main(["check", "--out", "verdict.json", "--junit", "verdict.xml", "--ledger", "ledger"]) == 5
    assert "REGRESSION" in capsys.readouterr().out
    assert json.loads(Path("verdict.json").read_text())["cases"][0]["verdict"] == "regression"
    assert json.loads(Path("ledger").read_text())["verdict"] == "regression"
    # runs that are in the file of results are not repeated
    assert main(["check", "--unpaired", "--results", "raw.json"]) == 0
    assert main(["explain", "--svg", "power.svg"]) == 0
    assert "power by drop" in capsys.readouterr().out
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', Path("power.svg").read_text())]
    assert heights == sorted(heights, reverse=True), "power grows with the drop"
    assert len(set(heights)) > 5
    assert main(["plot", "accuracy-baseline.json", "raw.json"]) == 0
    assert Path("accuracy.svg").read_text().count("<circle") == 20 + len(raw.runs)


@pytest.mark.parametrize(
    ("options", "output", "scores"),
    [
        ([], "acc 0.5", {"accuracy": 0.5}),
        ([], "9830/10000\\n\\n", {"accuracy": 0.983}),
        ([], "test 1: 98.3 %", {"accuracy": 0.983}),
        (["--metric", "loss=min"], "1e-3", {"loss": 0.001}),
        ([], '{"accuracy": 0.5, "other": "x"}', {"accuracy": 0.5}),
        (["--metric", "test.f1=max"], '{"test": {"f1": 0.5}}', {"test.f1": 0.5}),
        (["--metric", "f1=max"], '{"f1": {"cat": 0.5, "dog": 0.25}}', {"f1.cat": 0.5, "f1.dog": 0.25}),
        (
            [
                "--metric",
                "a=max",
                "--metric",
                "b=min",
                "--regex",
                r"a=acc: (\S+)",
                "--regex",
                r"b=loss: (\S+)",
            ],
            "loss: 3 acc: 7/10\\nloss: 2 acc: 80% (best)",
            {"a": 0.8, "b": 2},
        ),
    ],
)
def test_metrics_are_read_where_they_are(options: list[str], output: str, scores: dict[str, float]) -> None:
    command = shell(f"printf '{output.replace('%', '%%')}'; : {{seed}}")
    assert main(["record", "--seeds", "5", *options, *command]) == 0
    (baseline,) = parse(Path("accuracy-baseline.json").read_bytes(), "f")
    assert [dict(run.scores) for run in baseline.runs] == [scores] * 5


def test_metrics_are_read_from_a_file_that_each_run_writes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["record", "--seeds", "5", "--json", "m{seed}.json"]
    assert main([*words, *shell("echo '{\"accuracy\": 0.5}' > m{seed}.json")]) == 0
    Path("m.json").write_text('{"accuracy": 0.5}')
    assert "did not write m.json" in error_of(["record", "--json", "m.json", *shell(": {seed}")], capsys)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["record"], "give the command after --"),
        (["record", "--", "true"], "the command has no {seed}"),
        (["record", "--", "no-such-program", "{seed}"], "seed 0: failed: no-such-program: No such file"),
        (["record", *shell("echo no >&2; exit 3 # {seed}")], "the command ended with status 3: no; noth"),
        (["record", *shell("kill -9 $$ # {seed}")], "the command ended with status -9"),
        (["record", *shell(": {seed}")], "the command printed nothing"),
        (["record", *shell("echo hello # {seed}")], "the last line has no accuracy"),
        (["record", *shell("echo nan # {seed}")], "seed 0: accuracy is nan"),
        (["record", *shell("echo '{' # {seed}")], "the last line is not JSON"),
        (["record", "--timeout", "0.05", *shell("sleep 9 & sleep 9 # {seed}")], "not done after 0.05 s"),
        (
            ["record", "--seeds", "4", *shell("touch ran; echo 1 # {seed}")],
            "a baseline needs 5 seeds or more, it has 4",
        ),
        (["record", "--seeds", "0", *shell("echo 1 # {seed}")], "'0' is not a whole number, 1 or more"),
        (["record", "--metric", "a=up", *shell("echo {seed}")], 'should be an object with "goal"'),
        (["record", "--metric", "a=max,margin=x", *shell("echo {seed}")], "could not convert"),
        (["record", "--metric", "a", *shell("echo {seed}")], "give NAME=max or NAME=min"),
        (["record", "--regex", "accuracy=(", *shell("echo {seed}")], "'(' is not a regular expression"),
        (["record", "--regex", "accuracy=a", *shell("echo {seed}")], "'a' needs one group in parentheses"),
        (["record", "--regex", "b=(a)", *shell("echo {seed}")], "--regex b: there is no such metric"),
        (["record", "--regex", "accuracy=x(.)", *shell("echo {seed}")], "the output has no match of 'x(.)'"),
        (
            ["record", "--metric", "accuracy=max,range=0:1", *shell("echo 2 # {seed}")],
            "accuracy of 2 is impossible",
        ),
        (["check"], "accuracy-baseline.json does not exist: record a baseline"),
        (["check", "--", "true"], "only record takes a command after --"),
        (["check", "--baseline", str(EXAMPLES / "baseline.json")], "the baseline has no command"),
        (["compare", "nowhere.json", "x"], "nowhere.json: No such file"),
        (["compare", "drop", "drop"], "drop holds no cases"),
        (["compare", str(EXAMPLES / "results.json"), "drop"], "drop holds no cases"),
        (["drift", "drop"], "drop, line 1: not a line that accuracy-gate check --ledger has written"),
        (["nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reason in error_of(words, capsys)


def changed(name: str, **changes: Any) -> str:
    """Write an example with changes; return the name of the file."""
    content = json.loads((EXAMPLES / f"{name}.json").read_text()) | changes
    Path(f"{name}.json").write_text(json.dumps(content))
    return f"{name}.json"


RUNS = json.loads((EXAMPLES / "results.json").read_text())["runs"]
LOSS = {"loss": {"goal": "min"}}


@pytest.mark.parametrize(
    ("changes", "status", "outcome", "reason"),
    [
        ({}, 5, "regression", "accuracy 91.11% -> 89.92%"),
        ({"facts": {"dataset": "roses"}}, 2, "refused", 'dataset: "flowers-102" -> "roses"'),
        ({"metrics": LOSS}, 2, "refused", "metrics.accuracy.goal"),
        ({"seeds": [100, 999]}, 5, "failed", "seed 999: failed: no result"),
        ({"runs": RUNS[:1], "seeds": []}, 6, "inconclusive", "1 seed cannot prove any drop; take at least 2"),
    ],
)
def test_compare(changes: dict[str, Any], status: int, outcome: str, reason: str) -> None:
    new = changed("results", **changes)
    assert main(["compare", str(EXAMPLES / "baseline.json"), new, "--out", "out.json"]) == status
    (case,) = json.loads(Path("out.json").read_text())["cases"]
    assert case["verdict"] == outcome
    assert reason in case["reason"]


def test_the_number_of_cases_sets_the_level() -> None:
    for cases, level in ((1, 0.0045), (10, 0.00045)):
        files = [str(EXAMPLES / f"{name}.json") for name in ("baseline", "results")]
        assert main(["compare", *files, "--cases", str(cases), "--out", "out.json"]) == 5
        metrics = json.loads(Path("out.json").read_text())["cases"][0]["metrics"]
        assert metrics["loss"]["level"] == pytest.approx(level, rel=0.05)


def test_a_file_of_several_cases() -> None:
    example = json.loads((EXAMPLES / "baseline.json").read_text())
    Path("both.json").write_text(json.dumps({"cases": [example, example | {"case": "roses"}]}))
    files = ["both.json", str(EXAMPLES / "baseline.json")]
    assert main(["compare", *files, "--out", "out.json"]) == 5
    cases = json.loads(Path("out.json").read_text())["cases"]
    assert [case["verdict"] for case in cases] == ["identical", "failed"]


def test_kept_results_with_slices_are_not_repeated() -> None:
    command = shell("""echo >> count; echo '{"accuracy": {"cat": 0.1{seed}, "dog": 0.2{seed}}}'""")
    assert main(["record", *command]) == 0
    for _ in range(2):
        assert main(["check", "--results", "raw.json"]) == 0
    (kept,) = parse(Path("raw.json").read_bytes(), "f")
    assert set(kept.columns) == {"accuracy.cat", "accuracy.dog"}
    assert len(Path("count").read_text().splitlines()) == 20 + len(kept.runs)


def test_another_fact_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    command = shell("echo 0.{seed} >> count; tail -n 1 count")
    assert main(["record", "--seeds", "20", "--fact", "data=v1", *command]) == 0
    assert main(["check", "--fact", "data=v2"]) == 2
    assert 'data: "v1" -> "v2"' in capsys.readouterr().out
    assert len(Path("count").read_text().split()) == 20


def test_explain_describes_the_plan_of_check(capsys: pytest.CaptureFixture[str]) -> None:
    command = shell("awk 'BEGIN { srand({seed} + 7); print rand() }'")
    for seeds, options, columns, margin in (
        (7, [], "3 5 7", ""),
        (20, [], "3 5 8 12 20", ",margin=0.3"),
        (20, ["--unpaired"], "3 5 8 12 20", ""),
        (7, ["--seeds", "10"], "3 5 8 10", ""),
    ):
        assert main(["record", "--seeds", str(seeds), "--metric", f"accuracy=max{margin}", *command]) == 0
        assert main(["check", "--out", "out.json", *options]) == 0
        stated = json.loads(Path("out.json").read_text())["cases"][0]["metrics"]["accuracy"]["detectable"]
        capsys.readouterr()
        assert main(["explain", *options]) == 0
        _, _, header, drops, *_, power, _, _ = capsys.readouterr().out.splitlines()
        assert header.replace(" seeds", "").split() == ["at", "most", *columns.split()]
        assert drops.split()[-1] == power.split()[0] == f"{stated:.3g}"
        assert float(power.split()[1].rstrip("%")) == pytest.approx(95, abs=1)


def test_github_gets_annotations_and_a_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert main(["compare", *(str(EXAMPLES / f"{n}.json") for n in ("baseline", "results")), "--github"]) == 5
    assert (
        "::error title=Accuracy gate::flowers: regression: accuracy 91.11%25 -> " in capsys.readouterr().out
    )
    assert Path("summary.md").read_text().startswith("**Accuracy gate: 0 of 1 passed")


def test_the_examples_and_the_schema_agree_with_the_reader() -> None:
    schema = json.loads((ROOT / "accuracy_gate" / "schema.json").read_text())["$defs"]
    for name in ("baseline", "results"):
        (example,) = parse((EXAMPLES / f"{name}.json").read_bytes(), name)
        written = example.as_json()
        for kind, entries in (
            ("results", [written]),
            ("metric", written["metrics"].values()),
            ("run", written["runs"]),
        ):
            for entry in entries:
                assert set(schema[kind]["required"]) <= entry.keys() <= schema[kind]["properties"].keys()
        assert Results.from_json(written) == example
