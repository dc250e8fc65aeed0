"""The pytest fixture accuracy_gate.

    def test_accuracy(accuracy_gate):
        accuracy_gate(train, metrics={"accuracy": "max", "loss": "min"})

`train` takes a seed and returns a dict of metrics. `pytest --gate-record` writes the baseline,
accuracy_baselines/TEST.json below the root folder (ini option gate_baselines); later sessions compare with
it. The suite that shares the rate of false alarms is the folder: as many cases as it holds baselines,
whichever tests run.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from accuracy_gate.results import Metric, Results

Gate = Callable[..., None]
LINES = "accuracy_gate"  # in the properties of a test, which xdist passes on


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("accuracy_gate", "accuracy gate")
    group.addoption("--gate-record", action="store_true", help="record new baselines")
    text = "seeds of a new baseline (default: 20), or the most that a comparison takes"
    group.addoption("--gate-seeds", type=_count, metavar="N", help=text)
    parser.addini("gate_baselines", "folder of the baselines", default="accuracy_baselines")


@pytest.fixture
def accuracy_gate(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Gate:
    """Fail if the metrics of a function of a seed are worse than its baseline's."""
    config = request.config
    folder = config.rootpath / str(config.getini("gate_baselines"))
    name = re.sub(r"[^\w.-]+", "_", request.node.nodeid.replace(".py::", "."))

    def gate(
        function: Callable[[int], Mapping[str, Any]],
        metrics: Mapping[str, "str | Metric"],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        from accuracy_gate.results import Metric, Results

        kinds = {key: Metric(goal) if isinstance(goal, str) else goal for key, goal in metrics.items()}
        empty = Results(name, kinds, (), dict(facts or {}))
        for line in judge(function, empty, folder / f"{name}.json", config):
            record_property(LINES, line)

    return gate


def judge(
    function: Callable[[int], Mapping[str, Any]], results: "Results", file: Path, config: pytest.Config
) -> Iterator[str]:
    """Record or compare, starting with `results` of no runs; yield the lines of the report."""
    __tracebackhide__ = True
    from accuracy_gate.cli import check_plan, read_baseline, write
    from accuracy_gate.decision import look
    from accuracy_gate.report import table
    from accuracy_gate.results import Baseline, InvalidResults, Results, Run, check_baseline_seeds

    def train(results: Results, seed: int) -> Results:
        scores = function(seed)
        if not isinstance(scores, Mapping):
            raise InvalidResults(f"{results.case}: expected a dict of metrics, not {scores!r}")
        run = Run(seed, {key: _plain(scores[key]) for key in results.metrics if key in scores})
        return replace(results, runs=(*results.runs, run))

    count = config.getoption("gate_seeds")
    try:
        if config.getoption("gate_record"):
            check_baseline_seeds(results.case, count or 20)
            for seed in range(count or 20):
                results = train(results, seed)
            baseline = Baseline(results.case, results.metrics, results.runs, results.facts)
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, json.dumps(baseline.as_json(), indent=1) + "\n")
            yield f"{results.case}: recorded {len(results.runs)} seeds in {file}"
            return
        if not file.exists():
            pytest.fail(f"{file} does not exist: record it with --gate-record", pytrace=False)
        baseline = read_baseline(file)
        plan, seeds = check_plan(baseline, count, len(list(file.parent.glob("*.json"))))
        while not (verdict := look(baseline, results, plan)):  # the last look always decides
            results = train(results, seeds[len(results.runs)])
    except InvalidResults as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    lines = table([verdict]).splitlines()[1:-1]
    yield from lines
    if verdict.failing or verdict.undecided:
        pytest.fail(f"{verdict.outcome}: {verdict.reason}", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each metric."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = [
        str(value)
        for report in reports
        if getattr(report, "when", None) == "call"
        for key, value in report.user_properties
        if key == LINES
    ]
    if lines:
        terminalreporter.section("accuracy gate")
        for line in lines:
            terminalreporter.write_line(line)


def _count(text: str) -> int:
    from accuracy_gate.cli import parse_count

    return parse_count(text)


def _plain(value: Any) -> Any:
    """Return a score as a Python number (float32 and tensors of one number have item()), or its slices."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value.item() if hasattr(value, "item") else value
