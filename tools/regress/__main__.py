"""The accuracy gate: has anything become less accurate? See docs/regression-gate.md.

    python -m tools.regress                                  every case of conf/regression
    python -m tools.regress case=mnist_cnn_torch             one; several with commas
    python -m tools.regress --bless case=mnist_cnn_torch     record a new baseline
    python -m tools.regress --baseline FILE --results FILE   decide on results from anywhere

KEY=VALUE:
    case=NAME[,NAME]           which cases; all where it is not given; short: at least one an app
    data=auto|real|embedded    auto: the embedded sample where the real data is missing
    out=FOLDER                 for regress.json, regress.xml (JUnit), regress.md and the runs;
                               outputs/regress/DATE_TIME where it is not given
    jobs=N                     cases at a time; as many as there are cores where it is not given
    seeds=N                    with --bless: how many, 20 at least
    suite=N                    with --results: how many cases your whole suite has

exit status: 0 passed, 2 wrong command or configuration, or no baseline, 3 data missing,
5 regression, 130 interrupted
"""

import argparse
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from accuracy_gate import FALSE_ALARMS, Plan, Record, Verdict, decide, parse_records, share_seeds
from accuracy_gate.plan import FEWEST
from accuracy_gate.report import as_json, junit, markdown, table
from shared.errors import INTERRUPTED_STATUS, ConfigError, DataError, SuiteError
from shared.files import write_atomically
from tools.cli import parse_keys
from tools.regress.output import write_json

if TYPE_CHECKING:  # importing it takes Hydra, which a decision on two files can do without
    from tools.regress.suite import Suite

REGRESSION = 5  # exit status
KEYS = {  # what a command takes; another key would be ignored
    "regress": ("case", "data", "out", "jobs"),
    "--bless": ("case", "data", "out", "jobs", "seeds"),
    "--baseline and --results": ("out", "suite"),
}
SOURCES = {"auto": ("real", "embedded"), "real": ("real",), "embedded": ("embedded",)}


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.regress",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--bless", action="store_true", help="record new baselines")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="JSON of the results before")
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON of the results now")
    for name in ("--cases-folder", "--baselines-folder"):  # for tests
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args(words)
    try:
        given = arguments.baseline or arguments.results
        if given and arguments.bless:
            raise ConfigError("--bless does not go with --baseline and --results: it trains")
        command = "--bless" if arguments.bless else "regress"
        keys = parsed(arguments.overrides, "--baseline and --results" if given else command)
        if given:
            return decide_files(arguments.baseline, arguments.results, keys)
        return bless(arguments, keys) if arguments.bless else regress(arguments, keys)
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return ConfigError.status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_STATUS


def regress(arguments: argparse.Namespace, keys: Mapping[str, str]) -> int:
    """Run the cases, decide, and tell; return the exit status."""
    suite = suite_of(arguments, keys)
    cases = f"{len(suite.names)} cases" if len(suite.names) > 1 else suite.names[0]
    print(f"{cases}; results in {suite.out}", flush=True)
    verdicts = []
    for verdict in suite.each(suite.verdict):
        verdicts.append(verdict)
        seeds = len(verdict.new.runs) if verdict.new else 0
        print(f"{verdict.case}: {verdict.outcome} after {seeds} seeds", flush=True)
    return told(sorted(verdicts, key=lambda verdict: verdict.case), suite.out)


def bless(arguments: argparse.Namespace, keys: Mapping[str, str]) -> int:
    """Record new baselines and print old against new; return the exit status."""
    from tools.regress import baselines

    if "case" not in keys:
        raise ConfigError("--bless records only what is asked for: give case=NAME, or case=all")
    seeds = number(keys, "seeds", FEWEST, least=FEWEST)
    suite = suite_of(arguments, keys)
    git = baselines.committed(suite.baselines)
    if git["dirty"]:
        raise ConfigError("a baseline names its commit: commit your changes, then run it again")
    statuses = [0]

    def record(name: str) -> None:
        try:
            source, new = suite.trained(name, seeds)
            old = baselines.read(name, source, suite.baselines)
            baselines.write(new, baselines.path_of(name, source, suite.baselines), git)
            print("\n".join(baselines.comparison(old, new)), flush=True)
        except SuiteError as error:  # the other cases go on
            print(f"error: {error}", file=sys.stderr)
            statuses.append(error.status)

    list(suite.each(record))
    return max(statuses)


