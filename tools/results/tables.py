"""The generated blocks of the documents, each made of records in docs/results alone."""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.errors import ConfigError
from shared.runs.environment import ROOT
from shared.tables import markdown_table
from tools.bench.rows import Row

Run = dict[str, Any]  # the metrics of a recorded run


def run_identity(run: Run) -> tuple[Any, ...]:
    """Return what identifies a record: a newer run of the same identity replaces it."""
    return tuple(run[key] for key in ("dataset", "model", "framework", "precision", "seed"))


def by_network(runs: Sequence[Run]) -> dict[tuple[Any, ...], list[Run]]:
    """Return the runs that differ only in their seed, sorted by their common identity."""
    groups = defaultdict(list)
    for run in runs:
        groups[run_identity(run)[:-1]].append(run)
    return dict(sorted(groups.items()))


def applications_block(name: str, results: Path) -> str:
    """Return a row for each application and data set with recorded runs: the most accurate network."""
    rows = []
    for readme in sorted(ROOT.glob("apps/*/README.md")):
        app, title = readme.parent.name, readme.read_text().splitlines()[0].lstrip("# ")
        record = results / f"{app}.json"
        best: dict[str, list[Run]] = {}
        for runs in by_network(read_record(record) if record.exists() else []).values():
            data = runs[0]["dataset"]
            best[data] = max(best.get(data, runs), runs, key=_accuracy_then_speed)
        for data, runs in best.items():
            network = f"`{runs[0]['model']}` in {runs[0]['framework']}"
            accuracy = f"{100 * _mean_accuracy(runs):.2f} %"
            rows.append([f"[{title}](/apps/{app}/README.md)", data, accuracy, network, training_time(runs)])
    return markdown_table(["application", "data", "best test accuracy", "network", "training"], rows)


def _accuracy_then_speed(runs: Sequence[Run]) -> tuple[float, float]:
    return _mean_accuracy(runs), -statistics.median(run["train_seconds"] for run in runs)


def _mean_accuracy(runs: Sequence[Run]) -> float:
    return statistics.mean(run["test_accuracy"] for run in runs)


def training_time(runs: Sequence[Run]) -> str:
    return f"{statistics.median(run['train_seconds'] for run in runs):.1f} s"


def results_block(app: str, results: Path) -> str:
    """Return a row for each network of an application, over its seeds."""
    runs = read_record(results / f"{app}.json")
    header = "data,model,framework,precision,test accuracy,range,seeds,training,threads,parameters,epochs"
    rows = []
    for group in by_network(runs).values():
        first = group[0]
        scores = [run["test_accuracy"] for run in group]
        threads = " or ".join(sorted({str(run["hardware"]["threads"]) for run in group}))
        mean, _, deviation = mean_and_deviation(scores).partition(" ±")
        network = [first["dataset"], f"`{first['model']}`", first["framework"], first["precision"]]
        accuracy = f"**{mean}**" + (f" ±{deviation}" if deviation else "")
        spread = f"{100 * min(scores):.2f} to {100 * max(scores):.2f} %"
        size = [f"{first['parameters']:,}", str(first["epochs"])]
        rows.append([*network, accuracy, spread, str(len(scores)), training_time(group), threads, *size])
    sizes = " or ".join(f"{size:,}" for size in sorted({run["test_examples"] for run in runs}))
    note = (
        f"Mean ± standard deviation over seeds, on the {sizes} examples of the test set, which each "
        "run scores once, after its last epoch. Training: median time of all steps and validations. "
    )
    return f"{markdown_table(header.split(','), rows)}\n\n{note}{measured_on(runs)}"


def mean_and_deviation(values: Sequence[float]) -> str:
    """Return mean and standard deviation of shares of 1, in percent."""
    scores = [100 * value for value in values]
    deviation = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.2f} %{deviation}"


