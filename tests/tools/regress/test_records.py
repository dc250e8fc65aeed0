"""JSON files of results are read as they are meant, or refused in plain words."""

import json
import math
from typing import Any

import pytest

from accuracy_gate import parse_records
from shared.errors import ConfigError


def entry(**changes: Any) -> dict[str, Any]:
    runs = [{"seed": seed, "test_accuracy": 0.9, "test_loss": 0.3} for seed in (0, 1)]
    return {"case": "a", "runs": runs, **changes}


def test_a_file_holds_one_case_or_several() -> None:
    assert [r.case for r in parse_records(json.dumps(entry()), "f")] == ["a"]
    two = {"cases": [entry(), entry(case="b", config={"lr": 1}, commit="c0ffee")]}
    records = parse_records(json.dumps(two), "f")
    assert [record.case for record in records] == ["a", "b"]
    assert records[1].facts == {"config": {"lr": 1}}
    assert records[1].notes == {"commit": "c0ffee"}


def test_what_is_written_is_read_again() -> None:
    (record,) = parse_records(json.dumps(entry(test_examples=10, versions={"x": "1"})), "f")
    assert parse_records(json.dumps(record.as_json()), "f") == [record]


def test_a_score_that_is_no_number_stays_a_fault_when_it_is_written() -> None:
    (record,) = parse_records('{"runs": [{"seed": 0, "test_accuracy": NaN, "test_loss": 1}]}', "f")
    assert record.runs[0].fault == "seed 0: accuracy is nan"
    text = json.dumps(record.as_json(), allow_nan=False)
    (again,) = parse_records(text, "f")
    assert again.runs[0].fault is not None


def test_a_seed_that_was_asked_for_and_is_missing_has_failed() -> None:
    (record,) = parse_records(json.dumps(entry(seeds=[0, 1, 2])), "f")
    assert [run.fault for run in record.runs] == [None, None, "seed 2: failed: no result"]


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
        ('{"runs": [{"seed": 1}, {"seed": 1}]}', "seed 1 is there 2 times"),
        (json.dumps({"cases": [entry(), entry()]}), "holds the case a 2 times"),
        ("", "f is not JSON: Expecting value"),
        ('{"runs": [], "case": "a", "runs": []}', "f: the key runs is there twice"),
        ("[" * 100_000, "f is not JSON: maximum recursion depth"),
        ('{"runs": [{"seed": ' + "1" * 5000 + "}]}", "f is not JSON: Exceeds the limit"),
        ('{"runs": ["a\\nb"]}', "f: results: runs[0]: a run has no seed: 'a\\nb'"),
    ],
)
def test_what_is_no_such_file_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_records(text, "f")
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_utf_8_is_refused() -> None:
    with pytest.raises(ConfigError, match="f is not JSON: 'utf-8' codec can't decode byte 0xff"):
        parse_records(b'{"case": "\xff"}', "f")


HUGE = 10**400  # of digits that JSON allows and no float can hold


@pytest.mark.parametrize(
    ("key", "values", "what"),
    [
        ("case", [3, None, True, "", "a\nb", "\ud800", ["a"]], "a name"),
        ("test_examples", [0, -1, 0.5, 5.0, "10", True, HUGE, [10]], "a whole number, 1 or more"),
        ("test_examples", [math.nan, math.inf], "a finite number"),
        ("seeds", [3, "3", {"0": 1}, ["0"], [True], [[0]], [0.0], [HUGE]], "a list of whole"),
        ("config", [math.nan, -math.inf, 1e200], "a finite number"),
        ("git", [math.nan], "a finite number"),
    ],
)
def test_a_value_that_is_not_what_its_key_says_is_refused(key: str, values: list[Any], what: str) -> None:
    for value in values:
        with pytest.raises(ConfigError) as caught:
            parse_records(json.dumps(entry(**{key: value})), "f")
        place = "f" if key == "case" else "f: a"
        assert str(caught.value).startswith(f"{place}: {key} should be {what}"), value
        assert "(given " in str(caught.value)
        assert len(str(caught.value)) < 150, "one line of a usual length"
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("key", "values", "what"),
    [
        ("test_accuracy", [HUGE, -HUGE, [0.9], {}], "a number"),
        ("test_loss", [HUGE, [0.9]], "a number"),
        ("train_seconds", ["3", True, -1, math.nan, math.inf, 1e200, HUGE, []], "a number, 0 or more"),
        ("status", [0, True, ["done"]], "a text"),
        ("error", [0, {}], "a text"),
    ],
)
def test_a_value_of_a_run_is_refused_with_its_place(key: str, values: list[Any], what: str) -> None:
    for value in values:
        runs = [*entry()["runs"], {"seed": 2, key: value}]
        with pytest.raises(ConfigError) as caught:
            parse_records(json.dumps(entry(runs=runs)), "f")
        assert str(caught.value).startswith(f"f: a: runs[2].{key} should be {what} (given "), value
        assert len(str(caught.value)) < 150


def test_what_is_not_known_may_be_null() -> None:
    runs = [{"seed": 0, "test_accuracy": 0.9, "test_loss": 0, "train_seconds": None, "error": None}]
    text = json.dumps(entry(runs=runs, seeds=None, test_examples=None, config=None))
    (record,) = parse_records(text, "f")
    assert record.runs[0].fault is None
    assert record.test_examples is None


@pytest.mark.parametrize("depth", [60, 600])
def test_what_is_nested_too_deep_is_refused(depth: int) -> None:
    for key in ("config", "git", "test_examples"):
        text = json.dumps(entry())[:-1] + f', "{key}": ' + "[" * depth + "]" * depth + "}"
        with pytest.raises(ConfigError, match=rf"^f: a: {key}[.0]*: nested more than 50 deep$"):
            parse_records(text, "f")
