"""Fill the tables of README.md, docs/*.md and apps/*/README.md from recorded runs.

    python -m tools.results                       rewrite the tables
    python -m tools.results --check               change nothing; status 5 if a table is out of date
    python -m tools.results --record FOLDER ...   add the runs below FOLDER to the records
    python -m tools.results --sample FOLDER       use this run as the sample of its application
    python -m tools.results --experiments FOLDER ...  add runs of experiments (conf/experiment)
    python -m tools.results --comparison FOLDER   use this run of transfer.mode=compare
    python -m tools.results --pictures FOLDER ... use these runs' pictures in the documents that show them

The records are in docs/results: APP.json has the metrics of each run, as in its metrics.json, and
APP_own.json of runs on somebody's own pictures or texts. A table stands between `<!-- KIND: NAME -->`
and `<!-- end of KIND -->`:

    applications             the best recorded accuracy of each application (without NAME)
    results: APP             all recorded networks of an application; `APP_own`: on own pictures or texts
    sample: APP              what the sample run printed; its learning curves are APP.png
    comparison: APP          a run of transfer.mode=compare; its chart is APP_comparison.png
    comparison: APP_NUMBER   one with a single number of images per class
    comparison: APP_WEIGHTS_NUMBER_classes   one from other weights than the source task's
    pictures: APP            which runs drew the pictures of an application
    checks: gradients        what `make gradcheck` found
    benchmark: CASE          details of a case of `make bench`
    benchmark: all           all comparisons of `make bench`; `goals`: those with a goal, in short
    benchmark: gpu           what `python -m tools.bench.torch_gpu` measured
    experiments              the experiments beside the corrected networks (without NAME)
    gate: NAME               how good the accuracy gate is (tools/results/gate.py)
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from shared.errors import ConfigError
from shared.files import write_atomically
from shared.output_file import write_json
from shared.runs.environment import ROOT
from shared.runs.progress import announcement, conclusion, epoch_line
from shared.runs.reader import read_rows
from tools import cli
from tools.results import tables
from tools.results.experiments import experiments_block, record_experiments
from tools.results.gate import gate_block
from tools.results.pictures import pictures_block, record_pictures
from tools.results.tables import Run, run_identity
from tools.runs import SHORTENED

BLOCKS: dict[str, Callable[[str, Path], str]] = {
    "applications": tables.applications_block,
    "results": tables.results_block,
    "sample": tables.sample_block,
    "comparison": tables.comparison_block,
    "checks": tables.checks_block,
    "benchmark": tables.benchmark_block,
    "gate": gate_block,
    "experiments": experiments_block,
    "pictures": pictures_block,
}
RESULTS = ROOT / "docs" / "results"
DOCUMENTS = ("README.md", "apps/*/README.md", "docs/*.md")
BLOCK = re.compile(
    r"(?P<begin><!-- (?P<kind>\w+)(: (?P<name>\w+))? -->\n).*?(?P<end><!-- end of (?P=kind) -->)", re.DOTALL
)


def record_runs(folders: Iterable[Path], results: Path = RESULTS) -> list[Run]:
    """Add every run below `folders` to the records of its application; return what was added.

    Raises:
        ConfigError: there is no run, or one is not finished, or its code was not committed.
    """
    added = []
    for path in sorted(path for folder in folders for path in folder.rglob("metrics.json")):
        added.append(read_complete_run(path))
        if "comparison" in added[-1]:
            raise ConfigError(f"{path}: a comparison is not a run of one network; use --comparison")
    if not added:
        raise ConfigError(f"no metrics.json below {', '.join(map(str, folders))}")
    for name in {record_name(run) for run in added}:
        file = results / f"{name}.json"
        known = json.loads(file.read_text()) if file.exists() else []
        runs = {run_identity(run): run for run in [*known, *added] if record_name(run) == name}
        write_json(file, [runs[key] for key in sorted(runs)])
    return added


def record_name(run: Run) -> str:
    """Return the application, with `_own` if somebody's own folder was the data."""
    return run["app"] + "_own" * run.get("own_data", False)


