"""How good is the accuracy gate? Planted faults that it should see, and honest runs.

    python -m tools.regress.faults                     all faults that are not measured yet
    python -m tools.regress.faults NAME ...            these, measured again
    python -m tools.regress.faults honest              more honest runs, and the rate of false alarms

KEY=VALUE:
    data=real|embedded     which baselines
    jobs=N                 faults or cases at a time; as many as there are cores unless given
    out=FOLDER             keep runs and logs there; the copies of the code are always deleted
    seeds=N                of a fault that passes: trained to see whether accuracy changed at all;
                           with honest: fresh seeds of each case

Results are in docs/results/gate.json and honest.json, written after every fault and every run: an
interrupted measurement goes on where it stopped. `make results` makes the tables of them.

exit status: 0 measured, 2 wrong command, no baseline, or a fault that does not fit the code, 3 data
missing, 130 interrupted
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from accuracy_gate.plan import FEWEST
from shared.errors import INTERRUPTED_STATUS, ConfigError, SuiteError
from shared.runs.environment import available_cores
from tools.cli import parse_keys
from tools.regress import baselines, cases
from tools.regress.__main__ import number, out_folder
from tools.regress.faults import honest, planted
from tools.regress.faults.measure import SEEDS, Places, belongs_to, measure
from tools.regress.faults.planted import Fault, load_faults
from tools.regress.output import write_json
from tools.regress.process import Worker, side_by_side
from tools.results.__main__ import RESULTS
from tools.results.gate import caught

KEYS = ("data", "jobs", "out", "seeds")
SOURCES = ("real", "embedded")
HONEST_SEEDS = 30


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.regress.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="NAME or KEY=VALUE")
    folders = {
        "cases": cases.FOLDER,
        "baselines": baselines.FOLDER,
        "faults": planted.FOLDER,
        "records": RESULTS,
    }
    for name, folder in folders.items():  # for tests
        parser.add_argument(f"--{name}-folder", type=Path, default=folder, help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args(words)
    try:
        keys = parsed(word for word in arguments.words if "=" in word)
        names = [word for word in arguments.words if "=" not in word]
        if baselines.committed(arguments.records_folder)["dirty"]:
            raise ConfigError("copies are made of committed code: commit your changes first")
        arguments.records_folder.mkdir(parents=True, exist_ok=True)
        with folder_of(keys) as folder:
            places = Places(
                Path(folder), arguments.cases_folder.resolve(), arguments.baselines_folder.resolve()
            )
            if names == ["honest"]:
                return measure_honest(places, arguments.records_folder / "honest.json", keys)
            known = load_faults([], arguments.faults_folder)
            wanted = load_faults(names, arguments.faults_folder)
            file = arguments.records_folder / "gate.json"
            return measure_faults(wanted, known, bool(names), places, file, keys)
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED_STATUS


def measure_faults(
    wanted: Sequence[Fault],
    known: Sequence[Fault],
    again: bool,
    places: Places,
    file: Path,
    keys: Mapping[str, str],
) -> int:
    """Measure the faults, print a line for each, and keep each row as soon as it is there.

    Args:
        wanted: the faults to be measured.
        known: all that there are; rows of others are forgotten.
        again: whether to measure those that have a row already.
        places: where everything is.
        file: where the rows are kept.
        keys: of the command line.
    """
    data, seeds = keys["data"], number(keys, "seeds", SEEDS, least=SEEDS)
    jobs = number(keys, "jobs", available_cores())
    names = {fault.name for fault in known}
    rows = {row["fault"]: row for row in read(file).get("faults", []) if row["fault"] in names}
    open_ = []
    for fault in wanted:
        given = belongs_to(fault, data, places)
        if again or not given.items() <= rows.get(fault.name, {}).items():
            open_.append(fault)
    print(f"{len(open_)} faults to measure, {len(wanted) - len(open_)} measured before", flush=True)
    done = side_by_side(jobs, lambda fault: measure(fault, data, places, seeds), open_, stopper())
    for count, row in enumerate(done, start=1):
        rows[row["fault"]] = row
        write_json(file, {"faults": [rows[name] for name in sorted(rows)]})
        print(f"[{count:2}/{len(open_)}] {line(row)}", flush=True)
    print(caught(list(rows.values())))
    return 0


def stopper() -> Callable[[], None]:
    """Return what ends all processes that train: this program's workers, and gates in copies."""
    told: set[int] = set()  # a gate is told once: it has workers of its own to end

    def stop() -> None:
        Worker.stop_all()
        try:
            listed = subprocess.run(["ps", "-A", "-o", "ppid=", "-o", "pid="], capture_output=True, text=True)
        except FileNotFoundError:  # a small container has no ps: then a gate ends with its case
            return
        for parent, process in (map(int, row.split()) for row in listed.stdout.splitlines()):
            if parent == os.getpid() and process not in told:
                told.add(process)
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(process, signal.SIGTERM)

    return stop


def line(row: Mapping[str, Any]) -> str:
    """Return what the screen says of a fault: each case, its verdict, and the accuracy."""
    parts = []
    for case in row["cases"]:
        said = f"{case['case']}: {case['verdict']} after {case['seeds']} seeds"
        accuracy = case["metrics"].get("accuracy")
        if accuracy:
            said += f", {accuracy['baseline_mean']:.2%} -> {accuracy['new_mean']:.2%}"
        parts.append(said)
    return f"{row['fault']:30} {row['outcome']:8} {'; '.join(parts)} ({row['seconds']:.0f} s)"


def measure_honest(places: Places, file: Path, keys: Mapping[str, str]) -> int:
    """Train more honest results of every case, then say how often the gate is wrong about them."""
    data, seeds = keys["data"], number(keys, "seeds", HONEST_SEEDS, least=FEWEST)
    jobs = number(keys, "jobs", available_cores())
    record = honest.Honest(file, data, read(file))
    names = cases.names(places.cases)
    record.begin(names, places)
    print(f"{len(names)} cases, {seeds} fresh seeds each", flush=True)
    for name, count in side_by_side(jobs, lambda name: record.train(name, seeds, places), names):
        print(f"{name}: {count} results beside the baseline", flush=True)
    print("deciding on resampled results ...", flush=True)
    print(honest.told(record.measure()))
    return 0


def parsed(words: Iterator[str]) -> dict[str, str]:
    """Return the KEY=VALUEs as a dict, with `data` in it."""
    keys = {"data": "real"} | parse_keys(words, KEYS)
    if keys["data"] not in SOURCES:
        raise ConfigError(f"data should be real or embedded (given data={keys['data']})")
    return keys


def folder_of(keys: Mapping[str, str]) -> Any:
    """Return a context with the folder for runs and logs: a temporary one unless `out` names it."""
    if "out" not in keys:
        return tempfile.TemporaryDirectory(prefix="faults_")
    return contextlib.nullcontext(out_folder(keys))


def read(file: Path) -> dict[str, Any]:
    """Return what has been measured before."""
    content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return content


if __name__ == "__main__":
    # A scheduler's polite kill ends it the way Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
