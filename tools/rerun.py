"""Repeat a run from its folder and say whether the result is the same.

    python -m tools.rerun RUN [--out FOLDER]

Trains the configuration in RUN/config.yaml once more, in a process of its own, into a new run
folder (outputs/APP/DATE_TIME where --out names none). Where commit, versions, processor or data are
others than the first run's, that is said before.

exit status: 0 the same to the last bit, 5 different, 2 no run that can be repeated, 3 data missing
or damaged, 4 training diverged, 130 interrupted
"""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.cli import exit_status_of
from shared.compose import compose, hydra_text
from shared.config import AppConfig
from shared.errors import ConfigError
from shared.nested import flat
from shared.runs.environment import DataSet, available_cores, environment
from shared.runs.reader import read_config, read_metrics, read_values, version_hint
from shared.runs.repeat import rerun_overrides

DIFFERENT = 5  # exit status
SCORES = ("test_accuracy", "test_loss")


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.rerun",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the new run folder")
    arguments = parser.parse_args(words)
    statuses = [0]

    def action() -> None:
        statuses[0] = rerun(arguments.run, arguments.out)

    return exit_status_of(action) or statuses[0]


def rerun(folder: Path, out: Path | None) -> int:
    """Repeat the run in `folder`; return the exit status.

    Raises:
        ConfigError: it is no finished run of this version, or `out` cannot be used.
        DataError: its data cannot be had.
    """
    if out is not None and "${" in str(out):  # which Hydra resolves wherever it stands
        raise ConfigError(f"--out {out}: a run folder cannot have ${{ in its path; choose another")
    config, given = repeatable(folder)
    before = read_metrics(folder)
    for line in differences(before, now(config)):
        print(f"warning: {line}", file=sys.stderr, flush=True)
    place = out or new_folder(Path("outputs") / config.app)
    command = [sys.executable, "-m", f"apps.{config.app}", *given, f"hydra.run.dir={hydra_text(str(place))}"]
    if status := ended(command):
        return status
    after = read_metrics(place)
    print(verdict(before, after))
    return 0 if same(before, after) else DIFFERENT


def ended(command: Sequence[str]) -> int:
    """Run a command to its end; return its exit status.

    Ctrl-C reaches it as well: it keeps what it has so far, and ends by itself.
    """
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def repeatable(folder: Path) -> tuple[AppConfig, list[str]]:
    """Return the configuration of the run in `folder`, and the KEY=VALUEs that compose to it.

    Raises:
        ConfigError: there is none, or not for this version of the application.
    """
    values = read_values(folder)
    try:
        given = rerun_overrides(values)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}{version_hint(folder)}") from error
    schema = importlib.import_module(f"apps.{values['app']}.config").Config
    config: AppConfig = read_config(folder, schema)
    again = compose(config.app, tuple(given)) | {"run_dir": config.run_dir}
    if again != config.model_dump():
        raise ConfigError(f"{folder}: no command line gives its configuration")
    return config, given


def now(config: AppConfig) -> dict[str, Any]:
    """Return what metrics.json would say of this machine, this code and this data."""
    data = data_set(config)
    threads = config.trainer.threads or available_cores()
    return environment(config.framework, threads) | {"dataset": data.name, "dataset_sha256": data.sha256}


def data_set(config: AppConfig) -> DataSet:
    """Return the data that the run would be made with."""
    if config.app == "gradient_flow":  # of which nothing can be evaluated again
        from shared.data import digits

        return digits.load()
    evaluate = importlib.import_module(f"apps.{config.app}.evaluate")
    data: DataSet = evaluate.APPLICATION.load(config)
    return data


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return a line for each thing that a result depends on and that is another one now."""
    old = flat({key: before.get(key) for key in after})
    new = flat(after)
    lines = [f"{key} was {old.get(key)}, is {value}" for key, value in new.items() if old.get(key) != value]
    if new["git.dirty"] and old.get("git.dirty"):
        lines.append("both runs have uncommitted changes: the commit does not tell the code")
    return lines


def new_folder(parent: Path) -> Path:
    """Return a folder that is named after this second and that nobody else has.

    Raises:
        ConfigError: it cannot be made.
    """
    name, number = f"{datetime.now():%Y-%m-%d_%H-%M-%S}", 1
    place = parent / name
    while True:
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            number += 1
            place = parent / f"{name}_{number}"
        except OSError as error:
            raise ConfigError(f"cannot make {place}: {error.strerror}; give --out") from error
        else:
            return place


def same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether two runs reached the same to the last bit, their weights too."""
    return all(before.get(key) == after.get(key) for key in (*SCORES, "weights_sha256"))


def verdict(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Say in a line whether the result is the same."""
    if same(before, after):
        return "the same to the last bit"
    accuracy, loss = (after[key] - before[key] for key in SCORES)
    said = []
    if accuracy:
        said.append(
            f"accuracy differs by {100 * accuracy:+.2f} points "
            f"({before['test_accuracy']:.2%}, now {after['test_accuracy']:.2%})"
        )
    if loss:
        said.append(f"loss differs by {loss:+.2g} ({before['test_loss']:.6g}, now {after['test_loss']:.6g})")
    if before.get("weights_sha256") != after.get("weights_sha256"):
        said.append("weights differ")
    return "; ".join(said)


if __name__ == "__main__":
    sys.exit(main())
