"""Search for the hyperparameters that suit an application best: a study of many trainings.

    python -m tools.sweep app=mnist_cnn                      over the ranges in conf/sweep/mnist_cnn.yaml
    python -m tools.sweep app=mnist_cnn trials=50 model=mlp  more trials, and a key for all of them
    python -m tools.sweep resume=FOLDER                      resume an interrupted study

KEY=VALUE:
    app=NAME         the application
    trials=N         number of trials
    ranges=FILE      other ranges than those in conf/sweep/NAME.yaml
    out=FOLDER       folder of the study; default: outputs/NAME/sweep_DATE_TIME
    resume=FOLDER    the study to resume, with the remaining trials, or with more (trials=N)
    jobs=N           number of trials that run at the same time, each on its share of the cores
    storage=URL      where machines share a study: sqlite:///FILE, postgresql://USER@HOST/DATABASE,
                     or the path of a journal file; run the same command on each machine
    study=NAME       name of the study in that storage; default: that of the application
    others           keys of the application, for all trials; a key with a range is then not searched

Optuna proposes values and learns from what they reach: the validation accuracy after the last epoch,
or after the one that `trainer.patience` restores (xor: the training loss), never anything of the test
set. Each trial is a training in a process and a run folder of its own. A trial that is worse after an
epoch than the median of the earlier ones is stopped; one that fails does not end the study; one that is
killed is resumed. The folder gets study.csv, study.json and study.png.

exit status: 0 done, 2 wrong command or ranges, 3 data missing or damaged, 130 interrupted; that of
the last trial if none ended well
"""

import contextlib
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from shared.compose import read_yaml
from shared.config import validate
from shared.errors import ConfigError
from shared.nested import flat
from shared.output_file import write_result
from shared.runs import resume
from shared.runs.environment import ROOT
from shared.runs.folder import lock_folder
from shared.runs.repeat import PYTHON
from tools import cli
from tools.sweep import search as searches
from tools.sweep.search import Search

if TYPE_CHECKING:
    from tools.sweep.storage import Store

KEYS = ("app", "trials", "ranges", "out", "resume", "jobs", "storage", "study")
SEARCH = "search.yaml"  # in the folder of a study


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    ranges = {app: read_yaml(searches.FOLDER / f"{app}.yaml")["ranges"] for app in searches.searchable_apps()}
    listed = "\n".join(f"    {app}: {', '.join(keys)}" for app, keys in ranges.items())
    parser = cli.parser("sweep", f"{__doc__}\ndefault ranges:\n{listed}")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    # argparse would print the word, and a URL may have a password.
    if any(word.startswith("-") and "://" in word for word in (sys.argv[1:] if words is None else words)):
        parser.error("give a URL as storage=URL, without dashes")
    arguments = parser.parse_args(words)
    return cli.run(lambda: sweep(arguments.words), treat_kills_as_ctrl_c=True)


def sweep(words: Sequence[str]) -> int:
    """Start or resume a study; return the exit status.

    Raises:
        ConfigError: the command, the ranges or the folder are wrong.
        DataError: the data is missing.
        KeyboardInterrupt: the user stopped it.
    """
    if any("://" in word.partition("=")[0] for word in words):  # it may have a password: do not print it
        raise ConfigError("a URL without a key: give it as storage=URL")
    own = [word for word in words if word.partition("=")[0] in KEYS]
    keys, overrides = cli.parse_keys(own, KEYS), [word for word in words if word not in own]
    if "resume" in keys and "out" in keys:
        raise ConfigError("give out= or resume=, not both: a study is resumed in its own folder")
    if "study" in keys and "storage" not in keys:
        raise ConfigError("study=NAME is a name in a shared storage: give storage=URL, too")
    jobs = cli.parse_count(keys, "jobs", 1)
    shared = open_storage(keys["storage"]) if "storage" in keys else None
    new, started = "resume" not in keys, f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    search = new_search(keys, overrides) if new else resumed_search(Path(keys["resume"]), keys, overrides)
    search = search.model_copy(update={"trials": cli.parse_count(keys, "trials", search.trials)})
    searches.check_search(search)
    folder = Path(keys.get("resume", keys.get("out", f"outputs/{search.app}/sweep_{started}")))
    if new:
        if (folder / SEARCH).exists():
            raise ConfigError(f"{folder} exists: resume it with resume={folder}, or give another out=FOLDER")
        cli.create_folder(folder)
    lock = lock_study(folder)
    try:
        return run_trials(folder, search, new, jobs, shared)
    except KeyboardInterrupt:
        words = [f"jobs={jobs}"] * (jobs > 1) + (["storage=URL"] if shared else [])
        command = shlex.join([PYTHON, "-m", "tools.sweep", f"resume={folder}", *words])
        note = ", where URL is the storage that you gave" if shared else ""
        raise KeyboardInterrupt(f"resume with: {command}{note}") from None
    finally:
        os.close(lock)


