"""Measure how fast this suite is, against what people would use instead.

    python -m tools.bench [KEY=VALUE ...]          (make bench)

KEY=VALUE:
    case=NAME,NAME      only these cases
    peers=PATH          a folder with checkouts of pytorch/examples in `examples` and of
                        keras-team/keras in `keras`, which run unchanged; without it, the rows
                        against them are left out
    peer_python=PATH    a Python with jax, flax and optax, which runs a program in flax; default: this
                        one; without these packages, the row against it is left out
    quick=true          as few repetitions as possible, to try the benchmarks: goals do not count, and
                        do not record these
    out=FILE            where the results are written; default: docs/results/bench.json

Each case runs in a process of its own on all cores; nothing else should run at the same time. A case
that is measured again replaces its old rows on this kind of processor, and keeps those on others. The
rows that fall short of their goal (tools/bench/goals.py) are printed at the end. `make results` fills
the tables of README.md and docs/ from the file.

exit status: 0 measured, 2 wrong command, 3 data or a program is missing, 5 a row falls short of its
goal, 130 interrupted
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared.distributed import available_cores
from shared.errors import ConfigError
from shared.output_file import write_json
from shared.runs.environment import ROOT, environment
from shared.tables import text_table
from tools import cli
from tools.bench.results import processor, results_file
from tools.bench.rows import Options, Row

RESULTS = ROOT / "docs" / "results" / "bench.json"
KEYS = ("case", "peers", "peer_python", "quick", "out")
# In the order of the table: the module with the function of this name, and its time on two cores.
CASES = {
    "keras": ("commands", "7 minutes"),
    "mnist": ("mnist", "30 minutes, with the examples"),
    "imdb": ("imdb", "30 minutes"),
    "frozen_features": ("frozen", "1 minute"),
    "loader": ("torch_loader", "1 minute"),
    "convolution": ("torch_layers", "20 seconds"),
    "recurrent": ("torch_layers", "10 seconds"),
    "arithmetic": ("torch_steps", "30 seconds"),
    "start": ("commands", "2 minutes"),
    "encoding": ("commands", "2 minutes"),
    "memory": ("commands", "3 minutes"),
    "processes": ("commands", "2 minutes"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = cli.parser("bench", __doc__)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args(words)
    return cli.run(lambda: bench(cli.parse_keys(arguments.words, KEYS)))


def bench(keys: dict[str, str]) -> int:
    """Measure a case here, or several in a process each; return the exit status.

    Raises:
        ConfigError: a case is unknown, or `quick`, `peers`, `peer_python` or `out` is wrong.
        SuiteError: the case cannot be measured.
    """
    cases = keys["case"].split(",") if "case" in keys else list(CASES)
    for name in cases:
        cli.check_choice("case", name, CASES)
    cli.check_choice("value of quick", keys.get("quick", "true"), ("true", "false"))
    if "peers" in keys and not Path(keys["peers"]).is_dir():
        raise ConfigError(f"peers={keys['peers']}: there is no such folder")
    if "peer_python" in keys and shutil.which(keys["peer_python"]) is None:
        raise ConfigError(f"peer_python={keys['peer_python']}: there is no such program")
    file = results_file(keys, RESULTS, CASES)
    if len(cases) == 1:
        rows = measure_case(cases[0], keys, file)
        return report_shortfalls(rows) if keys.get("quick") != "true" else 0
    others = [f"{key}={value}" for key, value in keys.items() if key != "case"]
    commands = [[sys.executable, "-m", "tools.bench", f"case={name}", *others] for name in cases]
    statuses = [abs(subprocess.run(command).returncode) for command in commands]
    if errors := [status for status in statuses if status not in (0, cli.FAILED_CHECK)]:
        return max(errors)
    if cli.FAILED_CHECK not in statuses:
        return 0
    results = json.loads(file.read_text())
    return report_shortfalls([Row(**row) for name in cases for row in results[name][processor()]["rows"]])


def measure_case(name: str, keys: dict[str, str], file: Path) -> list[Row]:
    """Measure a case in this process, print its tables, add it to the results in `file`; return its rows."""
    module, duration = CASES[name]
    print(f"{name}: {duration}", flush=True)
    peers = Path(keys["peers"]).resolve() if "peers" in keys else None
    quick = keys.get("quick") == "true"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    case = getattr(importlib.import_module(f"tools.bench.{module}"), name)
    python = os.path.abspath(shutil.which(keys.get("peer_python", sys.executable)) or "")
    rows, details = case(Options(peers, python, quick))
    for cells in ([row.cells() for row in rows], details):
        if cells:
            print(text_table(list(cells[0]), [list(row.values()) for row in cells]), flush=True)
    facts = environment("torch", available_cores())
    facts["versions"] |= environment("keras", 1)["versions"]
    measured = {"rows": [asdict(row) for row in rows], "details": details, "quick": quick, **facts}
    results[name] = dict(sorted((results.get(name, {}) | {processor(): measured}).items()))
    write_json(file, {case: results[case] for case in CASES if case in results})
    return rows


def report_shortfalls(rows: Sequence[Row]) -> int:
    """Print the rows that fall short of their goal; return the exit status."""
    short = [row for row in rows if not row.met]
    if short:
        print(f"short of the goal: {len(short)} of {sum(row.goal != '' for row in rows)} rows with one")
    for row in short:
        cells = row.cells()
        found = row.speedup or cells["ours"] + (cells["theirs"] and f" against {cells['theirs']}")
        print(f"  {row.what}: {found}; goal: {row.goal}")
    return cli.FAILED_CHECK if short else 0


if __name__ == "__main__":
    sys.exit(main())
