"""Measure how fast this suite is, against what people would use instead.

    python -m tools.bench [KEY=VALUE ...]          (make bench)

KEY=VALUE:
    case=NAME,NAME      only these cases
    peers=PATH          a folder with checkouts of pytorch/examples in `examples` and of
                        keras-team/keras in `keras`, which run unchanged; without it, the rows
                        against them are left out
    quick=true          as few repetitions as possible, to try the benchmarks: do not record these
    out=FILE            where the results are written; default: docs/results/bench.json

Each case runs in a process of its own on all cores; nothing else should run at the same time. A case
that is measured again replaces its old rows. `make results` fills the tables of README.md and docs/
from the file.

exit status: 0 measured, 2 wrong command, 3 data or a program is missing, 130 interrupted
"""

import importlib
import json
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

RESULTS = ROOT / "docs" / "results" / "bench.json"
KEYS = ("case", "peers", "quick", "out")
# In the order of the table: the module with the function of this name, and its time on two cores.
CASES = {
    "mnist": ("mnist", "15 minutes with the example, 2 without"),
    "imdb": ("imdb", "10 minutes"),
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
    """Measure a case here, or several in a process each; return the highest of their statuses.

    Raises:
        ConfigError: a case is unknown, or `quick` or `peers` is wrong.
        SuiteError: the case cannot be measured.
    """
    cases = keys["case"].split(",") if "case" in keys else list(CASES)
    for name in cases:
        cli.check_choice("case", name, CASES)
    cli.check_choice("value of quick", keys.get("quick", "true"), ("true", "false"))
    if "peers" in keys and not Path(keys["peers"]).is_dir():
        raise ConfigError(f"peers={keys['peers']}: there is no such folder")
    if len(cases) == 1:
        measure_case(cases[0], keys)
        return 0
    others = [f"{key}={value}" for key, value in keys.items() if key != "case"]
    commands = [[sys.executable, "-m", "tools.bench", f"case={name}", *others] for name in cases]
    return max(abs(subprocess.run(command).returncode) for command in commands)


def measure_case(name: str, keys: dict[str, str]) -> None:
    """Measure a case in this process, print its tables, and add it to the results."""
    module, duration = CASES[name]
    print(f"{name}: {duration}", flush=True)
    peers = Path(keys["peers"]).resolve() if "peers" in keys else None
    quick = keys.get("quick") == "true"
    file = Path(keys.get("out", RESULTS))
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    rows, details = getattr(importlib.import_module(f"tools.bench.{module}"), name)(peers, quick)
    for cells in ([row.cells() for row in rows], details):
        if cells:
            print(text_table(list(cells[0]), [list(row.values()) for row in cells]), flush=True)
    facts = environment("torch", available_cores())
    facts["versions"] |= environment("keras", 1)["versions"]
    results[name] = {"rows": [asdict(row) for row in rows], "details": details, "quick": quick, **facts}
    write_json(file, {case: results[case] for case in CASES if case in results})


if __name__ == "__main__":
    sys.exit(main())