def open_storage(text: str) -> "Store":
    """Return the storage that several machines share.

    Raises:
        ConfigError: it is none that can be shared.
    """
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme.partition("+")[0] not in ("", "sqlite", "postgresql"):
        kinds = "sqlite:///FILE, postgresql://USER@HOST/DATABASE or the path of a journal file"
        raise ConfigError(f"storage={scheme}://... is not supported; give {kinds}")
    from tools.sweep.storage import Store  # Optuna takes a second to import

    return Store(text)


def new_search(keys: Mapping[str, str], overrides: list[str]) -> Search:
    """Return the search that the command line asks for.

    Raises:
        ConfigError: there is no such application, or its ranges are missing or wrong.
    """
    known = searches.searchable_apps()
    if (app := keys.get("app")) is None:
        raise ConfigError(f"say what to search: app=NAME, one of {', '.join(known)}")
    cli.check_choice("application", app, sorted(path.parent.name for path in ROOT.glob("apps/*/config.py")))
    if "ranges" not in keys and app not in known:
        raise ConfigError(f"app={app} has nothing to search: there is no conf/sweep/{app}.yaml")
    path = Path(keys["ranges"]) if "ranges" in keys else searches.FOLDER / f"{app}.yaml"
    search = searches.load_search(app, path, overrides)
    return search.model_copy(update={"study": keys.get("study", search.study)})


def resumed_search(folder: Path, keys: Mapping[str, str], overrides: list[str]) -> Search:
    """Return the search of the study in a folder; what the command line adds must not differ.

    Raises:
        ConfigError: there is no study, or it searches something else.
    """
    if not (folder / SEARCH).exists():
        raise ConfigError(f"{folder} is not the folder of a study: it has no {SEARCH}")
    try:
        before = validate(Search, read_yaml(folder / SEARCH))
    except ConfigError as error:
        raise ConfigError(f"{folder / SEARCH} is not that of a study: {error}") from error
    now = before.model_copy(update={"app": keys.get("app", before.app)})
    if overrides or "ranges" in keys or "study" in keys:
        now = new_search({"app": before.app, **keys}, overrides)
    old, new = (flat(one.model_dump(exclude={"trials"})) for one in (before, now))
    if differing := resume.differences(old, new):
        raise ConfigError(f"{folder} cannot be resumed with another search: {differing}")
    return before


def lock_study(folder: Path) -> int:
    """Lock the folder of a study; return its descriptor, which holds the lock.

    Raises:
        ConfigError: the study is going on in another process.
    """
    try:
        return lock_folder(folder)
    except BlockingIOError:
        raise ConfigError(f"{folder}: this study is going on in another process") from None


def run_trials(folder: Path, search: Search, new: bool, jobs: int, shared: "Store | None") -> int:
    """Run the remaining trials and write the results of all; return the exit status."""
    from tools.sweep import results, workers
    from tools.sweep.study import Study  # Optuna takes a second to import

    study = Study(folder, search, new, shared)
    write_result(folder / SEARCH, OmegaConf.to_yaml(search.model_dump()).encode())
    goal = f"{'highest' if search.maximizes else 'lowest'} {search.objective_name}"
    print(f"{search.app}: {search.trials} trials for the {goal}, over {', '.join(search.ranges)}")
    print(f"folder: {folder}", flush=True)
    try:
        if jobs == 1:
            exit_status = workers.run_trials(study, jobs)
        else:
            exit_status = workers.run_workers(study, jobs, shared)
    except BaseException:
        study.hurry()
        with contextlib.suppress(ConfigError):  # the first error is the one to report
            results.write_tables(study)
            results.write_chart(study)
        raise
    results.write_tables(study)
    results.write_chart(study)
    results.print_best(study)
    return 0 if study.best() else exit_status


if __name__ == "__main__":
    sys.exit(main())
