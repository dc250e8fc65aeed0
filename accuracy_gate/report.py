"""How verdicts are told: a table on the screen, JSON, JUnit XML, Markdown."""

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from accuracy_gate.decision import Judgement, Verdict
from accuracy_gate.plan import FALSE_ALARMS
from accuracy_gate.records import Record

HEADER = ("case", "metric", "baseline", "theory", "new", "detects", "training", "verdict")
WORDS = {"regression": "REGRESSION", "failed": "FAILED", "suspicious": "SUSPICIOUS"}
# What XML has no way to say, and what a terminal would obey.
CONTROL = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """Return the lines of a table for one case: one a metric, or one where nothing was compared."""
    outcome = WORDS.get(verdict.outcome, verdict.outcome)
    if not verdict.judgements:
        return [(verdict.case, "", "", "", "", "", "", outcome)]
    old, new = (_time(verdict.seconds(which)) for which in (verdict.baseline, verdict.new))
    lines: list[tuple[str, ...]] = []
    for each in verdict.judgements:
        first = each is verdict.judgements[0]
        show = _percent if each.metric == "accuracy" else _plain
        lines.append(
            (
                verdict.case if first else "",
                each.metric,
                f"{show(each.mean)} {_spread(each)} ({_count(verdict.baseline)})",
                "-" if each.predicted is None else f"± {show(each.predicted)}",
                f"{show(each.new)} ({_count(verdict.new)})",
                _detects(each),
                f"{old} -> {new}" if first else "",
                outcome if first else "",
            )
        )
    return lines


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the table for the screen, and below it the reasons of what did not pass."""
    lines = [HEADER, *(line for verdict in verdicts for line in rows(verdict))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    text += [f"{case}: {said}" for case, said in _remarks(verdicts)]
    return _printable("\n".join([*text, summary(verdicts)]))


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return the last line: how many cases did not pass."""
    bad = [verdict.case for verdict in verdicts if verdict.bad]
    refused = [verdict.case for verdict in verdicts if verdict.undecided]
    passed = len(verdicts) - len(bad) - len(refused)
    parts = [f"{passed} of {len(verdicts)} passed"]
    parts += [f"failed: {', '.join(bad)}"] if bad else []
    parts += [f"not decided: {', '.join(refused)}"] if refused else []
    return "; ".join(parts)


def as_json(verdicts: Sequence[Verdict], **notes: Any) -> dict[str, Any]:
    """Return the content of regress.json, with all raw results in it."""
    return {
        "passed": not any(verdict.bad or verdict.undecided for verdict in verdicts),
        **notes,
        "cases": [
            {
                "case": verdict.case,
                "verdict": verdict.outcome,
                "reason": verdict.reason,
                "notes": list(verdict.notes),
                "metrics": {each.metric: _judgement_json(each) for each in verdict.judgements},
                "train_seconds": {
                    "baseline": verdict.seconds(verdict.baseline),
                    "new": verdict.seconds(verdict.new),
                },
                "results": verdict.new.as_json() if verdict.new else None,
            }
            for verdict in verdicts
        ],
    }


def junit(verdicts: Sequence[Verdict]) -> bytes:
    """Return JUnit XML: a test case for each case; refused ones are errors."""
    refused = sum(verdict.undecided for verdict in verdicts)
    bad = sum(verdict.bad for verdict in verdicts)
    totals = {"tests": str(len(verdicts)), "failures": str(bad), "errors": str(refused)}
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "regress", "skipped": "0", **totals})
    for verdict in verdicts:
        runs = verdict.new.runs if verdict.new else ()
        seconds = sum(run.seconds or 0 for run in runs)
        attributes = {"classname": "regress", "name": verdict.case, "time": f"{seconds:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        if verdict.bad or verdict.undecided:
            tag = "failure" if verdict.bad else "error"
            details = {"type": verdict.outcome, "message": verdict.reason}
            ElementTree.SubElement(case, tag, details)
        table = "\n".join("  ".join(line) for line in rows(verdict))
        ElementTree.SubElement(case, "system-out").text = table
    ElementTree.indent(root)
    text = _printable(ElementTree.tostring(root, "unicode"))
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n".encode()


def markdown(verdicts: Sequence[Verdict], false_alarms: float = FALSE_ALARMS) -> str:
    """Return the summary for a job page."""
    lines = [f"**Accuracy gate: {summary(verdicts)}**", ""]
    lines += [f"| {' | '.join(HEADER)} |", f"| {' | '.join('---' for _ in HEADER)} |"]
    for line in (line for verdict in verdicts for line in rows(verdict)):
        cells = [cell.replace("|", "\\|") for cell in line]
        lines.append(f"| {' | '.join(cells)} |")
    remarks = [f"- {case}: {said}".replace("|", "\\|") for case, said in _remarks(verdicts)]
    lines += ["", *remarks] if remarks else []
    lines += [
        "",
        "Mean ± spread between seeds (number of seeds). Theory: the spread that the size of "
        "the test set explains. Detects: the smallest change for the worse found with 95 % "
        f"power. False alarms of the whole suite: at most {100 * false_alarms:g} %.",
        "",
    ]
    return _printable("\n".join(lines))


def _remarks(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Return (case, sentence) for what the table cannot say."""
    reasons = [
        (verdict.case, " ".join(verdict.reason.split()))
        for verdict in verdicts
        if verdict.bad or verdict.undecided
    ]
    return reasons + [(verdict.case, note) for verdict in verdicts for note in verdict.notes]


def _judgement_json(each: Judgement) -> dict[str, Any]:
    return {
        "baseline_mean": each.mean,
        "baseline_spread": each.spread,
        "predicted_spread": each.predicted,
        "new_mean": each.new,
        "detectable": each.detectable,
        "p": each.p,
        "level": each.level,
    }


def _detects(each: Judgement) -> str:
    if each.detectable is None:
        return "nothing"
    if each.metric == "accuracy":
        return f"-{_percent(each.detectable)}"
    return f"+{each.detectable:.2g}"


def _spread(each: Judgement) -> str:
    return f"± {_percent(each.spread) if each.metric == 'accuracy' else f'{each.spread:.2g}'}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.1f} s"


def _count(record: Record | None) -> int:
    return len(record.runs) if record else 0


def _printable(text: str) -> str:
    """Return the text with a replacement character for each that must not be in a file or shown."""
    return CONTROL.sub("\ufffd", text)
