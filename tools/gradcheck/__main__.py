"""Compare the hand-written backward passes with torch, Keras and finite differences.

    python -m tools.gradcheck                all layers
    python -m tools.gradcheck case=Conv2d    one layer
    python -m tools.gradcheck out=FILE       all layers; writes the table as JSON if everything agrees

Exit status: 0 if everything agrees and every planted fault is found, 5 if not, 2 for an unknown layer.
"""

import json
import logging
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shared import backprop
from shared.errors import ConfigError
from shared.output_file import write_result
from shared.tables import text_table
from tools import cli

COLUMNS = {"torch": "to torch", "Keras": "to Keras", "finite differences": "finite diff."}
PACKAGES = ("torch", "tensorflow", "keras", "numpy", "hypothesis")


def position(name: str) -> tuple[bool, bool, str]:
    """Return a sort key: layers and losses come first, then optimizers, then clipping."""
    known = getattr(backprop, name)
    is_optimizer = isinstance(known, type) and issubclass(known, backprop.Optimizer)
    return name.startswith("clip_"), is_optimizer, name.lower()


BASES = {"Array", "Module", "NaNError", "Optimizer"}
NAMES = tuple(sorted(set(backprop.__all__) - BASES, key=position))  # of everything that is checked


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = cli.parser("gradcheck", __doc__)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="case=NAME, out=FILE")
    arguments = parser.parse_args(words)
    return cli.run(lambda: gradcheck(**cli.parse_keys(arguments.words, ["case", "out"])))


def gradcheck(case: str | None = None, out: str | None = None) -> int:
    """Check one layer or all of them, and print the table; return the exit status."""
    if case is not None:
        cli.check_choice("layer", case, NAMES)
        if out is not None:
            raise ConfigError("out=FILE holds all layers: leave case=NAME out")
    rows = check_layers([case] if case else NAMES)
    print(table(rows))
    problems = [message for row in rows for message in row["failures"]]
    for message in problems:
        print(f"\n{message}")
    if out is not None and not problems:
        content = {
            "versions": {package: version(package).partition("+")[0] for package in PACKAGES},
            "layers": rows,
        }
        write_result(Path(out), f"{json.dumps(content, indent=1)}\n".encode())
        print(f"\nwrote {out}", file=sys.stderr)
    return cli.FAILED_CHECK if problems else 0


def check_layers(names: Sequence[str]) -> list[dict[str, Any]]:
    """Check the layers and their planted faults; return a row for each."""
    print("loading torch and TensorFlow ...", file=sys.stderr)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hide XLA's notes
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    import shared.parity
    import shared.training.keras_quiet  # noqa: F401  (after torch's compiler)
    from tools.gradcheck.entries import double_precision

    rows = []
    with double_precision():
        for number, name in enumerate(names, start=1):
            row = check_with_faults(name)
            rows.append(row)
            outcome = "FAILED" if row["failures"] else "ok"
            counts = f"{row['cases']} cases, {row['checks']} checks"
            print(
                f"[{number:2}/{len(names)}] {name}: {counts}, {faults_found(row)} faults found: {outcome}",
                file=sys.stderr,
            )
    return rows


def check_with_faults(name: str) -> dict[str, Any]:
    """Return the row of a layer in the JSON file."""
    from tools.gradcheck.checks import check
    from tools.gradcheck.faults import FAULTS, find, is_caught

    report = check(name)
    faults = [fault for fault in FAULTS if fault.layer == name]
    missed = [fault for fault in faults if not is_caught(fault, find(fault))]
    largest = report.largest
    return {
        "layer": name,
        "cases": report.cases,
        "checks": report.checks,
        "largest_difference": {key: float(f"{largest[key]:.1e}") for key in COLUMNS if key in largest},
        "faults": len(faults),
        "faults_caught": len(faults) - len(missed),
        "not_compared": report.lacking,
        "notes": report.notes,
        "failures": [*report.failures, *(f"not found: {fault.title}" for fault in missed)],
    }


def faults_found(row: dict[str, Any]) -> str:
    return f"{row['faults_caught']} of {row['faults']}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text of at most 100 columns, with the notes below."""
    notes = list(dict.fromkeys(note for row in rows for note in [*row["not_compared"], *row["notes"]]))
    cells = []
    for row in rows:
        marks = [str(notes.index(note) + 1) for note in [*row["not_compared"], *row["notes"]]]
        label = f"{row['layer']} [{','.join(marks)}]" if marks else row["layer"]
        largest = row["largest_difference"]
        values = [f"{largest[key]:.1e}" if key in largest else "-" for key in COLUMNS]
        cells.append([label, str(row["cases"]), *values, faults_found(row)])
    header = ["layer", "cases", *COLUMNS.values(), "faults found"]
    lines = ["largest relative differences:", text_table(header, cells, "<>>>>>"), ""]
    for number, note in enumerate(notes, start=1):
        without = [row for row in rows if note in row["not_compared"]]
        counts = [f"{row['layer']} {row['not_compared'][note]} of {row['cases']}" for row in without]
        left_out = f" (left out: {', '.join(counts)})" if counts else ""
        lines += textwrap.wrap(f"[{number}] {note}{left_out}", 98, subsequent_indent="    ")
    checks, found, planted = (sum(row[key] for row in rows) for key in ("checks", "faults_caught", "faults"))
    failed = sum(len(row["failures"]) for row in rows)
    lines += ["", f"{checks:,} checks, {failed} failed; {found} of {planted} planted faults found"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