def measured_on(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence with the hardware, versions and commits of some records."""
    hardware = sorted(
        {
            f"{one['cpu']}, {one['threads']} thread{'s' * (one['threads'] > 1)}, {one['memory_gib']} GiB"
            for one in (run["hardware"] for run in runs)
        }
    )
    versions = sorted({f"{name} {v}" for run in runs for name, v in run["versions"].items()})
    commits = sorted({_commit(run["git"]) for run in runs})
    commit = "commit" if len(commits) == 1 else "commits"
    return f"Measured on {'; '.join(hardware)}; {', '.join(versions)}; {commit} {', '.join(commits)}."


def _commit(git: Mapping[str, Any]) -> str:
    return f"{git['commit'][:10]} with changes" if git["dirty"] else git["commit"][:10]


def sample_block(app: str, results: Path) -> str:
    """Return what the sample run of an application printed."""
    return f"```text\n{_text(results / f'{app}.txt')}```"


def comparison_block(name: str, results: Path) -> str:
    """Return a comparison of transfer.mode: a row for each number of images, a column for each mode."""
    run = read_record(results / f"{name}_comparison.json")
    scores = {
        tuple(cell.rsplit("_", 1)): values["by_seed"] for cell, values in run["comparison"].items()
    }  # by mode and number of images
    modes, counts = (list(dict.fromkeys(part)) for part in zip(*scores, strict=True))
    rows = []
    for count in counts:
        gain = [a - b for a, b in zip(scores["finetune", count], scores["scratch", count], strict=True)]
        means = [mean_and_deviation(scores[mode, count]) for mode in modes]
        rows.append([count, *means, mean_and_deviation(gain).replace("%", "points")])
    table = markdown_table(["labeled images per class", *modes, "finetune - scratch"], rows)
    seeds = len(next(iter(scores.values())))
    measured = (
        f"accuracy on {run['test_examples']:,} test images ({', '.join(run['classes'])}); "
        f"{run['model']} in {run['framework']}, {run['precision']}, weights from `{run['weights']}`"
    )
    if seeds == 1:
        return f"{table}\n\nA single seed; {measured}. {measured_on([run])}"
    return (
        f"{table}\n\nMean ± standard deviation over {seeds} seeds of the {measured}; "
        f"the difference is taken seed by seed. {measured_on([run])}"
    )


def checks_block(name: str, results: Path) -> str:
    """Return the summary and the table of `make gradcheck`, with its notes."""
    report = read_record(results / f"{name}.json")
    layers = report["layers"]
    notes = list(dict.fromkeys(note for layer in layers for note in layer["notes"]))
    references = ("torch", "Keras", "finite differences")
    rows = []
    for layer in layers:
        marks = "".join(f"<sup>{notes.index(note) + 1}</sup>" for note in layer["notes"])
        found = [layer["largest_difference"].get(reference) for reference in references]
        differences = ["-" if value is None else f"{value:.0e}" for value in found]
        caught = f"{layer['faults_caught']} of {layer['faults']}"
        rows.append([f"`{layer['layer']}`{marks}", str(layer["cases"]), *differences, caught])
    distances = [f"to {reference}" for reference in references]
    header = ["layer, loss or optimizer", "cases", *distances, "planted faults found"]
    totals = (sum(layer[key] for layer in layers) for key in ("checks", "faults_caught", "faults"))
    checks, caught, planted = totals
    failed = sum(len(layer["failures"]) for layer in layers)
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    footnotes = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, start=1))
    return (
        f"{checks:,} checks of {len(layers)} layers, losses and optimizers, {failed} failed; {caught} of "
        f"{planted} planted faults found. Largest differences in float64, relative to the largest "
        f"number of each output and gradient; {versions}.\n\n{markdown_table(header, rows)}\n\n{footnotes}"
    )


def benchmark_block(name: str, results: Path) -> str:
    """Return the table of a benchmark, with rows for each processor on which it was recorded.

    For a case that is its details; for `all` the comparisons of all cases; for `goals` those with a
    goal, without the columns runs and note.

    Raises:
        ConfigError: it has not been measured.
    """
    measured = read_record(results / ("gpu.json" if name == "gpu" else "bench.json"))
    if name not in ("all", "goals", *measured):
        raise ConfigError(f"the benchmark {name} has not been measured: make bench case={name}")
    cases, rows = [], []
    for case in [measured[name]] if name in measured else measured.values():
        for processor, one in case.items():
            comparisons = [row for row in (Row(**row) for row in one["rows"]) if row.goal or name == "all"]
            found = one["details"] if name in measured else [row.cells() for row in comparisons]
            rows += [_insert_second(row, "processor", processor) for row in found]
            cases += [one] if found else []
    order = list(dict.fromkeys(_first(row) for row in rows))
    rows.sort(key=lambda row: order.index(_first(row)))  # the same on each processor in turn
    hidden = ["runs", "note"] if name == "goals" else []
    if len({row["processor"] for row in rows}) == 1:  # as `measured_on` says
        hidden.append("processor")
    columns = [column for column in rows[0] if any(row[column] for row in rows) and column not in hidden]
    table = markdown_table(columns, ([row[column] for column in columns] for row in rows))
    seeds = [_seeds(one["mnist"]) for one in cases if "mnist" in one]
    return "\n\n".join([table, *seeds, measured_on(cases)])


def _seeds(runs: Mapping[str, Any]) -> str:
    """Return a sentence about the trainings on a GPU; `runs` has their accuracies and seconds."""
    scores, seconds = runs["accuracies"], statistics.median(runs["seconds"])
    return (
        f"`fast_cnn` on {runs['dataset']}, {len(scores)} seeds: {statistics.mean(scores):.2%} of the test "
        f"images on average, {min(scores):.2%} at least, in {seconds:.1f} s of training (median)."
    )


def _insert_second(row: Mapping[str, str], column: str, cell: str) -> dict[str, str]:
    first, *others = row.items()
    return dict([first, (column, cell), *others])


def _first(row: Mapping[str, str]) -> str:
    return next(iter(row.values()))


def read_record(file: Path) -> Any:
    """Return what a JSON file of docs/results holds; raise ConfigError if it is missing."""
    return json.loads(_text(file))


def _text(file: Path) -> str:
    if not file.exists():
        raise ConfigError(f"{file} is missing: record it first (python -m tools.results --help)")
    return file.read_text()
