"""One HTML page of many runs: a table, their curves, configurations and pictures side by side.

    python -m tools.report [FOLDER ...] [--out FILE] [--pictures MB]

Takes every run below the folders (outputs/ where none is named), of any application and however it
ended. All is in the page, so that it can be moved and sent: nothing is fetched, and its content
security policy forbids it. Its files are in tools/report/page.
"""

import argparse
import base64
import hashlib
import html
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any

from shared.cli import exit_status_of
from shared.errors import ConfigError
from shared.files import write_result
from shared.nested import flat
from tools.report.collect import Run, collect, names_of

PAGE = Path(__file__).parent / "page"
NOTES = 10  # that the screen gets; the page has them all
PICTURES_MB = 24  # more of them and a browser needs longer than two seconds to open the page
MEGABYTE = 1_000_000
LARGEST = 1.7e308  # that fits into a float
# What a table shows of each run: key in the page's data, heading, whether it is a number.
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
    ("begun", "begun", False),
)
FACTS = ("dataset_source", "dataset_sha256", "weights_sha256", "versions", "hardware", "git")


class Pictures:
    """The pictures in the page, each once, as text that is decoded when it is looked at.

    Args:
        limit: how many bytes of text they may take; what comes later stays out.
    """

    def __init__(self, limit: int) -> None:
        self.blocks: dict[str, str] = {}
        self._left = limit

    def place(self, path: Path) -> dict[str, Any]:
        """Return a picture's name and the number of its block, None where it is not in the page."""
        entry: dict[str, Any] = {"name": path.name, "path": str(path), "block": None}
        try:
            text = base64.b64encode(path.read_bytes()).decode()
        except OSError:
            return entry
        if text not in self.blocks and len(text) <= self._left:
            self.blocks[text] = f"picture-{len(self.blocks)}"
            self._left -= len(text)
        return entry | {"block": self.blocks.get(text)}

    def scripts(self) -> str:
        """Return the blocks, which a browser neither runs nor decodes."""
        return "\n".join(
            f'<script type="text/plain" id="{name}">{text}</script>' for text, name in self.blocks.items()
        )


def page(runs: Sequence[Run], faults: Sequence[str], written: datetime, picture_limit: int) -> str:
    """Return the page.

    Args:
        runs: what it shows, the newest first.
        faults: what is said of folders that are not as they should be.
        written: when it is made.
        picture_limit: bytes that pictures may take; the newest runs' come first.
    """
    pictures = Pictures(picture_limit)
    entries = [entry(run, name, pictures) for run, name in zip(runs, names_of(runs), strict=True)]
    style, script = ((PAGE / name).read_text() for name in ("page.css", "page.js"))
    apps = len({run["app"] for run in entries})
    return Template((PAGE / "page.html").read_text()).substitute(
        policy=policy(style, script),
        style=style,
        script=script,
        summary=f"{counted(len(runs), 'run')} of {counted(apps, 'application')}, "
        f"the newest first; written {written:%Y-%m-%d %H:%M}",
        faults=fault_list(faults),
        head="".join(f"<th>{label}</th>" for _, label, _ in COLUMNS),
        rows="\n".join(row(run) for run in entries),
        data=as_json({"columns": COLUMNS, "runs": entries}),
        pictures=pictures.scripts(),
    )


