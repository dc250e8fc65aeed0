"""The numbers in the READMEs, made from recorded runs and from nothing else.

    python -m tools.results                       write the tables anew
    python -m tools.results --check               status 5 when a table is out of date
    python -m tools.results --record FOLDER ...   take the runs below FOLDER into the records
    python -m tools.results --sample FOLDER       show this run as the example of its app
    python -m tools.results --comparison FOLDER   show this run of transfer.mode=compare

The records are docs/results/APP.json: the metrics of each run, as in its metrics.json. A table
stands between `<!-- results: APP -->` and `<!-- end of results -->`; what the example printed
between `<!-- sample: APP -->` and `<!-- end of sample -->`, its picture in docs/results/APP.png.
A comparison is docs/results/APP_comparison.json and .png, its table in a block `comparison: APP`;
one with a single number of pictures is APP_NUMBER_comparison, its block `comparison: APP_NUMBER`.
What `make gradcheck` found stands between `<!-- checks: gradients -->` and
`<!-- end of checks -->`; what `make bench` measured in blocks `benchmark: CASE`, all that is held
against something in `benchmark: all`, what has a goal, in short, in `benchmark: goals`; how good
the accuracy gate is in blocks `gate: NAME` (gate.py).
"""

import argparse
import csv
import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from shared.errors import ConfigError, SuiteError
from shared.files import write_atomically
from shared.runs.messages import announcement, conclusion, epoch_line
from tools.results import gate

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(
    r"(<!-- (results|sample|comparison|checks|benchmark|gate): (\w+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL
)
STALE = 5  # exit status

Run = dict[str, Any]


def identity(run: Run) -> tuple[Any, ...]:
    """Return what makes a record the same one, so that a newer run takes its place."""
    return tuple(run[key] for key in ("dataset", "model", "framework", "precision", "seed"))


def group(run: Run) -> tuple[Any, ...]:
    """Return which row of the table a run belongs to: all its seeds share one."""
    return identity(run)[:-1]


def record(folders: Iterable[Path], results: Path = RESULTS) -> list[Run]:
    """Add every run below `folders` to the records of its application; return what was added.

    Raises:
        ConfigError: there is no run, or one is not finished, or its code was not committed.
    """
    paths = sorted(path for folder in folders for path in folder.rglob("metrics.json"))
    added = [checked(path) for path in paths]
    for path, run in zip(paths, added, strict=True):
        if "comparison" in run:
            raise ConfigError(f"{path}: a comparison is no run of one network; use --comparison")
    if not added:
        raise ConfigError(f"no metrics.json below {', '.join(map(str, folders))}")
    for app in {run["app"] for run in added}:
        file = results / f"{app}.json"
        known = json.loads(file.read_text()) if file.exists() else []
        runs = {identity(run): run for run in [*known, *added] if run["app"] == app}
        results.mkdir(parents=True, exist_ok=True)
        content = json.dumps([runs[key] for key in sorted(runs)], indent=1) + "\n"
        write_atomically(file, content.encode())
    return added


def checked(path: Path) -> Run:
    """Return the metrics of a run that counts: a whole one, of committed code.

    Raises:
        ConfigError: it is not.
    """
    run: Run = json.loads(path.read_text())
    if run["status"] != "done":
        raise ConfigError(f"{path}: its status is {run['status']}; only finished runs count")
    config = OmegaConf.load(path.with_name("config.yaml"))
    for key in ("debug", "data.train_limit", "data.test_limit", "trainer.max_steps"):
        if (value := OmegaConf.select(config, key)) is not None:
            raise ConfigError(f"{path}: made with {key}={value}; only whole trainings count")
    if run["git"]["dirty"] is not False:
        raise ConfigError(f"{path}: made with uncommitted changes; commit, then run it again")
    run["dataset_source"] = re.sub(r" /\S+", "", run["dataset_source"])  # nobody else's path
    return run


def comparison(folder: Path, results: Path = RESULTS) -> None:
    """Make a run of `transfer.mode=compare` the one that its application shows.

    Raises:
        ConfigError: it is no such run, or one that does not count.
    """
    picture = folder / "comparison.png"
    if not picture.exists():
        raise ConfigError(f"{folder} is not the folder of a comparison: no comparison.png")
    run = checked(folder / "metrics.json")
    results.mkdir(parents=True, exist_ok=True)
    counts = {name.rpartition("_")[2] for name in run["comparison"]}
    only = "".join(f"_{count}" for count in counts) if len(counts) == 1 else ""
    name = f"{run['app']}{only}_comparison"
    write_atomically(results / f"{name}.json", (json.dumps(run, indent=1) + "\n").encode())
    write_atomically(results / f"{name}.png", picture.read_bytes())