def suite_of(arguments: argparse.Namespace, keys: Mapping[str, str]) -> "Suite":
    """Return the suite that the command line asks for, with all of its configurations checked."""
    from shared.runs.environment import available_cores
    from tools.regress import baselines, cases
    from tools.regress.suite import Suite

    data = keys.get("data", "auto")
    if data not in SOURCES:
        raise ConfigError(f"data should be auto, real or embedded (given data={data})")
    folder = arguments.cases_folder or cases.FOLDER
    suite = Suite(
        names=cases.chosen(keys.get("case"), folder),
        sources=SOURCES[data],
        out=Path(),
        jobs=number(keys, "jobs", available_cores()),
        cases=folder,
        baselines=arguments.baselines_folder or baselines.FOLDER,
    )
    suite.check()
    suite.out = out_folder(keys)
    return suite


def decide_files(baseline: Path | None, results: Path | None, keys: Mapping[str, str]) -> int:
    """Decide on results from anywhere; return the exit status."""
    if baseline is None or results is None:
        raise ConfigError("--baseline FILE and --results FILE belong together")
    old = parse_records(baseline.read_bytes(), str(baseline))
    for record in old:
        record.check_baseline(FEWEST, str(baseline))
    new = {record.case: record for record in parse_records(results.read_bytes(), str(results))}
    if len(old) == len(new) == 1:  # then their names do not matter
        new = {old[0].case: next(iter(new.values()))}
    unknown = sorted(new.keys() - {record.case for record in old})
    if unknown:
        raise ConfigError(f"{baseline} has no case {', '.join(unknown)}")
    size = number(keys, "suite", len(old), least=len(old))
    verdicts = [decide_once(record, new.get(record.case), size) for record in old]
    return told(verdicts, out_folder(keys))


def decide_once(baseline: Record, new: Record | None, cases: int) -> Verdict:
    """Return the verdict on a case of which all results are there: one look, with its whole share.

    Raises:
        ConfigError: there are too few results to fail whatever they are.
    """
    if new is None:
        return Verdict(baseline.case, "failed", "no results", (), baseline)
    new = Record(baseline.case, new.runs, new.facts, new.notes)
    plan = Plan(len(baseline.runs), cases, (len(new.runs),), paired=share_seeds(baseline, new))
    if not plan.can_fail and not any(run.fault for run in new.runs):
        least = next(n for n in range(1, 99) if Plan(plan.baseline, cases, (n,)).can_fail)
        raise ConfigError(
            f"{baseline.case}: {len(new.runs)} results are too few to tell a drop from noise; "
            f"give at least {least}"
        )
    verdict = decide(baseline, new, plan)
    assert verdict, "the last look always decides"
    return verdict


def told(verdicts: Sequence[Verdict], out: Path) -> int:
    """Print the table, write regress.json, regress.xml and regress.md; return the exit status."""
    write_json(out / "regress.json", as_json(verdicts, false_alarms=FALSE_ALARMS))
    write_atomically(out / "regress.xml", junit(verdicts))
    write_atomically(out / "regress.md", markdown(verdicts).encode())
    print(table(verdicts))
    return status(verdict.outcome for verdict in verdicts)


def status(outcomes: Iterable[str]) -> int:
    """Return the exit status that goes with the outcomes of all cases: the gravest one's."""
    meanings = {"refused": ConfigError.status, "no data": DataError.status}
    good = {"passed": 0, "identical": 0}
    return max(((meanings | good).get(outcome, REGRESSION) for outcome in outcomes), default=0)


def parsed(overrides: Sequence[str], command: str) -> dict[str, str]:
    """Return the KEY=VALUEs as a dict.

    Args:
        overrides: the words of the command line.
        command: a key of KEYS.

    Raises:
        ConfigError: one is unknown, means nothing to this command, or is there twice.
    """
    known = {key for fitting in KEYS.values() for key in fitting}
    keys = parse_keys(overrides, known)
    for key in keys:
        if key not in KEYS[command]:
            fitting = ", ".join(KEYS[command])
            raise ConfigError(f"{key}= does not go with {command}, which takes {fitting}")
    return keys


def number(keys: Mapping[str, str], key: str, default: int, least: int = 1) -> int:
    """Return a whole number of the command line."""
    text = keys.get(key, str(default))
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        wanted = f"a whole number, {least} or more" if len(text) < 10 else "below a billion"
        raise ConfigError(f"{key} should be {wanted} (given {key}={text:.40})")
    return int(text)


def out_folder(keys: Mapping[str, str]) -> Path:
    """Return the folder of the results, made."""
    folder = Path(keys.get("out", f"outputs/regress/{datetime.now():%Y-%m-%d_%H-%M-%S}"))
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; choose another folder with out=FOLDER")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    # A scheduler's polite kill ends it the way Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
