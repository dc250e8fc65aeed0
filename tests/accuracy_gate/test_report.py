"""Verdicts as a table, JSON, JUnit XML and Markdown."""

import json
from xml.etree import ElementTree

import numpy as np

from accuracy_gate import Plan, Results, Run, Verdict, look
from accuracy_gate.report import HEADER, as_json, junit, markdown, table
from tests.accuracy_gate.samples import draw_record, make_record


def verdicts() -> list[Verdict]:
    random = np.random.default_rng(0)
    baseline = draw_record("binomial", random, 20)
    plan = Plan(20, 4, (5,))
    passed = look(baseline, draw_record("binomial", random, 5, first=50), plan)
    worse = look(baseline, make_record([0.97] * 5, [0.1] * 5, 10_000, 50, "worse"), plan)
    runs = (
        Run(0, {"accuracy": float("nan"), "loss": 0.1}),
        Run(1, status="failed", error="<b> & \x1b[31m | ]]>"),
    )
    failed = look(baseline, Results("broken", baseline.metrics, runs[1:] + runs[:1], baseline.facts), plan)
    assert passed
    assert worse
    assert failed
    return [passed, worse, failed, Verdict("unknown", "refused", "there is no baseline")]


def test_the_table_has_a_line_for_each_metric_and_the_reasons() -> None:
    lines = table(verdicts()).splitlines()
    assert lines[0].split() == list(HEADER)
    assert lines[1].startswith("case    ")
    assert lines[1].endswith("1.0 s -> 1.0 s  passed")
    assert "% (20)  ± 0.0" in lines[1]
    assert "REGRESSION" in lines[3]
    assert lines[-1] == "1 of 4 passed; failed: worse, broken; not decided: unknown"
    assert any(line.startswith("worse: accuracy 99.") for line in lines)


def test_json_has_verdicts_numbers_and_raw_results() -> None:
    content = json.loads(json.dumps(as_json(verdicts()), allow_nan=False))
    assert content["passed"] is False
    assert content["false_alarms"] == 0.01
    first, worse, failed, refused = content["cases"]
    assert first["verdict"] == "passed"
    assert set(first["metrics"]) == {"accuracy", "loss"}
    assert worse["metrics"]["accuracy"]["p"] <= worse["metrics"]["accuracy"]["level"]
    assert [run["seed"] for run in worse["results"]["runs"]] == [50, 51, 52, 53, 54]
    assert failed["results"]["runs"][1]["scores"]["accuracy"] == "nan"
    assert refused["results"] is None


def test_junit_has_failures_and_errors_with_their_reasons() -> None:
    root = ElementTree.fromstring(junit(verdicts()))
    suite = root.find("testsuite")
    assert suite is not None
    assert {suite.get("name"), *(case.get("classname") for case in suite)} == {"accuracy_gate"}
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "1")
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert cases["case"].find("failure") is None
    failure = cases["broken"].find("failure")
    assert failure is not None
    assert "<b> & \ufffd[31m | ]]>" in str(failure.get("message"))
    error = cases["unknown"].find("error")
    assert error is not None
    assert error.get("message") == "there is no baseline"


def test_files_are_valid_whatever_characters_a_message_or_a_name_has() -> None:
    signs = ["\ufffe", "\U0001f600"]
    signs += [chr(number) for number in (*range(768), *range(0xD7F0, 0xD810), *range(0xDFF0, 0xE010))]
    said = [Verdict(f"<{sign}|>", "failed", f"it said {sign}, then ended") for sign in signs]
    cases = ElementTree.fromstring(junit(said)).iter("testcase")
    for sign, case in zip(signs, cases, strict=True):
        failure = case.find("failure")
        assert failure is not None
        shown = failure.get("message")
        forbidden = sign < " " or "\ud800" <= sign <= "\udfff" or sign == "\ufffe"
        if sign in "\t\n" or sign.isprintable():
            assert shown == f"it said {sign}, then ended"
            assert case.get("name") == f"<{sign}|>"
        elif forbidden and sign != "\r":
            assert shown == "it said \ufffd, then ended"
    for text in (table(said), markdown(said)):
        assert not set(text) & set("\x00\x1b\x7f\x9b\ud800\udfff")
        text.encode()


def test_markdown_is_one_short_table() -> None:
    lines = markdown(verdicts()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {line.count("|") - line.count("\\|") for line in rows} == {9}
    assert len(rows) == 2 + 2 + 2 + 1 + 1
    assert len(lines) < 25
    assert lines[0] == "**Accuracy gate: " + table(verdicts()).splitlines()[-1] + "**"
