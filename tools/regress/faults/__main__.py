"""How good is the accuracy gate? Measured on planted faults that it should catch, and on honest runs.

    python -m tools.regress.faults                     all faults that are not measured yet
    python -m tools.regress.faults NAME ...            these faults, measured again
    python -m tools.regress.faults honest              more honest runs, and the false-alarm rate

KEY=VALUE:
    data=real|embedded     which baselines; default: real
    jobs=N                 faults or cases in parallel; default: the number of cores
    out=FOLDER             keep runs and logs there; the copies of the code are always deleted
    seeds=N                for a fault that passes: number of seeds to compare;
                           with honest: number of fresh seeds of each case

Results are written to docs/results/gate.json and honest.json after every fault and every run. Repeat an
interrupted command to resume it. `make results` generates the tables.

exit status: 0 measured, 2 wrong command, no baseline, or a fault that does not fit the code,
3 data missing, 130 interrupted
"""

import contextlib
import functools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.distributed import available_cores
from shared.errors import ConfigError
from shared.output_file import write_json
from tools import cli
from tools.regress import baselines, cases
from tools.regress.__main__ import make_out_folder
from tools.regress.faults.honest import HonestRuns
from tools.regress.faults.measure import SEEDS, Row, conditions, measure
from tools.regress.faults.planted import Fault, load_faults
from tools.regress.suite import run_parallel
from tools.results.__main__ import RESULTS
from tools.results.gate import catch_rate, false_alarm_rate, read_record

KEYS = ("data", "jobs", "out", "seeds")
HONEST_SEEDS = 30


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = cli.parser("regress.faults", __doc__)
    parser.add_argument("words", nargs="*", metavar="NAME or KEY=VALUE")
    arguments = parser.parse_args(words)
    return cli.run(lambda: run(arguments.words), treat_kills_as_ctrl_c=words is None)


def run(words: Sequence[str]) -> int:
    """Run the command that the words select; return the exit status."""
    keys = {"data": "real"} | cli.parse_keys((word for word in words if "=" in word), KEYS)
    cli.check_choice("data", keys["data"], ("real", "embedded"))
    if baselines.git_state(RESULTS)["dirty"]:
        raise ConfigError("copies are made of committed code: commit your changes first")
    names = [word for word in words if "=" not in word]
    out = (
        contextlib.nullcontext(make_out_folder(keys))
        if "out" in keys
        else tempfile.TemporaryDirectory(prefix="faults_")
    )
    with out as folder:
        if names == ["honest"]:
            return measure_honest(keys, Path(folder))
        return measure_faults(names, keys, Path(folder))


@functools.cache
def load_variant(name: str, data: str) -> cases.Variant:
    """Return a case on the given data."""
    (variant,) = cases.load_variants(name, (data,))
    return variant


def measure_faults(names: Sequence[str], keys: Mapping[str, str], out: Path) -> int:
    """Measure the named faults, or all that have no valid row; save each row at once."""
    data, jobs = keys["data"], cli.parse_count(keys, "jobs", available_cores())
    seeds = cli.parse_count(keys, "seeds", SEEDS, least=SEEDS)
    file = RESULTS / "gate.json"
    known = {fault.name for fault in load_faults()}
    rows = {row["fault"]: row for row in read_record(file).get("faults", []) if row["fault"] in known}
    selected = load_faults(names)
    variants = {fault.name: [load_variant(case, data) for case in sorted(fault.cases)] for fault in selected}

    def is_measured(fault: Fault) -> bool:
        needed = conditions(fault, data, variants[fault.name])
        return needed.items() <= rows.get(fault.name, {}).items()

    def measure_one(fault: Fault) -> Row:
        return measure(fault, data, variants[fault.name], out, seeds)

    pending = [fault for fault in selected if names or not is_measured(fault)]
    print(f"{len(pending)} faults to measure, {len(selected) - len(pending)} measured before", flush=True)
    for count, row in enumerate(run_parallel(jobs, measure_one, pending), start=1):
        rows[row["fault"]] = row
        write_json(file, {"faults": [rows[name] for name in sorted(rows)]})
        print(f"[{count:2}/{len(pending)}] {describe_row(row)}", flush=True)
    print(catch_rate(list(rows.values())))
    return 0


def measure_honest(keys: Mapping[str, str], out: Path) -> int:
    """Train more honest results of every case, then print the false-alarm rates."""
    data, jobs = keys["data"], cli.parse_count(keys, "jobs", available_cores())
    seeds = cli.parse_count(keys, "seeds", HONEST_SEEDS, least=cases.MIN_BASELINE_SEEDS)
    file = RESULTS / "honest.json"
    variants = [load_variant(name, data) for name in cases.case_names()]
    honest = HonestRuns(file, data, read_record(file))
    honest.start(variants)
    print(f"{len(variants)} cases, {seeds} fresh seeds each", flush=True)
    for title, count in run_parallel(jobs, lambda variant: honest.train(variant, seeds, out), variants):
        print(f"{title}: {count} results besides the baseline", flush=True)
    print("deciding on resampled results ...", flush=True)
    print(false_alarm_rate(honest.measure_rates()))
    return 0


def describe_row(row: Row) -> str:
    """Return the line that the screen shows of a fault: each case, its verdict, and the accuracy."""
    parts = []
    for case in row["cases"]:
        part = f"{case['case']}: {case['verdict']} after {case['seeds']} seeds"
        if accuracy := case["metrics"].get("accuracy"):
            part += f", {accuracy['baseline_mean']:.2%} -> {accuracy['new_mean']:.2%}"
        parts.append(part)
    return f"{row['fault']:30} {row['outcome']:8} {'; '.join(parts)} ({row['seconds']:.0f} s)"


if __name__ == "__main__":
    sys.exit(main())