def sample(folder: Path, results: Path = RESULTS) -> None:
    """Make one recorded run the example of its application: what it printed, and its curves.

    Raises:
        ConfigError: it is not a run that `record` would take.
    """
    if not (folder / "metrics.json").exists():
        raise ConfigError(f"{folder} is not the folder of one run: it has no metrics.json")
    (run,) = record([folder], results)
    with open(folder / "history.csv") as file:
        history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    lines = [announcement(run, f"outputs/{run['app']}/DATE_TIME")]
    lines += [epoch_line(row, run["epochs"]) for row in history]
    text = "\n".join([*lines, conclusion(run)]) + "\n"
    write_atomically(results / f"{run['app']}.txt", text.encode())
    write_atomically(results / f"{run['app']}.png", (folder / "curves.png").read_bytes())


def table(runs: Sequence[Run]) -> str:
    """Return the Markdown table of an application's records, and what it was measured on."""
    rows = defaultdict(list)
    for run in runs:
        rows[group(run)].append(run)
    lines = [
        "| data | model | framework | arithmetic | test accuracy | worst to best | seeds | "
        "training | threads | parameters | epochs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key in sorted(rows):
        first = rows[key][0]
        scores = sorted(100 * run["test_accuracy"] for run in rows[key])
        spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        seconds = statistics.median(run["train_seconds"] for run in rows[key])
        threads = sorted({str(run["hardware"]["threads"]) for run in rows[key]})
        lines.append(
            f"| {first['dataset']} | `{first['model']}` | {first['framework']} | "
            f"{first['precision']} | **{statistics.mean(scores):.2f} %**{spread} | "
            f"{scores[0]:.2f} to {scores[-1]:.2f} % | {len(scores)} | {seconds:.1f} s | "
            f"{' or '.join(threads)} | {first['parameters']:,} | {first['epochs']} |"
        )
    sizes = sorted({run["test_examples"] for run in runs})
    note = (
        f"Mean ± standard deviation over seeds, on the {' or '.join(f'{n:,}' for n in sizes)} "
        "examples of the test set, which each run scores once, after its last epoch. Training: "
        "median time of all steps and validations. "
    )
    return "\n".join(lines) + f"\n\n{note}{_measured_on(runs)}\n"


def _measured_on(runs: Sequence[Run]) -> str:
    """Say on what hardware, with what versions and of what commits the runs were."""
    hardware = sorted(
        {
            f"{run['hardware']['cpu']}, {run['hardware']['threads']} "
            f"thread{'s' * (run['hardware']['threads'] > 1)}, {run['hardware']['memory_gib']} GiB"
            for run in runs
        }
    )
    versions = sorted({f"{name} {v}" for run in runs for name, v in run["versions"].items()})
    commits = sorted({run["git"]["commit"][:10] for run in runs})
    return (
        f"Measured on {'; '.join(hardware)}; {', '.join(versions)}; "
        f"commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}."
    )


def gradient_table(report: dict[str, Any]) -> str:
    """Return the Markdown table of what `make gradcheck` found, and its notes."""
    references = ("torch", "Keras", "finite differences")
    notes = list(dict.fromkeys(note for layer in report["layers"] for note in layer["notes"]))
    lines = [
        "| layer, loss or optimizer | cases | to torch | to Keras | to finite differences | "
        "planted faults found |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for layer in report["layers"]:
        largest = layer["largest_difference"]
        shown = [f"{largest[r]:.0e}" if largest.get(r) is not None else "-" for r in references]
        marks = "".join(f"<sup>{notes.index(note) + 1}</sup>" for note in layer["notes"])
        lines.append(
            f"| `{layer['layer']}`{marks} | {layer['cases']} | {' | '.join(shown)} | "
            f"{layer['faults_caught']} of {layer['faults']} |"
        )
    layers = report["layers"]
    caught, planted = (sum(layer[key] for layer in layers) for key in ("faults_caught", "faults"))
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    summary = (
        f"{sum(layer['checks'] for layer in layers):,} checks of {len(layers)} layers, losses and "
        f"optimizers, {sum(len(layer['failures']) for layer in layers)} failed; {caught} of "
        f"{planted} planted faults found. Largest differences relative to the largest number of "
        f"each output and gradient, float64; {versions}."
    )
    footnotes = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, start=1))
    table_text = "\n".join(lines)
    return (
        f"{summary}\n\n<details><summary>The table</summary>\n\n{table_text}\n\n{footnotes}\n\n</details>\n"
    )


