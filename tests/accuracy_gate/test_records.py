"""JSON files of results are read as they are meant, or refused with a clear message."""

import json
import math
from typing import Any

import pytest

from accuracy_gate import InvalidResults, parse_records


def entry(**changes: Any) -> dict[str, Any]:
    runs = [{"seed": seed, "test_accuracy": 0.9, "test_loss": 0.3} for seed in (0, 1)]
    return {"case": "a", "runs": runs, **changes}


def refusal_message(text: str | bytes) -> str:
    """Return the message, one line of a usual length."""
    with pytest.raises(InvalidResults) as caught:
        parse_records(text, "f")
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 160
    return message


def test_a_file_holds_one_case_or_several() -> None:
    assert [r.case for r in parse_records(json.dumps(entry()), "f")] == ["a"]
    two = {"cases": [entry(), entry(case="b", config={"lr": 1}, commit="c0ffee")]}
    records = parse_records(json.dumps(two), "f")
    assert [record.case for record in records] == ["a", "b"]
    assert records[1].facts == {"config": {"lr": 1}}
    assert records[1].notes == {"commit": "c0ffee"}


def test_a_written_record_is_read_again() -> None:
    (record,) = parse_records(json.dumps(entry(test_examples=10, versions={"x": "1"})), "f")
    assert parse_records(json.dumps(record.as_json()), "f") == [record]


def test_a_score_that_is_not_a_number_stays_a_problem_when_it_is_written() -> None:
    (record,) = parse_records('{"runs": [{"seed": 0, "test_accuracy": NaN, "test_loss": 1}]}', "f")
    assert record.runs[0].problem == "seed 0: accuracy is nan"
    (again,) = parse_records(json.dumps(record.as_json(), allow_nan=False), "f")
    assert again.runs[0].problem is not None


def test_a_listed_seed_without_a_run_has_failed() -> None:
    (record,) = parse_records(json.dumps(entry(seeds=[0, 1, 2])), "f")
    assert [run.problem for run in record.runs] == [None, None, "seed 2: failed: no result"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "f is not JSON"),
        ("3", "f holds no cases"),
        ("[]", "f holds no cases"),
        ('{"case": "a"}', 'a case is {"case": NAME, "runs"'),
        ('{"runs": []}', "results has no runs"),
        ('{"runs": [{"test_accuracy": 1}]}', "a run has no seed"),
        ('{"runs": [{"seed": "0"}]}', "a run has no seed"),
        ('{"runs": [{"seed": 1}, {"seed": 1}]}', "seed 1 occurs 2 times"),
        (json.dumps({"cases": [entry(), entry()]}), "case a occurs 2 times"),
        ("", "f is not JSON: Expecting value"),
        ('{"runs": [], "case": "a", "runs": []}', "f: duplicate key runs"),
        ("[" * 100_000, "f is not JSON: maximum recursion depth"),
        ('{"runs": [{"seed": ' + "1" * 5000 + "}]}", "f is not JSON: Exceeds the limit"),
        ('{"runs": ["a\\nb"]}', "f: results: runs[0]: a run has no seed: 'a\\nb'"),
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
        ("test_examples", [0, -1, 0.5, 5.0, "10", True, HUGE, [10]], "a whole number, 1 or more"),
        ("test_examples", [math.nan, math.inf], "a finite number"),
        ("seeds", [3, 0, "", "3", {"0": 1}, {}, ["0"], [True], [[0]], [0.0], [HUGE]], "a list of whole"),
        ("config", [math.nan, -math.inf, 1e200], "a finite number"),
        ("git", [math.nan], "a finite number"),
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
        ("test_accuracy", [HUGE, -HUGE, [0.9], {}], "a number"),
        ("test_loss", [HUGE, [0.9]], "a number"),
        ("train_seconds", ["3", True, -1, math.nan, math.inf, 1e200, HUGE, []], "a number, 0 or more"),
        ("status", [0, True, ["done"]], "a text"),
        ("error", [0, {}], "a text"),
    ],
)
def test_a_wrong_value_of_a_run_is_refused_with_its_place(key: str, values: list[Any], expected: str) -> None:
    for value in values:
        message = refusal_message(json.dumps(entry(runs=[*entry()["runs"], {"seed": 2, key: value}])))
        assert message.startswith(f"f: a: runs[2].{key} should be {expected} (given "), value


def test_unknown_values_may_be_null() -> None:
    runs = [{"seed": 0, "test_accuracy": 0.9, "test_loss": 0, "train_seconds": None, "error": None}]
    text = json.dumps(entry(runs=runs, seeds=None, test_examples=None, config=None))
    (record,) = parse_records(text, "f")
    assert record.runs[0].problem is None
    assert record.test_examples is None


@pytest.mark.parametrize("depth", [60, 600])
def test_deeply_nested_values_are_refused(depth: int) -> None:
    for key in ("config", "git", "test_examples"):
        text = json.dumps(entry())[:-1] + f', "{key}": ' + "[" * depth + "]" * depth + "}"
        with pytest.raises(InvalidResults, match=rf"^f: a: {key}[.0]*: nested more than 50 deep$"):
            parse_records(text, "f")
