"""What is fast here, measured beside what people would use instead.

    python -m tools.bench [KEY=VALUE ...]          (make bench)

KEY=VALUE:
    case=NAME,NAME      these cases alone; all of them unless given
    peers=PATH          a folder with checkouts of pytorch/examples in `examples` and of
                        keras-team/keras in `keras`, run as they are; without it the rows beside
                        them are left out
    quick=true          as few repetitions as there can be: to see that it works, not to be recorded
    out=FILE            write the results there; docs/results/bench.json unless given

Each case runs in a process of its own with all cores; nothing else should run at the time. A case
that is measured again replaces its rows. `make results` makes the tables of README.md and docs/
from the file.

exit status: 0 measured, 2 wrong command, 3 data or a program is missing, 130 interrupted
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared.errors import INTERRUPTED_STATUS, ConfigError, SuiteError
from shared.files import write_atomically
from shared.runs.environment import ROOT, available_cores, environment
from tools.bench.rows import Row, table
from tools.cli import parse_keys

RESULTS = ROOT / "docs" / "results" / "bench.json"
KEYS = ("case", "peers", "quick", "out")
# In the order of the table, and how long each takes on two cores.
CASES = {
    "mnist": "15 minutes with the example, 2 without",
    "imdb": "10 minutes",
    "frozen_features": "1 minute",
    "convolution": "20 seconds",
    "recurrent": "10 seconds",
    "arithmetic": "30 seconds",
    "start": "2 minutes",
    "encoding": "2 minutes",
    "memory": "3 minutes",
    "processes": "2 minutes",
}
ENVIRONMENTS = ("torch", "keras")  # whose versions are recorded


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # one case, in this process
    arguments = parser.parse_args(words)
    try:
        keys = parsed(arguments.words)
        if arguments.measure:
            measure_here(arguments.measure, keys)
        else:
            measure_all(keys)
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted; what was measured is kept", file=sys.stderr)
        return INTERRUPTED_STATUS
    return 0


def parsed(words: Sequence[str]) -> dict[str, str]:
    """Return the KEY=VALUEs.

    Raises:
        ConfigError: a key or a case is unknown, or `peers` is no folder.
    """
    keys = parse_keys(words, KEYS)
    for name in keys.get("case", "mnist").split(","):
        if name not in CASES:
            raise ConfigError(f"case={name}: there is no such case; choose from {', '.join(CASES)}")
    if keys.get("quick", "true") not in ("true", "false"):
        raise ConfigError("quick should be true or false")
    if "peers" in keys and not Path(keys["peers"]).is_dir():
        raise ConfigError(f"peers={keys['peers']}: there is no such folder")
    return keys


def measure_all(keys: dict[str, str]) -> None:
    """Measure the cases, one process after the other; keep each as soon as it is there."""
    file = Path(keys.get("out", RESULTS))
    failed: list[SuiteError] = []
    cases = keys["case"].split(",") if "case" in keys else list(CASES)
    for name in cases:
        print(f"{name}: {CASES[name]}", flush=True)
        try:
            found = measured_apart(name, keys)
        except SuiteError as error:  # the others are measured all the same
            print(f"error: {error}", file=sys.stderr)
            failed.append(error)
            continue
        keep(file, name, found)
        for part in ("rows", "details"):
            if found[part]:
                print(table(found[part]), flush=True)
    if failed:
        raise failed[0]


def measured_apart(name: str, keys: dict[str, str]) -> dict[str, Any]:
    """Measure one case in a process of its own; return its rows, as the tables show them.

    Raises:
        SuiteError: it could not be measured; the process has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.json")
        words = [f"{key}={value}" for key, value in keys.items() if key in ("peers", "quick")]
        command = [sys.executable, "-m", "benchmarks", "--measure", name, *words, f"out={file}"]
        status = subprocess.run(command, cwd=ROOT).returncode
        if status:
            failure = SuiteError(f"{name}: not measured")
            failure.status = status if status > 0 else 1
            raise failure
        content: dict[str, Any] = json.loads(file.read_text())
        return content


def measure_here(name: str, keys: dict[str, str]) -> None:
    """Measure one case in this process and write what the tables show to the file `out`."""
    peers = Path(keys["peers"]).resolve() if "peers" in keys else None
    module = importlib.import_module(f"benchmarks.{name}")
    rows, details = module.measure(peers, keys.get("quick") == "true")
    threads = available_cores()
    facts = environment(ENVIRONMENTS[0], threads)
    facts["versions"] |= environment(ENVIRONMENTS[1], threads)["versions"]
    report = {
        "rows": [row.cells() for row in rows],
        "details": details,
        "raw": [as_json(row) for row in rows],
        "quick": keys.get("quick") == "true",
        **facts,
    }
    Path(keys["out"]).write_text(json.dumps(report))


def as_json(row: Row) -> dict[str, Any]:
    """Return a row's numbers."""
    return asdict(row) | {"ratio": row.ratio}


def keep(file: Path, name: str, found: dict[str, Any]) -> None:
    """Put the results of a case into the file, in place of older ones."""
    content = json.loads(file.read_text()) if file.exists() else {}
    content[name] = found
    ordered = {case: content[case] for case in CASES if case in content}
    write_atomically(file, (json.dumps(ordered, indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