def read_complete_run(path: Path, shortened: Sequence[str] = SHORTENED) -> Run:
    """Return the metrics of a complete training, made with committed code; `shortened` are unwanted keys.

    Raises:
        ConfigError: it is unfinished, shortened (debug, limits), or of uncommitted code.
    """
    if not path.exists():
        raise ConfigError(f"{path.parent} is not a run folder: it has no {path.name}")
    run: Run = json.loads(path.read_text())
    if run["status"] != "done":
        raise ConfigError(f"{path}: its status is {run['status']}; only finished runs can be recorded")
    config = OmegaConf.load(path.with_name("config.yaml"))
    for key in shortened:
        if (value := OmegaConf.select(config, key)) is not None:
            raise ConfigError(f"{path}: made with {key}={value}; only complete trainings can be recorded")
    if run["git"]["dirty"] is not False:
        raise ConfigError(f"{path}: made with uncommitted changes; commit, then run it again")
    if OmegaConf.select(config, "data.name") in ("image_folder", "text_folder"):
        run["own_data"] = True
    run["dataset_source"] = re.sub(r" /\S+", "", run["dataset_source"])  # no local path
    return run


def record_comparison(folder: Path, results: Path = RESULTS) -> None:
    """Record a run of `transfer.mode=compare`.

    Raises:
        ConfigError: it is not such a run, or not a complete one.
    """
    chart = folder / "comparison.png"
    if not chart.exists():
        raise ConfigError(f"{folder} is not the folder of a comparison: it has no comparison.png")
    run = read_complete_run(folder / "metrics.json")
    counts = {name.rpartition("_")[2] for name in run["comparison"]}
    other = [run["weights"], f"{len(run['classes'])}_classes"] if run["weights"] != "source_task" else []
    name = "_".join([run["app"], *other, *(counts if len(counts) == 1 else ()), "comparison"])
    write_json(results / f"{name}.json", run)
    write_atomically(results / f"{name}.png", chart.read_bytes())


def record_sample(folder: Path, results: Path = RESULTS) -> None:
    """Record one run, and use its output and its learning curves as the sample of its application.

    Raises:
        ConfigError: it is not a run that `record_runs` accepts.
    """
    run = read_complete_run(folder / "metrics.json")
    record_runs([folder], results)
    epochs = [epoch_line(row, run["epochs"]) for row in read_rows(folder)]
    lines = [announcement(run, f"outputs/{run['app']}/DATE_TIME"), *epochs, conclusion(run), ""]
    write_atomically(results / f"{run['app']}.txt", "\n".join(lines).encode())
    write_atomically(results / f"{run['app']}.png", (folder / "curves.png").read_bytes())


def fill_tables(text: str, results: Path, folder: Path = ROOT) -> str:
    """Return a document with its tables filled; links in them are relative to its folder.

    Raises:
        ConfigError: a table has no record.
    """

    def block(found: re.Match[str]) -> str:
        content = BLOCKS[found["kind"]](found["name"], results)
        content = content.replace("](/", f"]({os.path.relpath(ROOT, folder)}/")
        return f"{found['begin']}\n{content}\n\n{found['end']}"

    return BLOCK.sub(block, text)


def documents() -> list[Path]:
    """Return the documents that may have tables and pictures."""
    return [path for pattern in DOCUMENTS for path in sorted(ROOT.glob(pattern))]


def outdated_documents(results: Path = RESULTS) -> dict[Path, str]:
    """Return the new text of each document whose tables differ from the records."""
    texts = {path: fill_tables(path.read_text(), results, path.parent) for path in documents()}
    return {path: text for path, text in texts.items() if text != path.read_text()}


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = cli.parser("results", __doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--experiments", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--sample", type=Path, metavar="FOLDER")
    parser.add_argument("--comparison", type=Path, metavar="FOLDER")
    parser.add_argument("--pictures", nargs="+", type=Path, metavar="FOLDER")
    arguments = parser.parse_args(words)

    def action() -> int:
        if arguments.record:
            print(f"recorded {len(record_runs(arguments.record))} runs")
        if arguments.experiments:
            paths = sorted(path for folder in arguments.experiments for path in folder.rglob("metrics.json"))
            runs = ((path.parent, read_complete_run(path, ())) for path in paths)
            print(f"recorded {record_experiments(runs, RESULTS)} runs")
        if arguments.sample:
            record_sample(arguments.sample)
        if arguments.comparison:
            record_comparison(arguments.comparison)
        for folder in arguments.pictures or ():
            run = read_complete_run(folder / "metrics.json")
            print(f"recorded {', '.join(record_pictures(folder, run, RESULTS, documents()))}")
        outdated = outdated_documents()
        for path, text in outdated.items():
            if arguments.check:
                print(f"{path.relative_to(ROOT)}: a table differs from the records; run make results")
            else:
                write_atomically(path, text.encode())
                print(f"wrote {path.relative_to(ROOT)}")
        return cli.FAILED_CHECK if outdated and arguments.check else 0

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