def comparison_table(run: Run) -> str:
    """Return the Markdown table of a comparison: a row a number of pictures, a column a mode."""
    cells = run["comparison"]
    modes, counts = (
        list(dict.fromkeys(part)) for part in zip(*(name.split("_") for name in cells), strict=True)
    )
    lines = [
        f"| labeled pictures a class | {' | '.join(modes)} | finetune - scratch |",
        f"| --- | {' | '.join('---' for _ in modes)} | --- |",
    ]
    for count in counts:
        row = [_spread(cells[f"{mode}_{count}"]["by_seed"]) for mode in modes]
        pairs = zip(cells[f"finetune_{count}"]["by_seed"], cells[f"scratch_{count}"]["by_seed"], strict=True)
        row.append(_spread([one - other for one, other in pairs]).replace("%", "points"))
        lines.append(f"| {count} | {' | '.join(row)} |")
    seeds = len(next(iter(cells.values()))["by_seed"])
    note = (
        f"Mean ± standard deviation over {seeds} seeds of the accuracy on "
        f"{run['test_examples']:,} test pictures ({', '.join(run['classes'])}); "
        f"{run['model']} in {run['framework']}, {run['precision']}, weights from "
        f"`{run['weights']}`; the difference is taken seed by seed. "
    )
    return "\n".join(lines) + f"\n\n{note}{_measured_on([run])}\n"


def _spread(values: Sequence[float]) -> str:
    scores = [100 * value for value in values]
    deviation = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.2f} %{deviation}"


def benchmark_block(name: str, results: Path) -> str:
    """Return the table of a benchmark, or of all of them in one, and what it was measured on.

    Args:
        name: a benchmark's; `all`; or `goals`, the rows of them all that have one, in short.
        results: where the records are.

    Raises:
        ConfigError: it has not been measured.
    """
    file = results / "bench.json"
    measured = json.loads(file.read_text()) if file.exists() else {}
    together = name in ("all", "goals")
    if not together and name not in measured:
        raise ConfigError(f"no figures of the benchmark {name}: make bench case={name}")
    cases = list(measured.values()) if together else [measured[name]]
    rows = [row for case in cases for row in case["rows" if together else "details"]]
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    if name == "goals":
        rows = [row for row in rows if row["goal"] != "printed"]
        columns = [column for column in columns if column not in ("runs", "note")]
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    lines += [f"| {' | '.join(row[column] for column in columns)} |" for row in rows]
    return "\n".join(lines) + f"\n\n{_measured_on(cases)}\n"


def gate_block(name: str, results: Path) -> str:
    """Return what was measured of the accuracy gate, and on what."""
    text, records = gate.block(name, results)
    return f"{text}\n\n{_measured_on(records)}\n" if records else f"{text}\n"


RECORDS = {"sample": "{}.txt", "comparison": "{}_comparison.json"}  # others: APP.json
TABLES: dict[str, Callable[[Any], str]] = {
    "results": table,
    "comparison": comparison_table,
    "checks": gradient_table,
}


def with_tables(text: str, results: Path) -> str:
    """Return a document with the tables in it made anew."""

    def fill(block: re.Match[str]) -> str:
        kind, app = block[2], block[3]
        if kind in ("gate", "benchmark"):
            of_its_own = gate_block if kind == "gate" else benchmark_block
            return f"{block[1]}\n{of_its_own(app, results)}\n{block[4]}"
        file = results / RECORDS.get(kind, "{}.json").format(app)
        if not file.exists():
            raise ConfigError(f"no records for {app}: {file} is missing")
        text = file.read_text()
        shown = f"```text\n{text}```\n" if kind == "sample" else TABLES[kind](json.loads(text))
        return f"{block[1]}\n{shown}\n{block[4]}"

    return BLOCK.sub(fill, text)


def documents() -> list[Path]:
    """Return the documents that may have tables."""
    return [ROOT / "README.md", *sorted(ROOT.glob("apps/*/README.md")), *sorted(ROOT.glob("docs/*.md"))]


def stale(results: Path = RESULTS) -> list[Path]:
    """Return the documents whose tables are not what the records say."""
    texts = {path: path.read_text() for path in documents()}
    return [path for path, text in texts.items() if with_tables(text, results) != text]


def main() -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; status 5 if stale")
    parser.add_argument("--record", nargs="+", type=Path, metavar="FOLDER", help="runs to take in")
    parser.add_argument("--sample", type=Path, metavar="FOLDER", help="the run to show")
    parser.add_argument("--comparison", type=Path, metavar="FOLDER", help="of transfer.mode=compare")
    arguments = parser.parse_args()
    try:
        if arguments.record:
            added = record(arguments.record)
            print(f"{len(added)} runs recorded")
        if arguments.sample:
            sample(arguments.sample)
        if arguments.comparison:
            comparison(arguments.comparison)
        old = stale()
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    for path in old:
        if arguments.check:
            print(f"{path.relative_to(ROOT)}: a table differs from the records; make results")
        else:
            text = with_tables(path.read_text(), RESULTS)
            write_atomically(path, text.encode())
            print(f"{path.relative_to(ROOT)}: written")
    return STALE if old and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
