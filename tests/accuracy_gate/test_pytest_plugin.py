"""The pytest plugin, in a project of somebody else."""

import json

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import json, pathlib, random

def train(seed):
    drop = json.loads(pathlib.Path("drop").read_text())
    noise = random.Random(seed + (0 if drop == 0 else 1000)).random() / 100
    return {"accuracy": 0.9 + noise - drop, "loss": {"cat": 1 - noise, "dog": 2 - noise}, "epoch": 3}

def test_one(accuracy_gate):
    accuracy_gate(train, metrics={"accuracy": "max", "loss": "min"})

def test_two(accuracy_gate):
    accuracy_gate(train, metrics={"accuracy": "max"}, facts={"data": "v1"})

def test_number(accuracy_gate):
    accuracy_gate(lambda seed: 0.9, metrics={"a": "max"})

def test_missing(accuracy_gate):
    accuracy_gate(lambda seed: {"b": 1}, metrics={"a": "max"})

def test_nan(accuracy_gate):
    accuracy_gate(lambda seed: {"a": float("nan")}, metrics={"a": "max"})
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others take seconds to import
    pytester.makepyfile(test_model=TESTS)
    (pytester.path / "drop").write_text("0")
    return pytester


def run(project: pytest.Pytester, *words: str) -> pytest.RunResult:
    return project.runpytest_inprocess("-p", "accuracy_gate.pytest_plugin", *words)


def test_record_compare_and_fail(project: pytest.Pytester) -> None:
    result = run(project, "--gate-record", "--gate-seeds", "20")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*test_number: expected a dict of metrics, not 0.9",
            "*test_missing: the baseline is damaged: seed 0: a is None, which is not a number*",
            "*test_nan: the baseline is damaged: seed 0: a is nan",
            "test_model.test_one: recorded 20 seeds in *",
        ]
    )
    result.stdout.no_fnmatch_line("During handling of the above exception*")
    files = sorted((project.path / "accuracy_baselines").iterdir())
    assert [file.name for file in files] == ["test_model.test_one.json", "test_model.test_two.json"]
    runs = json.loads(files[0].read_text())["runs"]
    assert set(runs[0]["scores"]) == {"accuracy", "loss.cat", "loss.dog"}

    result = run(project, "-k", "one or two or number")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*test_number.json does not exist: record it with --gate-record"])
    result.stdout.fnmatch_lines(["test_model.test_one  accuracy *identical", "*loss.cat*", "*loss.dog*"])


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ("3", "*test_number: a baseline needs 5 seeds or more, it has 3"),
        ("-3", "*--gate-seeds: '-3' is not a whole number, 1 or more"),
    ],
)
def test_too_few_seeds_are_refused_before_the_first_run(
    seeds: str, message: str, project: pytest.Pytester
) -> None:
    result = run(project, "--gate-record", "--gate-seeds", seeds, "-k", "number")  # its first run fails
    assert result.ret != 0
    (result.stderr if seeds == "-3" else result.stdout).fnmatch_lines([message])


@pytest.mark.slow
def test_a_drop_fails_in_a_worker_of_xdist(project: pytest.Pytester) -> None:
    run(project, "--gate-record", "-k", "test_two").assert_outcomes(passed=1)
    (project.path / "drop").write_text("0.02")
    result = run(project, "-p", "xdist", "-n", "1", "-k", "test_two")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["regression: accuracy 0.90* -> 0.88*", "test_model.test_two  accuracy*REGRESSION"]
    )
