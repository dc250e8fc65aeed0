"""The command accuracy-gate: has a change made results worse? See README.md.

exit status: 0 passed, 2 wrong command or file, or not comparable, 5 worse, failed or suspicious,
6 inconclusive, 130 interrupted
"""

import argparse
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from accuracy_gate import ledger
from accuracy_gate.commands import Command
from accuracy_gate.decision import Verdict, decide, default_plan, look, refusal, too_few_seeds
from accuracy_gate.decision import compare as compare_column
from accuracy_gate.detection import POWER, power
from accuracy_gate.plan import LOOKS, Plan, divide
from accuracy_gate.plot import Panel, svg
from accuracy_gate.report import annotations, as_json, junit, markdown, table
from accuracy_gate.results import Baseline, InvalidResults, Metric, Results, Run, check_baseline_seeds, parse
from accuracy_gate.results import read_metric as metric_from_json

BASELINE = "accuracy-baseline.json"
STATUS = {"passed": 0, "identical": 0, "refused": 2, "inconclusive": 6}


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    words = list(sys.argv[1:] if words is None else words)
    own, command = words, None
    if "--" in words:
        own, command = words[: words.index("--")], words[words.index("--") + 1 :]
    arguments = make_parser().parse_args(own)
    if command is not None and arguments.action is not record:
        print("error: only record takes a command after --; check repeats the baseline's", file=sys.stderr)
        return 2
    arguments.command = command
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(arguments.action(arguments))
    except InvalidResults as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or error}: {error.strerror}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted: no verdict, and no baseline was written", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 2


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser("accuracy-gate", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, action: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        found.set_defaults(action=action)
        return found

    one = add("record", record, "run a command once per seed and write a baseline: record [...] -- COMMAND")
    one.add_argument("--seeds", type=parse_count, default=20, metavar="N", help="default: 20")
    one.add_argument("--case", default="results", metavar="NAME", help="name in reports")
    text = "NAME=max or NAME=min, then any of ,margin=X ,range=LOW:HIGH ,examples=N (default: accuracy=max)"
    one.add_argument("--metric", action="append", type=parse_metric, metavar="SPEC", help=text)
    one.add_argument("--json", metavar="FILE", help="the command writes its metrics there ({seed}: the seed)")
    text = "the group in parentheses is the score; the last match counts"
    one.add_argument("--regex", action="append", type=_pair, default=[], metavar="NAME=PATTERN", help=text)
    one.add_argument("--timeout", type=float, metavar="SECONDS", help="a run that takes longer has failed")
    two = add("check", check, "run the baseline's command with as many seeds as a verdict takes")
    two.add_argument(
        "--results", type=Path, metavar="FILE", help="keep raw results; runs that it has are not repeated"
    )
    text = "append the verdict and raw results, for drift"
    two.add_argument("--ledger", type=Path, metavar="FILE", help=text)
    for each in (one, two):
        each.add_argument("--baseline", type=Path, default=Path(BASELINE), metavar="FILE", help=BASELINE)
        text = "what results depend on, such as data=v2; check refuses another value"
        each.add_argument("--fact", action="append", type=_pair, default=[], metavar="KEY=VALUE", help=text)
    three = add("compare", compare, "decide on two files of complete results")
    three.add_argument("old", type=Path, metavar="BASELINE")
    three.add_argument("new", type=Path, metavar="RESULTS")
    for each in (two, three):
        text = "number of cases in your suite, which share the rate of false alarms (default: 1)"
        each.add_argument("--cases", type=parse_count, default=1, metavar="N", help=text)
        each.add_argument("--out", type=Path, metavar="FILE", help="write verdicts as JSON")
        each.add_argument("--junit", type=Path, metavar="FILE", help="write verdicts as JUnit XML")
        text = "print annotations and append to the job summary (GITHUB_STEP_SUMMARY)"
        each.add_argument("--github", action="store_true", help=text)
    four = add("explain", explain, "show which drops would be detected, with how many seeds")
    four.add_argument("old", type=Path, nargs="?", default=Path(BASELINE), metavar="BASELINE")
    four.add_argument(
        "--cases", type=parse_count, default=1, metavar="N", help="number of cases in your suite"
    )
    four.add_argument("--svg", type=Path, metavar="FILE", help="draw the power of every metric by drop")
    for each in (two, four):
        text = "at most; default: the baseline's, up to 20"
        each.add_argument("--seeds", type=parse_count, metavar="N", help=text)
        text = (
            "take seeds that the baseline does not have; with its seeds, 16 or more are compared one by one"
        )
        each.add_argument("--unpaired", action="store_true", help=text)
    five = add("drift", drift, "find a slow decline over many checks that have passed")
    five.add_argument("ledger", type=Path, metavar="LEDGER")
    five.add_argument("--svg", type=Path, metavar="FILE", help="draw it")
    six = add("plot", plot, "draw the scores of a baseline, and of results beside it, as SVG")
    six.add_argument("old", type=Path, metavar="BASELINE")
    six.add_argument("new", type=Path, nargs="?", metavar="RESULTS")
    six.add_argument("--svg", type=Path, default=Path("accuracy.svg"), metavar="FILE", help="accuracy.svg")
    return parser


def record(arguments: argparse.Namespace) -> int:
    """Write a baseline, or nothing if a run fails."""
    metrics = dict(arguments.metric or [("accuracy", Metric("max"))])
    if not arguments.command:
        raise InvalidResults(
            "give the command after --: accuracy-gate record -- python train.py --seed {seed}"
        )
    patterns = dict(arguments.regex)
    for name in patterns.keys() - metrics.keys():
        raise InvalidResults(f"--regex {name}: there is no such metric; add --metric {name}=max or min")
    command = Command(arguments.command, arguments.json, patterns, arguments.timeout)
    notes = {"run": command.as_json(), "recorded": f"{datetime.now(timezone.utc):%Y-%m-%d}"}
    facts = dict(arguments.fact)
    check_baseline_seeds(arguments.case, arguments.seeds)
    results = Results(arguments.case, metrics, (), facts, notes)
    for seed in range(arguments.seeds):
        results = _train(command, results, seed)
        if problem := results.problem(results.runs[-1]):
            raise InvalidResults(f"{problem}; nothing was recorded")
    baseline = Baseline(results.case, metrics, results.runs, facts, notes)
    write(arguments.baseline, json.dumps(baseline.as_json(), indent=1) + "\n")
    print(f"{arguments.baseline}: {len(results.runs)} seeds; commit it, and run accuracy-gate check")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Run seeds until the verdict is clear."""
    baseline = read_baseline(arguments.baseline)
    command = Command.from_json(baseline.notes.get("run"))
    plan, seeds = check_plan(baseline, arguments.seeds, arguments.cases, arguments.unpaired)
    facts = {**baseline.facts, **dict(arguments.fact)}
    new = Results(baseline.case, baseline.metrics, (), facts)
    known: dict[int, Run] = {}
    if arguments.results and arguments.results.exists():
        kept, *_ = read(arguments.results)
        if refused := refusal(kept, new):
            raise InvalidResults(f"{arguments.results}: {refused.reason}")
        known = {run.seed: run for run in kept.runs}
    while not (verdict := look(baseline, new, plan)):  # the last look always decides
        seed = seeds[len(new.runs)]
        new = _train(command, new, seed, known.get(seed))
        if arguments.results:
            write(arguments.results, json.dumps(new.as_json(), indent=1) + "\n")
    if arguments.ledger:
        ledger.append(arguments.ledger, verdict)
    return report([verdict], arguments)


def check_plan(
    baseline: Results, count: int | None, cases: int, unpaired: bool = False
) -> tuple[Plan, list[int]]:
    """Return when to look, and the seeds to run: at most `count`, by default 20 or the baseline's.

    Raises:
        InvalidResults: so few seeds cannot prove any drop.
    """
    known = [run.seed for run in baseline.runs]
    count = count or min(LOOKS[-1], len(known))
    fresh = range(max(known) + 1, max(known) + 1 + count)
    seeds = (list(fresh) if unpaired else [*known, *fresh])[:count]
    looks = (*(n for n in LOOKS if n < count), count)
    plan = Plan(len(known), cases, looks, paired=set(seeds) <= set(known))
    share = min(worse for worse, _ in divide(baseline.metrics, baseline.columns).values())
    if not plan.can_fail(share):
        raise InvalidResults(too_few_seeds(plan, share))
    return plan, seeds


def compare(arguments: argparse.Namespace) -> int:
    """Decide on two files of results."""
    old = [_as_baseline(each, arguments.old) for each in read(arguments.old)]
    new = {each.case: each for each in read(arguments.new)}
    if len(old) == len(new) == 1:  # then their names do not matter
        new = {old[0].case: replace(next(iter(new.values())), case=old[0].case)}
    for case in new.keys() - {each.case for each in old}:
        raise InvalidResults(f"{arguments.old} has no case {case}")
    cases = max(arguments.cases, len(old))
    return report([_verdict(each, new.get(each.case), cases) for each in old], arguments)


def _verdict(baseline: Results, new: Results | None, cases: int) -> Verdict:
    if new is None:
        return Verdict(baseline.case, "failed", "no results", (), baseline)
    return decide(baseline, new, default_plan(baseline, new, cases))


def explain(arguments: argparse.Namespace) -> int:
    """Print the drops that `check` detects by number of seeds, and its power by drop."""
    baseline = read_baseline(arguments.old)
    plan, _ = check_plan(baseline, arguments.seeds, arguments.cases, arguments.unpaired)
    plans = [replace(plan, looks=plan.looks[:n]) for n in range(1, len(plan.looks) + 1)]
    unchanged = replace(baseline, runs=tuple(islice(cycle(baseline.runs), plan.looks[-1])))
    shares = {key: worse for key, (worse, _) in divide(baseline.metrics, baseline.columns).items()}
    comparisons = [compare_column(key, baseline, unchanged, plan, share) for key, share in shares.items()]
    seeds = "its own seeds" if plan.paired else "seeds that it does not have"
    print(f"{baseline.case}: baseline of {len(baseline.runs)} seeds, checked with {seeds}")
    print("smallest change for the worse that is found with 95 % power:")
    lines = [["at most", *(f"{each.looks[-1]} seeds" for each in plans)]]
    for comparison in comparisons:
        drops = [replace(comparison, plan=each).detectable for each in plans]
        lines.append([comparison.metric, *("nothing" if drop is None else f"{drop:.3g}" for drop in drops)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print("\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines))
    hardest = min(comparisons, key=lambda comparison: comparison.share)
    print(f"\n{hardest.metric}: power by drop, with at most {plan.looks[-1]} seeds")
    curves = {
        each.metric: [
            (drop, power(baseline, each.metric, drop, plan))
            for drop in ((each.detectable or 0.0) * step / 8 for step in range(11))
        ]
        for each in (comparisons if arguments.svg else [hardest])
    }
    for drop, found in curves[hardest.metric][1:]:
        print(f"{drop:<8.3g} {found:7.1%}  {'#' * round(50 * found)}")
    if arguments.svg:
        panels = []
        for metric, curve in curves.items():
            title = f"{metric}: chance that check fails, with at most {plan.looks[-1]} seeds (dashed: 95 %)"
            ends = ("no change", f"worse by {curve[-1][0]:.3g}")
            panels.append(Panel(title, [[found for _, found in curve]], [""], POWER, ends=ends))
        write(arguments.svg, svg(panels))
    return 0


def drift(arguments: argparse.Namespace) -> int:
    """Print for each metric whether it has declined; return 5 if one has."""
    series = ledger.follow(ledger.read(arguments.ledger))
    limit, declined = len(series) / ledger.RATE, False
    for name, one in series.items():
        first = next((n for n, capital in enumerate(one.capital) if capital >= limit), None)
        found = "no decline"
        if first is not None:
            declined, found = True, f"DECLINE, found at check {first + 1} ({one.commits[first][:10]})"
        evidence = f"last change to the baseline {one.means[-1]:+.3g}, evidence {one.capital[-1]:.3g}"
        print(f"{name}: {found}; {len(one.means)} checks, {evidence} of {limit:g}")
    if arguments.svg:
        panels = []
        for name, one in series.items():
            panels.append(Panel(f"{name}: change to the baseline", [one.means], ["mean of each check"], 0.0))
            title, names = f"{name}: evidence (dashed: limit)", ["highest so far"]
            panels.append(Panel(title, [one.capital], names, limit, logarithmic=True))
        write(arguments.svg, svg(panels))
    return 5 if declined else 0


def plot(arguments: argparse.Namespace) -> int:
    """Draw a panel for each metric."""
    sides: list[Results] = [read_baseline(arguments.old)]
    if arguments.new:
        sides += read(arguments.new)[:1]
    panels = []
    for column in sides[0].columns:
        series = [
            [run.scores[column] for run in side.runs if side.problem(run) is None and column in run.scores]
            for side in sides
        ]
        mean = sum(series[0]) / len(series[0])
        panels.append(Panel(f"{sides[0].case}: {column}", series, ("baseline", "new"), mean, connected=False))
    write(arguments.svg, svg(panels))
    return 0


def report(verdicts: Sequence[Verdict], arguments: argparse.Namespace) -> int:
    """Print the table and write the files; return the exit status of the most severe outcome."""
    if arguments.out:
        write(arguments.out, json.dumps(as_json(verdicts), indent=1) + "\n")
    if arguments.junit:
        write(arguments.junit, junit(verdicts).decode())
    print(table(verdicts))
    if arguments.github:
        print("".join(f"{line}\n" for line in annotations(verdicts)), end="")
        with open(os.environ.get("GITHUB_STEP_SUMMARY", os.devnull), "a", encoding="utf-8") as summary:
            summary.write(markdown(verdicts))
    severity = (0, 6, 2, 5)
    return max((STATUS.get(verdict.outcome, 5) for verdict in verdicts), key=severity.index)


def read(path: Path) -> list[Results]:
    """Return the cases of a file."""
    return parse(path.read_bytes(), str(path))


def read_baseline(path: Path) -> Baseline:
    """Return the one case of a file.

    Raises:
        InvalidResults: there is no such file, or it holds no baseline.
    """
    if not path.exists():
        raise InvalidResults(f"{path} does not exist: record a baseline with accuracy-gate record")
    first, *others = read(path)
    if others:
        raise InvalidResults(f"{path} holds {1 + len(others)} cases; only compare takes several")
    return _as_baseline(first, path)


def write(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    path = path.resolve()
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        try:
            file.write(text)
            file.close()
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def parse_metric(text: str) -> tuple[str, Metric]:
    """Return name and metric from NAME=max,margin=0.01,range=0:1,examples=1000."""
    first, *options = text.split(",")
    name, _, goal = first.rpartition("=")
    values: dict[str, Any] = dict(option.split("=", 1) for option in options if "=" in option)
    entry: dict[str, Any] = {"goal": goal}
    try:
        for key, value in values.items():
            if key == "range":
                entry[key] = [float(bound) if bound else None for bound in value.split(":")]
            else:
                entry[key] = int(value) if key == "examples" else float(value)
        if not name or len(values) < len(options):
            raise InvalidResults("give NAME=max or NAME=min, then ,margin=X ,range=LOW:HIGH ,examples=N")
        return name, metric_from_json(entry, name)
    except (ValueError, InvalidResults) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_count(text: str) -> int:
    """Return the value of an option that counts something."""
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


def _train(command: Command, results: Results, seed: int, known: Run | None = None) -> Results:
    """Return the results with those of one more seed: of the run that is known, or of a new one."""
    run = known or command.run(seed, results.metrics)
    scores = ", ".join(f"{name} {score}" for name, score in run.scores.items())
    print(f"seed {seed}: {scores or run.error}", file=sys.stderr, flush=True)
    return replace(results, runs=(*results.runs, run))


def _as_baseline(results: Results, path: Path) -> Baseline:
    try:
        return Baseline(results.case, results.metrics, results.runs, results.facts, results.notes)
    except InvalidResults as error:
        raise InvalidResults(f"{path}: {error}") from error


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} should be NAME=VALUE")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
