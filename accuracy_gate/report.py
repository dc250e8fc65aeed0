"""Verdicts as a table for the screen, JSON, JUnit XML and Markdown."""

import re
import statistics
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from accuracy_gate.decision import Comparison, Verdict
from accuracy_gate.plan import FALSE_ALARM_RATE
from accuracy_gate.results import Results

HEADER = ("case", "metric", "baseline", "theory", "new", "detects", "training", "verdict")
WORDS = {
    "regression": "REGRESSION",
    "failed": "FAILED",
    "suspicious": "SUSPICIOUS",
    "inconclusive": "INCONCLUSIVE",
}
NUMBERS = ("baseline_mean", "baseline_spread", "predicted_spread", "new_mean", "detectable", "p", "level")
# Characters that XML cannot hold, or that control a terminal.
# Compiled when first used: that takes longer than the rest of the import.
CONTROL = "[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the table for the screen, followed by remarks and the summary."""
    lines = [HEADER, *(row for verdict in verdicts for row in _rows(verdict))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    text += [f"{case}: {remark}" for case, remark in _remarks(verdicts)]
    return printable("\n".join([*text, summary(verdicts)]))


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return one line: how many cases passed, and which did not."""
    others = {
        "failed": [verdict.case for verdict in verdicts if verdict.failing],
        "not decided": [verdict.case for verdict in verdicts if verdict.undecided],
    }
    passed = len(verdicts) - sum(map(len, others.values()))
    lists = [f"{what}: {', '.join(cases)}" for what, cases in others.items() if cases]
    return "; ".join([f"{passed} of {len(verdicts)} passed", *lists])


def as_json(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the verdicts, the numbers behind them, and all raw results."""
    return {
        "passed": not any(verdict.failing or verdict.undecided for verdict in verdicts),
        "false_alarms": FALSE_ALARM_RATE,
        "cases": [
            {
                "case": verdict.case,
                "verdict": verdict.outcome,
                "reason": verdict.reason,
                "notes": list(verdict.notes),
                "metrics": {
                    each.metric: {key: getattr(each, key) for key in NUMBERS} for each in verdict.comparisons
                },
                "train_seconds": {
                    "baseline": median_seconds(verdict.baseline),
                    "new": median_seconds(verdict.new),
                },
                "results": verdict.new.as_json() if verdict.new else None,
            }
            for verdict in verdicts
        ],
    }


def junit(verdicts: Sequence[Verdict]) -> bytes:
    """Return JUnit XML with a test case for each case; refused cases are errors."""
    undecided = sum(verdict.undecided for verdict in verdicts)
    failed = sum(verdict.failing for verdict in verdicts)
    totals = {"tests": str(len(verdicts)), "failures": str(failed), "errors": str(undecided)}
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "accuracy_gate", "skipped": "0", **totals})
    for verdict in verdicts:
        seconds = sum(run.seconds or 0 for run in (verdict.new.runs if verdict.new else ()))
        attributes = {"classname": "accuracy_gate", "name": verdict.case, "time": f"{seconds:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        if verdict.failing or verdict.undecided:
            tag = "failure" if verdict.failing else "error"
            ElementTree.SubElement(case, tag, {"type": verdict.outcome, "message": verdict.reason})
        ElementTree.SubElement(case, "system-out").text = "\n".join(map("  ".join, _rows(verdict)))
    ElementTree.indent(root)
    text = printable(ElementTree.tostring(root, "unicode"))
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n".encode()


def markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the summary for a job page."""
    lines = [HEADER, ["---"] * len(HEADER), *(row for verdict in verdicts for row in _rows(verdict))]
    remarks = [_escape(f"- {case}: {remark}") for case, remark in _remarks(verdicts)]
    text = [
        f"**Accuracy gate: {summary(verdicts)}**",
        "",
        *(f"| {' | '.join(map(_escape, line))} |" for line in lines),
        *([""] if remarks else []),
        *remarks,
        "",
        "Mean ± spread between seeds (number of seeds). Theory: the spread that the size of "
        "the test set explains. Detects: the smallest change for the worse found with 95 % "
        f"power. False alarms of the whole suite: at most {100 * FALSE_ALARM_RATE:g} %.",
        "",
    ]
    return printable("\n".join(text))


def annotations(verdicts: Sequence[Verdict]) -> list[str]:
    """Return GitHub's workflow commands: an error or a warning for each case that did not pass."""
    lines = []
    for verdict in verdicts:
        if verdict.failing or verdict.undecided:
            text = printable(f"{verdict.case}: {verdict.outcome}: {' '.join(verdict.reason.split())}")
            level = "error" if verdict.failing else "warning"
            lines.append(f"::{level} title=Accuracy gate::{text.replace('%', '%25')}")
    return lines


def median_seconds(record: Results | None) -> float | None:
    """Return the median training time of a record's runs, or None if it was not measured."""
    known = [run.seconds for run in (record.runs if record else ()) if run.seconds is not None]
    return statistics.median(known) if known else None


def _rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """Return the table rows of a case: one for each metric, or one if nothing was compared."""
    outcome = WORDS.get(verdict.outcome, verdict.outcome)
    if not verdict.comparisons:
        return [(verdict.case, "", "", "", "", "", "", outcome)]
    records = (verdict.baseline, verdict.new)
    seconds = map(median_seconds, records)
    training = " -> ".join("?" if each is None else f"{each:.1f} s" for each in seconds)
    seeds = [len(record.runs) if record else 0 for record in records]
    first, *others = (_cells(each, *seeds) for each in verdict.comparisons)
    return [(verdict.case, *first, training, outcome), *(("", *cells, "", "") for cells in others)]


def _cells(each: Comparison, old: int, new: int) -> tuple[str, ...]:
    """Return the cells of a metric; `old` and `new` are numbers of seeds."""
    number = _percent if each.kind.is_share else "{:.4g}".format
    short = _percent if each.kind.is_share else "{:.2g}".format
    sign = "-" if each.kind.goal == "max" else "+"
    return (
        each.metric,
        f"{number(each.baseline_mean)} ± {short(each.baseline_spread)} ({old})",
        "-" if each.predicted_spread is None else f"± {number(each.predicted_spread)}",
        f"{number(each.new_mean)} ({new})",
        "nothing" if each.detectable is None else sign + short(each.detectable),
    )


def _remarks(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Return (case, sentence) for reasons and notes, which the table does not show."""
    reasons = [
        (verdict.case, " ".join(verdict.reason.split()))
        for verdict in verdicts
        if verdict.failing or verdict.undecided
    ]
    return reasons + [(verdict.case, note) for verdict in verdicts for note in verdict.notes]


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def printable(text: str) -> str:
    """Replace every character that must not be in a file or on a terminal."""
    return re.sub(CONTROL, "\ufffd", text)
