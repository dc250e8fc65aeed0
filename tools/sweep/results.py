"""What a study writes and prints: study.csv, study.json, study.png, and the best values."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict

from shared.output_file import write_result
from shared.runs.reader import read_metrics, read_values
from shared.runs.repeat import app_command
from tools.runs import rerun_command
from tools.sweep.search import Search
from tools.sweep.study import CUT_SHORT, Study, Trial

FIELDS = ("number", "status", "value", "epochs", "seconds")


def params_text(trial: Trial) -> str:
    """Return the values of a trial, numbers with four digits."""
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in trial.params.items()
    )


def trial_line(search: Search, trial: Trial) -> str:
    """Return a line that says how a trial ended."""
    outcome = f"{search.objective_name} {search.value_text(trial.value)}"
    if trial.status == "pruned":
        outcome = f"pruned after epoch {trial.epochs}, {outcome}"
    elif trial.status in ("running", "waiting"):  # another worker may run it already
        outcome = f"the training was killed, and will be resumed: {trial.note}"
    elif trial.status != "done":
        outcome = f"{trial.status}: {trial.note}"
    return f"{outcome}; {trial.seconds or 0:.1f} s"


def status_counts(trials: Sequence[Trial]) -> str:
    """Return how many trials ended with each status."""
    statuses = [trial.status for trial in trials]
    names = ("done", "pruned", "diverged", "failed", "running", "waiting", CUT_SHORT)
    return ", ".join(f"{statuses.count(name)} {name}" for name in names if name in statuses)


def write_tables(study: Study) -> None:
    """Write study.csv and study.json.

    Raises:
        ConfigError: they cannot be written.
    """
    search, best, records = study.search, study.best(), [asdict(trial) for trial in study.trials()]
    text, columns = io.StringIO(), [*FIELDS, *search.ranges, "run", "note"]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(record | record["params"] for record in records)
    write_result(study.folder / "study.csv", text.getvalue().encode())
    content = search.model_dump() | {
        "direction": search.direction,
        "best": best and best.number,
        "records": records,
    }
    content_text = json.dumps(content, indent=2, allow_nan=False)
    write_result(study.folder / "study.json", f"{content_text}\n".encode())


def write_chart(study: Study) -> None:
    """Write study.png, if a trial has ended."""
    if study.count_finished():
        from tools.sweep.chart import study_chart  # matplotlib takes a second to import

        trials = study.trials()
        title = f"{study.search.app}: {status_counts(trials)}"
        write_result(study.folder / "study.png", study_chart(study.search, trials, study.best(), title))


def print_best(study: Study) -> None:
    """Print the best values, what their score is worth, and the command that trains with them."""
    folder, search, best = study.folder, study.search, study.best()
    print(f"\n{status_counts(study.trials())}; {folder}/study.png, study.csv, study.json")
    if best is None:
        print(f"no trial ended well: see {folder}/trials/*.txt")
        return
    run = folder / best.run
    data, command = "another machine", app_command(search.app, [*search.overrides, *best.overrides])
    if run.exists():
        metrics, command = read_metrics(run), rerun_command(read_values(run))
        data = f"{metrics['dataset']}{' (embedded sample)' if metrics['embedded'] else ''}"
    advice = "Train with these values:"
    if search.objective.startswith("validation"):
        advice = (
            "This score is optimistic: it is the best of all trials on the same examples. For an unbiased\n"
            "one, train with these values and look at the test set, which no trial has used:"
        )
    print(
        f"best: trial {best.number}, {search.objective_name} {search.value_text(best.value)} on {data}: "
        f"{params_text(best)}\n{advice}\n{command}",
        flush=True,
    )