def policy(style: str, script: str) -> str:
    """Return the content security policy: this style, this script, and no request at all."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; "
        f"script-src 'sha256-{script_hash}'; base-uri 'none'; form-action 'none'"
    )


def entry(run: Run, name: str, pictures: Pictures) -> dict[str, Any]:
    """Return what the page knows of a run."""
    config, metrics = run.config, run.metrics
    facts = flat({key: metrics[key] for key in FACTS if key in metrics})
    known = {
        "name": name,
        "path": str(run.path),
        "begun": f"{run.begun:%Y-%m-%d %H:%M}",
        "app": shown(config.get("app", "")),
        "framework": shown(config.get("framework", "")),
        "model": shown(metrics.get("model", config.get("model.name", ""))),
        "dataset": shown(metrics.get("dataset", config.get("data.name", ""))),
        "seed": number(config.get("seed")),
        "status": run.status,
        "error": shown(metrics.get("error", "")),
        "accuracy": number(metrics.get("test_accuracy")),
        "loss": number(metrics.get("test_loss")),
        "epochs": number(metrics.get("epochs")),
        "seconds": number(metrics.get("train_seconds")),
        "parameters": number(metrics.get("parameters")),
        "lossUnit": "squared error" if config.get("model.loss") == "squared_error" else "nats",
        "config": {key: shown(value) for key, value in config.items() if key != "run_dir"},
        "facts": {f"metrics.{key}": shown(value) for key, value in facts.items()},
        "history": run.history,
        "pictures": [pictures.place(path) for path in run.pictures],
        "command": run.command,
        "problem": run.problem,
    }
    return known | {"cells": [cell(key, known[key]) for key, _, _ in COLUMNS]}


def shown(value: Any) -> str:
    """Return a value as text: a string is itself, anything else as JSON has it."""
    return value if isinstance(value, str) else json.dumps(value, default=str, skipkeys=True)


def number(value: Any) -> float | None:
    """Return a finite number; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= LARGEST else None  # NaN compares as false


def row(run: dict[str, Any]) -> str:
    """Return a run's row of the table that stands in for the script's where there is none."""
    name, *others = map(html.escape, run["cells"])
    return f"<tr><th>{name}</th>{''.join(f'<td>{text}</td>' for text in others)}</tr>"


def cell(key: str, value: Any) -> str:
    """Return what stands in a cell of the table; nothing where the run has no such number."""
    if value is None:
        return ""
    match key:
        case "accuracy":
            return f"{value:.2%}"
        case "loss":
            return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.3g}"
        case "seconds":
            return f"{value:.1f} s"
        case "parameters" | "epochs":
            return f"{value:,}"
    return str(value)


def fault_list(faults: Sequence[str]) -> str:
    """Return what is wrong with some folders; nothing where nothing is."""
    if not faults:
        return ""
    lines = "\n".join(f"<li>{html.escape(fault)}</li>" for fault in faults)
    count = counted(len(faults), "folder")
    said = f"<summary>{count} not as they should be</summary>"
    return f"<details>{said}\n<ul>\n{lines}\n</ul>\n</details>"


def counted(count: int, what: str) -> str:
    """Return how many there are, in words."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def as_json(content: Any) -> str:
    """Return JSON that no HTML can be in: nothing in a run's name or settings ends the block."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"})


def megabytes(text: str) -> float:
    """Return a number that is finite and not negative, for argparse."""
    value = float(text)
    if not 0 <= value <= LARGEST / MEGABYTE:  # NaN compares as false
        raise ValueError
    return value


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.report", description=(__doc__ or "").splitlines()[0]
    )
    outputs = Path("outputs")
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        default=[outputs],
        help="where the runs are; default: outputs",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        default=outputs / "report.html",
        help="the page; default: outputs/report.html",
    )
    parser.add_argument(
        "--pictures",
        type=megabytes,
        metavar="MB",
        default=PICTURES_MB,
        help=f"how much room pictures may take, the newest runs' first; default: {PICTURES_MB}",
    )
    arguments = parser.parse_args(words)
    return exit_status_of(lambda: write(arguments.folders, arguments.out, arguments.pictures))


def write(folders: Sequence[Path], out: Path, picture_megabytes: float) -> None:
    """Write the page and say where it is.

    Raises:
        ConfigError: there is no run, or the page cannot be written.
    """
    runs, faults = collect(folders)
    for fault in faults[:NOTES]:
        print(f"note: {fault}", file=sys.stderr)
    if len(faults) > NOTES:
        print(f"note: and {len(faults) - NOTES} more, all on the page", file=sys.stderr)
    if not runs:
        raise ConfigError(f"no run in {', '.join(map(str, folders))}: train something first")
    limit = int(picture_megabytes * MEGABYTE)
    content = page(runs, faults, datetime.now(), limit).encode(errors="backslashreplace")
    write_result(out, content)
    print(f"{counted(len(runs), 'run')} on one page of {len(content) / MEGABYTE:.1f} MB: {out}")


if __name__ == "__main__":
    sys.exit(main())
