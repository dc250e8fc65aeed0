"""Do the backward passes by hand agree with torch, Keras and finite differences?

    python -m tools.gradcheck                 all layers, then write docs/results/gradients.json
    python -m tools.gradcheck --case Conv2d   one layer

Exit status 0: they agree, and every planted fault was found; 5: not so; 2: no such layer.
"""

import argparse
import difflib
import json
import logging
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.files import write_atomically
from tools.gradcheck.names import NAMES

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "gradients.json"
WRONG_COMMAND, FAILED = 2, 5  # exit statuses
COLUMNS = {"torch": "to torch", "Keras": "to Keras", "finite differences": "finite diff."}


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.gradcheck",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--case", metavar="NAME", help="one layer alone; nothing is written")
    name = parser.parse_args(arguments).case
    if name is not None and name not in NAMES:
        print(unknown(name), file=sys.stderr)
        return WRONG_COMMAND
    rows = run([name] if name else NAMES)
    print(table(rows))
    problems = [message for row in rows for message in row["failures"]]
    for message in problems:
        print(f"\n{message}")
    if name is None and not problems:
        content = {"versions": versions(), "layers": rows}
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(RESULTS, (json.dumps(content, indent=1) + "\n").encode())
        print("\ndocs/results/gradients.json: written", file=sys.stderr)
    return FAILED if problems else 0


def unknown(name: str) -> str:
    """Return what to say of a name that is none."""
    lower = {known.lower(): known for known in NAMES}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    meant = f": did you mean {lower[close[0]]}?" if close else f"; there are {', '.join(NAMES)}"
    return f"error: unknown layer {name}{meant}"


def run(names: Sequence[str]) -> list[dict[str, Any]]:
    """Check the layers and their planted faults; return a row for each."""
    print("loading torch and TensorFlow ...", file=sys.stderr)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's notes are not for the reader
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    import shared.parity
    import shared.training.keras_quiet  # noqa: F401  (after torch's compiler)
    from tools.gradcheck.entries import double_precision

    rows = []
    with double_precision():
        for number, name in enumerate(names, start=1):
            row = check_with_faults(name)
            rows.append(row)
            found, planted = row["faults_caught"], row["faults"]
            outcome = "FAILED" if row["failures"] else "ok"
            counts = f"{row['cases']} cases, {row['checks']} checks"
            line = f"{name}: {counts}, {found} of {planted} faults found: {outcome}"
            print(f"[{number:2}/{len(names)}] {line}", file=sys.stderr)
    return rows


def check_with_faults(name: str) -> dict[str, Any]:
    """Return the row of a layer: what JSON has of it."""
    from tools.gradcheck.checks import check
    from tools.gradcheck.faults import FAULTS, caught, names_it

    report = check(name)
    planted = [fault for fault in FAULTS if fault.layer == name]
    missed = [fault for fault in planted if not names_it(fault, caught(fault))]
    return {
        "layer": name,
        "cases": report.cases,
        "checks": report.checks,
        "largest_difference": {
            key: float(f"{report.largest[key]:.1e}") for key in COLUMNS if key in report.largest
        },
        "compared": {key: report.compared[key] for key in COLUMNS if key in report.compared},
        "faults": len(planted),
        "faults_caught": len(planted) - len(missed),
        "not_compared": report.lacking,
        "notes": report.notes,
        "failures": [*report.failures, *(f"not found: {fault.identity}" for fault in missed)],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text of at most 100 columns, with what a framework lacks below."""
    titles = "  ".join(f"{title:>12}" for title in COLUMNS.values())
    head = f"{'layer':32} {'cases':>5}  {titles}  {'faults found':>12}"
    lines = [f"{'largest relative difference':>68}", head, "-" * len(head)]
    numbers: dict[str, int] = {}
    for row in rows:
        for note in [*row["not_compared"], *row["notes"]]:
            numbers.setdefault(note, len(numbers) + 1)
        lines.append(_line(row, numbers))
    lines.append("")
    for note, number in numbers.items():
        counts = [
            f"{row['layer']} {row['not_compared'][note]} of {row['cases']}"
            for row in rows
            if note in row["not_compared"]
        ]
        left_out = f" (left out: {', '.join(counts)})" if counts else ""
        lines += textwrap.wrap(f"[{number}] {note}{left_out}", 98, subsequent_indent="    ")
    found, planted = (sum(row[key] for row in rows) for key in ("faults_caught", "faults"))
    failed = sum(len(row["failures"]) for row in rows)
    checks = sum(row["checks"] for row in rows)
    lines += ["", f"{checks:,} checks, {failed} failed; {found} of {planted} planted faults found"]
    return "\n".join(lines)


def _line(row: dict[str, Any], numbers: dict[str, int]) -> str:
    """Return one line of the table."""
    marks = ",".join(str(numbers[note]) for note in [*row["not_compared"], *row["notes"]])
    largest = row["largest_difference"]
    values = "  ".join(f"{largest[key]:12.1e}" if key in largest else f"{'-':>12}" for key in COLUMNS)
    label = f"{row['layer']}{f' [{marks}]' if marks else ''}"
    faults = f"{row['faults_caught']} of {row['faults']}"
    return f"{label:32} {row['cases']:5}  {values}  {faults:>12}"


def versions() -> dict[str, str]:
    """Return the versions of the packages that were compared."""
    from importlib.metadata import version

    names = ("torch", "tensorflow", "keras", "numpy", "hypothesis")
    return {name: version(name).partition("+")[0] for name in names}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
