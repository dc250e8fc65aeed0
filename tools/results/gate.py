"""What the documents say of the accuracy gate: planted faults and false alarms, as measured.

The records are docs/results/gate.json and honest.json, written by `python -m tools.regress.faults`. A block
stands between `<!-- gate: NAME -->` and `<!-- end of gate -->`: `faults`, `alarms` or `summary`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.results.interval import clopper_pearson

Row = Mapping[str, Any]  # one fault, or one case of it

FAULTS, HONEST = "gate.json", "honest.json"
NOTHING = "Not measured yet: `python -m tools.regress.faults` does it."


def block(name: str, results: Path) -> tuple[str, list[Any]]:
    """Return a block's text, and the records that it was made from.

    Args:
        name: faults, alarms or summary.
        results: the folder of the records.
    """
    rows = _read(results / FAULTS).get("faults", [])
    honest = _read(results / HONEST)
    match name:
        case "faults":
            return (fault_tables(rows) if rows else NOTHING), rows
        case "alarms":
            if "resampled" not in honest:
                return NOTHING, []
            return alarm_table(honest), honest["measured_on"]
        case "summary":
            return summary(rows, honest), []
    raise ValueError(f"no block of the gate is called {name}")


def summary(rows: Sequence[Row], honest: Row) -> str:
    """Return the sentences for the README: faults caught, and false alarms."""
    if not rows or "resampled" not in honest:
        return NOTHING
    return f"{caught(rows)} {false_alarms(honest)}"


def caught(rows: Sequence[Row]) -> str:
    """Return how many of the faults were caught, and what became of the others."""
    count = {what: len(with_outcome(rows, what)) for what in ("caught", "missed", "unseen")}
    seen = count["caught"] + count["missed"]
    text = f"{count['caught']} of {seen} planted faults were caught"
    if seen:
        text += f" ({100 * count['caught'] / seen:.0f} %; {_interval(count['caught'], seen)})"
    if count["unseen"]:
        text += (
            f"; {count['unseen']} more leave accuracy and loss as good as they are without them, "
            "or better, which no gate can see that asks whether they are worse"
        )
    return f"{text}."


def false_alarms(honest: Row) -> str:
    """Return how often honest results fail the whole suite, resampled and directly."""
    resampled, direct = (honest[kind]["suites"] for kind in ("resampled", "direct"))
    runs = sum(len(entry["fresh"]["runs"]) for entry in honest["cases"])
    return (
        f"Of {resampled['of']:,} suites put together anew from honest results, "
        f"{_percent(resampled['alarms'] / resampled['of'])} raised a false alarm "
        f"({_interval(resampled['alarms'], resampled['of'])}); {runs:,} more honest runs raised "
        f"{direct['alarms']} in {direct['of']} runs of the suite."
    )


def with_outcome(rows: Sequence[Row], outcome: str) -> list[Row]:
    """Return the faults of which this has become."""
    return [row for row in rows if row["outcome"] == outcome]


def fault_tables(rows: Sequence[Row]) -> str:
    """Return the tables of all faults: caught, missed, not to be seen, refused."""
    parts = [caught(rows)]
    found = with_outcome(rows, "caught")
    if found:
        parts.append(f"Caught:\n\n{_verdicts(found)}")
    for outcome, title in (
        ("missed", "Missed: the gate passed, although accuracy or loss is worse over more seeds"),
        ("unseen", "Not to be seen: over more seeds accuracy and loss are as good as before, or better"),
    ):
        found = with_outcome(rows, outcome)
        if found:
            parts.append(f"{title}:\n\n{_comparisons(found)}")
    found = with_outcome(rows, "refused")
    if found:
        parts.append(f"Refused, because the data is not the baseline's; not counted:\n\n{_verdicts(found)}")
    return "\n\n".join(parts)


def alarm_table(honest: Row) -> str:
    """Return the table of false alarms, and the sentence above it."""
    lines = [
        "| case | results: baseline + fresh | accuracy of both | failed, resampled | failed, directly |",
        "| --- | --- | --- | --- | --- |",
    ]
    for entry in honest["cases"]:
        case, sets = entry["baseline"]["case"], (entry["baseline"], entry["fresh"])
        counts = " + ".join(str(len(each["runs"])) for each in sets)
        means = ", ".join(_percent(_mean(each["runs"])) for each in sets)
        failed = [honest[kind]["cases"][case] for kind in ("resampled", "direct")]
        shown = " | ".join(f"{each['alarms']} of {each['of']:,}" for each in failed)
        lines.append(f"| `{case}` | {counts} | {means} | {shown} |")
    return f"{false_alarms(honest)}\n\n" + "\n".join(lines)


def _verdicts(rows: Sequence[Row]) -> str:
    lines = ["| fault | case | verdict | seeds | accuracy | loss |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        for case in row["cases"]:
            changes = [
                f"{show(metric['baseline_mean'])} -> {show(metric['new_mean'])}" if metric else "-"
                for metric, show in (
                    (case["metrics"].get("accuracy"), _percent),
                    (case["metrics"].get("loss"), _plain),
                )
            ]
            said = case["verdict"] if changes[0] != "-" else _reason(case)
            lines.append(
                f"| {row['sentence']} | `{case['case']}` | {said} | {case['seeds']} | {' | '.join(changes)} |"
            )
    return "\n".join(lines)


def _comparisons(rows: Sequence[Row]) -> str:
    lines = [
        "| fault | case | verdict | seeds compared | accuracy | p | loss | p |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        for case in row["cases"]:
            compared = case["compared"]
            verdict = f"{case['verdict']} after {case['seeds']}"
            start = f"| {row['sentence']} | `{case['case']}` | {verdict} |"
            if "fault" in compared:
                lines.append(f"{start} {len(case['runs'])} | {compared['fault']} | | | |")
                continue
            accuracy, loss = compared["accuracy"], compared["loss"]
            lines.append(
                f"{start} {compared['seeds']} | {100 * accuracy['difference']:+.2f} points | "
                f"{accuracy['p']:.2g} | {loss['difference']:+.2g} | {loss['p']:.2g} |"
            )
    return "\n".join(lines)


def _reason(case: Row) -> str:
    """Return verdict and reason in a cell of a table, shortened."""
    reason = " ".join(case["reason"].split()).replace("|", "\\|")
    return f"{case['verdict']}: {reason if len(reason) <= 90 else reason[:87] + '...'}"


def _interval(count: int, of: int) -> str:
    low, high = clopper_pearson(count, of)
    return f"95 % interval: {100 * low:.1f} to {100 * high:.1f} %"


def _mean(runs: Sequence[Row]) -> float:
    """Return the mean accuracy of the runs that were done."""
    values = [run["test_accuracy"] for run in runs if run.get("status", "done") == "done"]
    return sum(values) / len(values) if values else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content
