"""JSON files of results are read as they are meant, or refused in plain words."""

import json
from typing import Any

import pytest

from shared.errors import ConfigError
from shared.regression import parse_records


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
    ],
)
def test_what_is_no_such_file_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_records(text, "f")
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
