"""Repeat a finished run in a new folder and compare the results.

    python -m tools.rerun RUN [--out FOLDER]

Trains the configuration in RUN/config.yaml again, in a process of its own; the new run folder is
outputs/APP/DATE_TIME unless --out names one. Differences in commit, versions, hardware or data are
printed first, as warnings.

exit status: 0 the same to the last bit, 5 different, 2 a run that cannot be repeated, 3 data missing
or damaged, 4 training diverged, 130 interrupted
"""

import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from shared.application import FinishedRun
from shared.compose import hydra_text
from shared.errors import ConfigError
from shared.nested import flat
from shared.runs.environment import available_cores, environment
from shared.runs.reader import read_metrics
from shared.runs.repeat import rerun_overrides
from tools import cli
from tools.runs import RUN_HELP, open_run

SCORES = ("test_accuracy", "test_loss")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = cli.parser("rerun", __doc__)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the new run folder")
    arguments = parser.parse_args(words)
    return cli.run(lambda: rerun(arguments.run, arguments.out))


def rerun(run_name: str, out: Path | None) -> int:
    """Repeat a run; return the exit status.

    Raises:
        ConfigError: it is not a finished run of this version, or `out` cannot be used.
        DataError: its data is missing or damaged.
    """
    if out is not None and "${" in str(out):  # Hydra would resolve it
        raise ConfigError(f"--out {out}: a run folder cannot have ${{ in its path; choose another")
    run = open_run(run_name)
    words = rerun_overrides(run.config.model_dump())
    for line in differences(run.metrics, present_environment(run)):
        print(f"warning: {line}", file=sys.stderr, flush=True)
    folder = out or make_folder(Path("outputs") / run.config.app)
    command = [
        sys.executable,
        "-m",
        f"apps.{run.config.app}",
        *words,
        f"hydra.run.dir={hydra_text(str(folder))}",
    ]
    if status := run_to_end(command):
        return status
    metrics = read_metrics(folder)
    result = comparison(run.metrics, metrics)
    print(result or "the same to the last bit")
    return cli.FAILED_CHECK if result else 0


def run_to_end(command: Sequence[str]) -> int:
    """Run a command and return its exit status; Ctrl-C reaches it too, and it ends by itself."""
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def present_environment(run: FinishedRun[Any]) -> dict[str, Any]:
    """Return what metrics.json of the same run would say of this machine, code and data."""
    config = run.config
    data = run.application.load_data(config)
    threads = config.trainer.threads or available_cores()
    return environment(config.framework, threads) | {"dataset": data.name, "dataset_sha256": data.sha256}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a line for each thing that a result depends on and that has changed."""
    old, new = flat({key: before.get(key) for key in now}), flat(now)
    lines = [f"{key} was {old.get(key)}, is {value}" for key, value in new.items() if old.get(key) != value]
    if new["git.dirty"] and old.get("git.dirty"):
        lines.append("both runs have uncommitted changes: the commit does not identify the code")
    return lines


def make_folder(parent: Path) -> Path:
    """Make and return a new folder named after the current time.

    Raises:
        ConfigError: it cannot be made.
    """
    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for folder in chain([parent / name], (parent / f"{name}_{number}" for number in count(2))):
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"cannot make {folder}: {error.strerror}; give --out") from error
    return folder


def comparison(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return how two results differ; an empty string where they are the same to the last bit."""
    accuracy, loss = (after[key] - before[key] for key in SCORES)
    parts = []
    if accuracy:
        parts.append(
            f"accuracy differs by {100 * accuracy:+.2f} points "
            f"({before['test_accuracy']:.2%}, now {after['test_accuracy']:.2%})"
        )
    if loss:
        parts.append(f"loss differs by {loss:+.2g} ({before['test_loss']:.6g}, now {after['test_loss']:.6g})")
    if before.get("weights_sha256") != after.get("weights_sha256"):
        parts.append("weights differ")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
