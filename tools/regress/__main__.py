"""The accuracy gate: has anything become less accurate? See docs/regression-gate.md.

    python -m tools.regress                                  every case of conf/regression
    python -m tools.regress case=mnist_cnn_torch             one case; several with commas
    python -m tools.regress --bless case=mnist_cnn_torch     record a new baseline

KEY=VALUE:
    case=NAME[,NAME]           which cases; default: all; short: at least one for each application
    data=auto|real|embedded    auto: the embedded sample if the real data is missing
    out=FOLDER                 for regress.json, regress.xml (JUnit), regress.md and the runs;
                               default: outputs/regress/DATE_TIME
    jobs=N                     cases in parallel; default: the number of cores
    seeds=N                    with --bless: how many, 20 or more

exit status: 0 passed, 2 wrong command or configuration, or no baseline, 3 data missing,
5 regression, 130 interrupted
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from accuracy_gate import Verdict
from accuracy_gate.report import as_json, junit, markdown, table
from shared.errors import ConfigError, DataError, SuiteError
from shared.files import write_atomically
from shared.output_file import write_json
from tools import cli

if TYPE_CHECKING:  # imports Hydra, which a wrong command does not need
    from tools.regress.suite import Suite

KEYS = {  # by command; any other key would have no effect
    "regress": ("case", "data", "out", "jobs"),
    "--bless": ("case", "data", "out", "jobs", "seeds"),
}
SOURCES = {"auto": ("real", "embedded"), "real": ("real",), "embedded": ("embedded",)}
STATUS = {"passed": 0, "identical": 0, "refused": ConfigError.status, "no data": DataError.status}


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = cli.parser("regress", __doc__)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--bless", action="store_true", help="record new baselines")
    arguments = parser.parse_intermixed_args(words)
    return cli.run(lambda: run(arguments), treat_kills_as_ctrl_c=words is None)


def run(arguments: argparse.Namespace) -> int:
    """Run the command that the arguments select; return the exit status."""
    command = "--bless" if arguments.bless else "regress"
    keys = cli.parse_keys(arguments.words, {key for fitting in KEYS.values() for key in fitting})
    for key in sorted(keys.keys() - KEYS[command]):
        raise ConfigError(f"{key}= does not go with {command}, which takes {', '.join(KEYS[command])}")
    return bless(keys) if arguments.bless else regress(keys)


def regress(keys: Mapping[str, str]) -> int:
    """Run the cases, decide, and report; return the exit status."""
    suite = load_suite(keys)
    names = list(suite.variants)
    print(f"{f'{len(names)} cases' if len(names) > 1 else names[0]}; results in {suite.out}", flush=True)
    verdicts = []
    for verdict in suite.run(suite.verdict):
        verdicts.append(verdict)
        seeds = len(verdict.new.runs) if verdict.new else 0
        print(f"{verdict.case}: {verdict.outcome} after {seeds} seeds", flush=True)
    return report(sorted(verdicts, key=lambda verdict: verdict.case), suite.out)


def bless(keys: Mapping[str, str]) -> int:
    """Record new baselines and print old against new; return the exit status."""
    from tools.regress import baselines, cases

    if "case" not in keys:
        raise ConfigError("--bless needs to know which baselines to record: give case=NAME or case=all")
    seeds = cli.parse_count(keys, "seeds", cases.MIN_BASELINE_SEEDS, least=cases.MIN_BASELINE_SEEDS)
    suite = load_suite(keys)
    git = baselines.git_state(cases.BASELINES)
    if git["dirty"]:
        raise ConfigError("a baseline names its commit: commit your changes, then run this again")

    def record(name: str) -> int:
        try:
            variant, new = suite.measure(name, seeds)
            old = baselines.read_baseline(variant)
            baselines.write_baseline(variant, new, git)
            print("\n".join(baselines.describe_change(old, new)), flush=True)
        except SuiteError as error:  # the other cases go on
            print(f"error: {error}", file=sys.stderr)
            return error.status
        return 0

    return max(suite.run(record), default=0)


def load_suite(keys: Mapping[str, str]) -> "Suite":
    """Return the selected cases, with all configurations validated."""
    from shared.distributed import available_cores
    from tools.regress import cases
    from tools.regress.suite import Suite

    data, jobs = keys.get("data", "auto"), cli.parse_count(keys, "jobs", available_cores())
    cli.check_choice("data", data, SOURCES)
    names = cases.select_cases(keys.get("case"))
    variants = {name: cases.load_variants(name, SOURCES[data]) for name in names}
    return Suite(variants, make_out_folder(keys), jobs)


def report(verdicts: Sequence[Verdict], out: Path) -> int:
    """Print the table and write the files; return the exit status of the most severe outcome."""
    write_json(out / "regress.json", as_json(verdicts))
    write_atomically(out / "regress.xml", junit(verdicts))
    write_atomically(out / "regress.md", markdown(verdicts).encode())
    print(table(verdicts))
    return max((STATUS.get(verdict.outcome, cli.FAILED_CHECK) for verdict in verdicts), default=0)


def make_out_folder(keys: Mapping[str, str]) -> Path:
    """Create the folder of the results and return it."""
    return cli.create_folder(Path(keys.get("out", f"outputs/regress/{datetime.now():%Y-%m-%d_%H-%M-%S}")))


if __name__ == "__main__":
    sys.exit(main())
