"""JSON files of results are read as they are meant, or refused with a clear message."""

import json
import math
from typing import Any

import pytest

from accuracy_gate import InvalidResults, parse


def entry(**changes: Any) -> dict[str, Any]:
    runs = [{"seed": seed, "scores": {"accuracy": 0.9, "loss": 0.3}} for seed in (0, 1)]
    return {"accuracy_gate": 1, "case": "a", "metrics": METRICS, "runs": runs, **changes}


METRICS = {"accuracy": {"goal": "max", "range": [0, 1]}, "loss": {"goal": "min"}}


def refusal_message(text: str | bytes) -> str:
    """Return the message, one line of a usual length."""
    with pytest.raises(InvalidResults) as caught:
        parse(text, "f")
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 160
    return message


def test_a_file_holds_one_case_or_several() -> None:
    assert [r.case for r in parse(json.dumps(entry()), "f")] == ["a"]
    two = {"cases": [entry(), entry(case="b", facts={"lr": 1}, notes={"commit": "c0ffee"})]}
    records = parse(json.dumps(two), "f")
    assert [record.case for record in records] == ["a", "b"]
    assert records[1].facts == {"lr": 1}
    assert records[1].notes == {"commit": "c0ffee"}


def test_a_written_record_is_read_again() -> None:
    (record,) = parse(json.dumps(entry(facts={"a": 10}, notes={"x": "1"})), "f")
    assert parse(json.dumps(record.as_json()), "f") == [record]


def test_a_score_that_is_not_a_number_stays_a_problem_when_it_is_written() -> None:
    runs = [{"seed": 0, "scores": {"accuracy": math.nan, "loss": 1}}]
    (record,) = parse(json.dumps(entry(runs=runs)), "f")
    assert next(record.problems) == "seed 0: accuracy is nan"
    (again,) = parse(json.dumps(record.as_json(), allow_nan=False), "f")
    assert list(again.problems)


def test_a_listed_seed_without_a_run_has_failed() -> None:
    (record,) = parse(json.dumps(entry(seeds=[0, 1, 2])), "f")
    assert [record.problem(run) for run in record.runs] == [None, None, "seed 2: failed: no result"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "f is not JSON"),
        ("3", "f holds no cases"),
        ("[]", "f holds no cases"),
        ('{"case": "a"}', 'a case is {"accuracy_gate": 1, "runs"'),
        ('{"runs": []}', "f: format version None; this program reads version 1"),
        (json.dumps(entry(accuracy_gate=2)), "f: format version 2; this program reads version 1"),
        (json.dumps(entry(accuracy_gate=True)), "f: format version True"),
        (json.dumps(entry(config={})), "f: unknown key config"),
        (json.dumps(entry(runs=[])), "f: a has no runs"),
        (json.dumps(entry(runs=[{"scores": {}}])), "a run has no seed"),
        (json.dumps(entry(runs=[{"seed": "0"}])), "a run has no seed"),
        (json.dumps(entry(runs=[{"seed": 0, "x": 1}])), "f: a: runs[0]: unknown key x"),
        (json.dumps(entry(runs=[{"seed": 1}, {"seed": 1}])), "seed 1 occurs 2 times"),
        (json.dumps(entry(metrics={"a": {"goal": "max", "x": 1}})), "f: a: a: unknown key x"),
        (json.dumps({"cases": [entry(), entry()]}), "case a occurs 2 times"),
        ("", "f is not JSON: Expecting value"),
        ('{"runs": [], "case": "a", "runs": []}', "f: duplicate key runs"),
        ("[" * 100_000, "f is not JSON: maximum recursion depth"),
        ('{"runs": [{"seed": ' + "1" * 5000 + "}]}", "f is not JSON: Exceeds the limit"),
        (json.dumps(entry(runs=["a\nb"])), "f: a: runs[0]: a run has no seed: 'a\\nb'"),
        (b'{"case": "\xff"}', "f is not JSON: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_other_files_are_refused(text: str | bytes, reason: str) -> None:
    assert reason in refusal_message(text)


HUGE = 10**400  # JSON allows so many digits, but no float can hold them


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("case", [3, None, True, "", "a\nb", "\ud800", ["a"]], "a name"),
        ("metrics", [3, [], None, {}, "a"], "an object"),
        ("facts", [3, [], None, "a"], "an object"),
        ("seeds", [3, "3", {"0": 1}, ["0"], [True], [[0]], [0.0], [HUGE]], "a list of whole"),
    ],
)
def test_a_wrong_value_is_refused(key: str, values: list[Any], expected: str) -> None:
    for value in values:
        message = refusal_message(json.dumps(entry(**{key: value})))
        place = "f" if key == "case" else "f: a"
        assert message.startswith(f"{place}: {key} should be {expected}"), value
        assert "(given " in message


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("scores", [3, [0.9], None], "an object"),
        ("seconds", ["3", True, -1, math.nan, math.inf, 1e200, HUGE, []], "a number, 0 or more"),
        ("status", [0, True, ["done"]], "a text"),
        ("error", [0, {}], "a text"),
    ],
)
def test_a_wrong_value_of_a_run_is_refused_with_its_place(key: str, values: list[Any], expected: str) -> None:
    for value in values:
        message = refusal_message(json.dumps(entry(runs=[*entry()["runs"], {"seed": 2, key: value}])))
        assert message.startswith(f"f: a: runs[2].{key} should be {expected} (given "), value


def test_unknown_values_may_be_null() -> None:
    runs = [{"seed": 0, "scores": {"accuracy": 0.9, "loss": 0}, "seconds": None, "error": None}]
    (record,) = parse(json.dumps(entry(runs=runs, seeds=None)), "f")
    assert not list(record.problems)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"goal": "up"}, 'a should be an object with "goal"'),
        ({"margin": -1}, "a.margin should be a number, 0 or more"),
        ({"margin": math.nan}, "a.margin should be a number"),
        ({"range": [1, 0]}, "a.range should be [lowest, highest]"),
        ({"range": [1]}, "a.range should be [lowest, highest]"),
        ({"range": 3}, "a.range should be [lowest, highest]"),
        ({"examples": 0.5}, "a.examples should be a whole number"),
    ],
)
def test_a_wrong_metric_is_refused(change: dict[str, Any], expected: str) -> None:
    assert f"f: a: {expected}" in refusal_message(json.dumps(entry(metrics={"a": {"goal": "max", **change}})))


@pytest.mark.parametrize(
    ("score", "expected"),
    [(HUGE, "a number"), (-HUGE, "a number"), ([0.9], "a number"), ({"x": [1]}, "a number")],
)
def test_a_score_of_a_wrong_type_is_refused(score: Any, expected: str) -> None:
    runs = [{"seed": 2, "scores": {"accuracy": score}}]
    assert refusal_message(json.dumps(entry(runs=runs))).startswith("f: a: runs[0].accuracy")


@pytest.mark.parametrize("depth", [60, 600])
def test_deeply_nested_values_are_refused(depth: int) -> None:
    for key in ("facts", "notes"):
        text = json.dumps(entry())[:-1] + f', "{key}": {{"x": ' + "[" * depth + "]" * depth + "}}"
        with pytest.raises(InvalidResults, match=rf"^f: a: {key}.x[.0]*: nested more than 50 deep$"):
            parse(text, "f")
