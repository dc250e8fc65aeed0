"""What the documents say about the accuracy gate: planted faults and false alarms, as measured.

The records are docs/results/gate.json and honest.json, written by `python -m tools.regress.faults`. A block
stands between `<!-- gate: NAME -->` and `<!-- end of gate -->`: `faults`, `missed`, `alarms`, `rivals` or
`summary`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.tables import markdown_table
from tools.results.missed import missed_table
from tools.results.rivals import rival_table, scores
from tools.results.tables import measured_on

Row = Mapping[str, Any]  # one fault, or one case of it
TITLES = {  # of the tables, by the outcome of the faults in them
    "caught": "Caught:",
    "missed": "Missed: the gate passed, although accuracy or loss is worse over more seeds:",
    "unseen": "Invisible: over more seeds, accuracy and loss are as good as before or better:",
    "refused": "Refused, because the data is not the baseline's; not counted:",
}


def gate_block(name: str, results: Path) -> str:
    """Return a block from the records in the folder `results`, by its name."""
    rows = read_record(results / "gate.json").get("faults", [])
    honest = read_record(results / "honest.json")
    match name:
        case "faults" if rows:
            return f"{fault_tables(rows)}\n\n{measured_on(rows)}"
        case "alarms" if "resampled" in honest:
            return f"{alarm_table(honest)}\n\n{measured_on(honest['measured_on'])}"
        case "missed" if rows and "resampled" in honest:
            return missed_table(rows, honest)
        case "rivals" if rows and "resampled" in honest:
            return rival_table(rows, honest)
        case "summary" if rows and "resampled" in honest:
            return f"{catch_rate(rows)} {false_alarm_rate(honest)}"
    return "Not measured yet: run `python -m tools.regress.faults`."


def read_record(file: Path) -> dict[str, Any]:
    """Return the content of a file of measurements, empty if there is none."""
    return json.loads(file.read_text()) if file.exists() else {}


def catch_rate(rows: Sequence[Row]) -> str:
    """Return how many of the faults were caught, and what became of the others."""
    caught, missed, unseen = (len(_select(rows, what)) for what in ("caught", "missed", "unseen"))
    text = f"{caught} of {caught + missed} planted faults were caught"
    if caught + missed:
        share = 100 * caught / (caught + missed)
        text += f" ({share:.0f} %; {_interval(caught, caught + missed)})"
    if unseen:
        text += (
            f"; {unseen} more leave accuracy and loss as good as before or make them better, "
            "so no test for a change for the worse can see them"
        )
    return f"{text}."


def false_alarm_rate(honest: Row) -> str:
    """Return how often honest results fail the whole suite, resampled and directly."""
    resampled, direct = (honest[kind]["suites"] for kind in ("resampled", "direct"))
    runs = sum(len(entry["fresh"]["runs"]) for entry in honest["cases"])
    return (
        f"Of {resampled['of']:,} suites resampled from honest results, "
        f"{_percent(resampled['alarms'] / resampled['of'])} raised a false alarm "
        f"({_interval(resampled['alarms'], resampled['of'])}); {runs:,} more honest runs raised "
        f"{direct['alarms']} in {direct['of']} {'run' if direct['of'] == 1 else 'runs'} of the suite."
    )


def fault_tables(rows: Sequence[Row]) -> str:
    """Return the tables of all faults: caught, missed, invisible, refused."""
    parts = [catch_rate(rows)]
    for outcome, title in TITLES.items():
        cases = [(row["sentence"], case) for row in _select(rows, outcome) for case in row["cases"]]
        if cases:
            table = _changes(cases) if outcome in ("missed", "unseen") else _verdicts(cases)
            parts.append(f"{title}\n\n{table}")
    return "\n\n".join(parts)


def alarm_table(honest: Row) -> str:
    """Return the table of false alarms, and the sentence above it."""
    header = ("case", "results: baseline + fresh", "accuracy of both", "failed, resampled", "failed, direct")
    rows = []
    for entry in honest["cases"]:
        case, parts = entry["baseline"]["case"], (entry["baseline"]["runs"], entry["fresh"]["runs"])
        counts = " + ".join(str(len(runs)) for runs in parts)
        means = ", ".join(_percent(scores(runs)[:, 0].mean()) for runs in parts)
        rates = (honest[kind]["cases"][case] for kind in ("resampled", "direct"))
        rows.append((f"`{case}`", counts, means, *(f"{each['alarms']} of {each['of']:,}" for each in rates)))
    return f"{false_alarm_rate(honest)}\n\n{markdown_table(header, rows)}"


def _verdicts(cases: Iterable[tuple[str, Row]]) -> str:
    rows = []
    for sentence, case in cases:
        verdict, changes = case["verdict"], ["-", "-"]
        if case["metrics"]:
            accuracy, loss = (case["metrics"][name] for name in ("accuracy", "loss"))
            changes = [
                f"{_percent(accuracy['baseline_mean'])} -> {_percent(accuracy['new_mean'])}",
                f"{loss['baseline_mean']:.4g} -> {loss['new_mean']:.4g}",
            ]
        else:
            reason = " ".join(case["reason"].split())
            verdict += f": {reason if len(reason) <= 90 else reason[:87] + '...'}"
        rows.append((sentence, f"`{case['case']}`", verdict, str(case["seeds"]), *changes))
    return markdown_table(("fault", "case", "verdict", "seeds", "accuracy", "loss"), rows)


def _changes(cases: Iterable[tuple[str, Row]]) -> str:
    rows = []
    for sentence, case in cases:
        found = case["compared"]
        changes = [found.get("fault", ""), "", "", ""]
        if "fault" not in found:
            accuracy, loss = found["accuracy"], found["loss"]
            changes = [f"{100 * accuracy['difference']:+.2f} points", f"{accuracy['p']:.2g}"]
            changes += [f"{loss['difference']:+.2g}", f"{loss['p']:.2g}"]
        verdict = f"{case['verdict']} after {case['seeds']}"
        seeds = str(found.get("seeds", len(case["runs"])))
        rows.append([sentence, f"`{case['case']}`", verdict, seeds, *changes])
    header = ("fault", "case", "verdict", "seeds compared", "accuracy", "p", "loss", "p")
    return markdown_table(header, rows)


def _select(rows: Sequence[Row], outcome: str) -> list[Row]:
    return [row for row in rows if row["outcome"] == outcome]


def _interval(count: int, total: int) -> str:
    """Return the exact interval of a share (Clopper and Pearson)."""
    from scipy.stats import binomtest  # takes a second to import

    low, high = binomtest(count, total).proportion_ci()
    return f"95 % interval: {100 * low:.1f} to {100 * high:.1f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
