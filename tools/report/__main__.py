"""Write one HTML page of many runs: a table, and their curves, configurations and pictures side by side.

    python -m tools.report [FOLDER ...] [--out FILE] [--pictures MB]

The page shows every run below the folders, of any application and with any status. It is complete:
it can be moved and sent, fetches nothing, and its content security policy forbids any request.
"""

import base64
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

from shared.errors import ConfigError
from shared.files import write_result
from tools import cli
from tools.report.collect import LARGEST, Run, collect_runs

PAGE = Path(__file__).parent / "page"
OUTPUTS = Path("outputs")
NOTES = 10  # problems printed; the page has all of them
PICTURES_MB = 24  # with more, a browser takes longer than two seconds to open the page
MEGABYTE = 1_000_000
# The columns of the table: key in the page's data, heading, whether it is a number.
COLUMNS = (
    ("name", "run", False),
    ("app", "application", False),
    ("status", "status", False),
    ("accuracy", "test accuracy", True),
    ("loss", "test loss", True),
    ("framework", "framework", False),
    ("model", "model", False),
    ("dataset", "data", False),
    ("seed", "seed", True),
    ("epochs", "epochs", True),
    ("seconds", "training", True),
    ("parameters", "parameters", True),
    ("started", "started", False),
)
FORMATS = {"accuracy": "{:.2%}", "loss": "{:.4f}", "seconds": "{:.1f} s"}
FORMATS |= dict.fromkeys(("parameters", "epochs"), "{:,}")


class Pictures:
    """The pictures of the page, each once, as base64 text that is decoded when it is looked at.

    `limit` is in bytes of text; pictures that do not fit are left out.
    """

    def __init__(self, limit: int) -> None:
        self.blocks: dict[str, str] = {}
        self._left = limit

    def add(self, path: Path) -> dict[str, Any]:
        """Return a picture's name, path and block in the page; no block if it is left out."""
        entry: dict[str, Any] = {"name": path.name, "path": str(path), "block": None}
        try:
            text = base64.b64encode(path.read_bytes()).decode()
        except OSError:
            return entry
        if text not in self.blocks and len(text) <= self._left:
            self.blocks[text] = f"picture-{len(self.blocks)}"
            self._left -= len(text)
        return entry | {"block": self.blocks.get(text)}

    def to_html(self) -> str:
        """Return the blocks, which a browser neither runs nor decodes."""
        return "\n".join(
            f'<script type="text/plain" id="{name}">{text}</script>' for text, name in self.blocks.items()
        )


def page_html(runs: Sequence[Run], problems: Sequence[str], picture_limit: int) -> str:
    """Return the page of some runs, the newest first, with at most `picture_limit` bytes of pictures."""
    pictures = Pictures(picture_limit)
    common = os.path.commonpath([Path(run["path"]).absolute().parent for run in runs])
    entries = []
    for run in runs:
        entry = {"name": os.path.relpath(run["path"], common), **run}
        entry["pictures"] = [pictures.add(path) for path in run["pictures"]]
        entries.append(entry | {"cells": [cell(key, entry[key]) for key, _, _ in COLUMNS]})
    style, script = ((PAGE / name).read_text() for name in ("page.css", "page.js"))
    apps = count_of(len({run["app"] for run in entries}), "application")
    return Template((PAGE / "page.html").read_text()).substitute(
        policy=security_policy(style, script),
        style=style,
        script=script,
        summary=f"{count_of(len(runs), 'run')} of {apps}, newest first; "
        f"written {datetime.now():%Y-%m-%d %H:%M}",
        problems=problem_list(problems),
        head="".join(f"<th>{label}</th>" for _, label, _ in COLUMNS),
        rows="\n".join(table_row(run["cells"]) for run in entries),
        data=script_json({"columns": COLUMNS, "runs": entries}),
        pictures=pictures.to_html(),
    )


def security_policy(style: str, script: str) -> str:
    """Return the content security policy: this style, this script, and no request at all."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; "
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


def megabytes(text: str) -> float:
    """Return a number that is finite and not negative, for argparse."""
    value = float(text)
    if not 0 <= value <= LARGEST / MEGABYTE:  # comparing NaN gives False
        raise ValueError
    return value


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = cli.parser("report", __doc__)
    add = parser.add_argument
    add("folders", nargs="*", type=Path, metavar="FOLDER", default=[OUTPUTS], help="default: outputs")
    add("--out", type=Path, metavar="FILE", default=OUTPUTS / "report.html", help="the page (%(default)s)")
    help_text = "size limit of all pictures, the newest runs' first (%(default)s)"
    add("--pictures", type=megabytes, metavar="MB", default=PICTURES_MB, help=help_text)
    arguments = parser.parse_args(words)
    limit = int(arguments.pictures * MEGABYTE)
    return cli.run(lambda: write_report(arguments.folders, arguments.out, limit))


def write_report(folders: Sequence[Path], out: Path, picture_limit: int) -> None:
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
    content = page_html(runs, problems, picture_limit).encode(errors="backslashreplace")
    write_result(out, content)
    print(f"wrote {out}: {count_of(len(runs), 'run')}, {len(content) / MEGABYTE:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
