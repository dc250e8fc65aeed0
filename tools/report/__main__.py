"""Write one HTML page of many runs: a table, and their curves, configurations and pictures side by side.

    python -m tools.report [FOLDER ...] [--out FILE] [--embed]

The page shows every run below the folders, of any application and with any status. It loads pictures
from the run folders when they are looked at; with --embed it holds them, and can be moved and sent. It
loads nothing else: its content security policy forbids it.
"""

import base64
import contextlib
import hashlib
import html
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from shared.errors import ConfigError
from shared.output_file import write_result
from tools import cli
from tools.report.collect import Run, collect_runs

PAGE = Path(__file__).parent / "page"
OUTPUTS = Path("outputs")
NOTES = 10  # problems printed; the page has all of them
MEGABYTE = 1_000_000
# The columns of the table: key in the page's data, heading, whether it is a number.
COLUMNS = (
    ("name", "run", False),
    ("app", "application", False),
    ("status", "status", False),
    ("debug", "debug", False),
    ("accuracy", "test accuracy", True),
    ("loss", "test loss", True),
    ("seed", "seed", True),
    ("epochs", "epochs", True),
    ("seconds", "training", True),
    ("framework", "framework", False),
    ("model", "model", False),
    ("dataset", "data", False),
    ("parameters", "parameters", True),
    ("started", "started", False),
)
FORMATS = {"accuracy": "{:.2%}", "loss": "{:.4f}", "seconds": "{:.1f} s"}
FORMATS |= dict.fromkeys(("parameters", "epochs"), "{:,}")


def page_html(runs: Sequence[Run], problems: Sequence[str], folder: Path, embed: bool) -> str:
    """Return the page of some runs, the newest first, to be written into `folder`."""
    common = os.path.commonpath([Path(run["path"]).absolute().parent for run in runs])
    entries = []
    for run in runs:
        entry = {"name": os.path.relpath(run["path"], common), **run}
        entry["pictures"] = [picture(path, folder, embed) for path in run["pictures"]]
        entries.append(entry | {"cells": [cell(key, entry[key]) for key, _, _ in COLUMNS]})
    style, script = ((PAGE / name).read_text() for name in ("page.css", "page.js"))
    apps = count_of(len({run["app"] for run in entries}), "application")
    shortened = sum(bool(run["debug"]) for run in runs)
    note = f"; {shortened:,} shortened for debugging: in italics, and last when sorted" if shortened else ""
    return Template((PAGE / "page.html").read_text()).substitute(
        policy=security_policy(style, script, embed),
        style=style,
        script=script,
        summary=f"{count_of(len(runs), 'run')} of {apps}, newest first{note}; "
        f"written {datetime.now():%Y-%m-%d %H:%M}",
        problems=problem_list(problems),
        head="".join(f"<th>{label}</th>" for _, label, _ in COLUMNS),
        rows="\n".join(table_row(run["cells"]) for run in entries),
        data=script_json({"columns": COLUMNS, "runs": entries}),
    )


def picture(path: Path, folder: Path, embed: bool) -> dict[str, str]:
    """Return a picture's name, path, and address on a page in `folder`."""
    address = quote(os.fsencode(os.path.relpath(path, folder)))
    if embed:
        with contextlib.suppress(OSError):  # the page says that it is missing
            address = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return {"name": path.name, "path": str(path), "address": address}


def security_policy(style: str, script: str, embed: bool) -> str:
    """Return the content security policy: this style, this script, and pictures of this machine."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    pictures = "data:" if embed else "data: 'self' file:"
    return (
        f"default-src 'none'; img-src {pictures}; style-src 'sha256-{style_hash}'; "
        f"script-src 'sha256-{script_hash}'; base-uri 'none'; form-action 'none'"
    )


def cell(key: str, value: Any) -> str:
    """Return the text of a cell of the table."""
    if value is None:
        return ""
    if key == "loss" and abs(value) >= 1e6:
        return f"{value:.3g}"
    return FORMATS.get(key, "{}").format(value)


def table_row(cells: Sequence[str]) -> str:
    """Return a run's row of the table that is shown without JavaScript."""
    name, *others = map(html.escape, cells)
    return f"<tr><th>{name}</th>{''.join(f'<td>{text}</td>' for text in others)}</tr>"


def problem_list(problems: Sequence[str]) -> str:
    """Return the list of problems; empty if there is none."""
    if not problems:
        return ""
    lines = "\n".join(f"<li>{html.escape(problem)}</li>" for problem in problems)
    summary = f"<summary>problems in {count_of(len(problems), 'folder')}</summary>"
    return f"<details>{summary}\n<ul>\n{lines}\n</ul>\n</details>"


def count_of(number: int, what: str) -> str:
    """Return a number with its noun, in the plural where needed."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def script_json(content: Any) -> str:
    """Return JSON without HTML's special characters: no run's name or settings end the block."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"})


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = cli.parser("report", __doc__)
    add = parser.add_argument
    add("folders", nargs="*", type=Path, metavar="FOLDER", default=[OUTPUTS], help="default: outputs")
    add("--out", type=Path, metavar="FILE", default=OUTPUTS / "report.html", help="the page (%(default)s)")
    help_text = "put all pictures into the page, which can then be moved or sent"
    add("--embed", action="store_true", help=help_text)
    arguments = parser.parse_args(words)
    return cli.run(lambda: write_report(arguments.folders, arguments.out, arguments.embed))


def write_report(folders: Sequence[Path], out: Path, embed: bool) -> None:
    """Write the page and print its path.

    Raises:
        ConfigError: there is no run, or the page cannot be written.
    """
    runs, problems = collect_runs(folders)
    for problem in problems[:NOTES]:
        print(f"note: {problem}", file=sys.stderr)
    if len(problems) > NOTES:
        print(f"note: and {len(problems) - NOTES} more, which the page lists", file=sys.stderr)
    if not runs:
        raise ConfigError(f"no run in {', '.join(map(str, folders))}: train something first")
    content = page_html(runs, problems, out.parent, embed).encode(errors="backslashreplace")
    write_result(out, content)
    print(f"wrote {out}: {count_of(len(runs), 'run')}, {len(content) / MEGABYTE:.3g} MB")


if __name__ == "__main__":
    sys.exit(main())
