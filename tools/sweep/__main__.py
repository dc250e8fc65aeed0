"""Search for the values that an application does best with: a study of many trainings.

    python -m tools.sweep app=mnist_cnn                      the ranges in conf/sweep/mnist_cnn.yaml
    python -m tools.sweep app=mnist_cnn trials=50 model=mlp  more trials; a key that all of them have
    python -m tools.sweep resume=FOLDER                      go on with what was interrupted

KEY=VALUE:
    app=NAME         which application
    trials=N         how many trainings there are in the end
    ranges=FILE      other ranges than those in conf/sweep/NAME.yaml
    out=FOLDER       for the study; outputs/NAME/sweep_DATE_TIME where it is not given
    resume=FOLDER    of a study that goes on: with the trials that are left, or up to trials=N
    others           keys of the application, for all trials; what has a range is then not searched

Optuna proposes values and learns from what they reached: the validation accuracy after the last
epoch (xor: the training loss), never anything of the test set. Each trial is a training in a
process and a run folder of its own; one that is worse after an epoch than the median of those
before is stopped, and one that fails does not end the study. The folder gets study.csv, study.json
and study.png.

exit status: 0 done, 2 wrong command or ranges, 3 data missing or damaged, 130 interrupted; that of
the last trial where none ended well
"""

import argparse
import importlib
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from shared.cli import exit_status_of
from shared.compose import CONF, config_from_overrides, hydra_text
from shared.config import AppConfig
from shared.errors import ConfigError, DataError, SuiteError, TrainingDiverged
from shared.files import write_result
from shared.nested import flat
from shared.runs import resume
from shared.runs.folder import lock_folder
from shared.runs.reader import read_metrics, read_values
from shared.runs.repeat import rerun_command
from tools.sweep import ranges
from tools.sweep.ranges import Search

if TYPE_CHECKING:  # Optuna is imported when the command is known to be right
    from tools.sweep.study import Study, Trial

KEYS = ("app", "trials", "ranges", "out", "resume")
SEARCH = "search.yaml"  # in the folder of a study: what it searches


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.sweep",
        description=f"{__doc__}\n{choices()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args(words)
    # A scheduler's polite kill ends a study the way Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    statuses = [0]

    def action() -> None:
        statuses[0] = sweep(arguments.overrides)

    return exit_status_of(action) or statuses[0]


def choices() -> str:
    """Return what each application's file searches, for the help."""
    lines = ["what is searched where nothing else is said:"]
    for app in ranges.applications():
        keys: Any = OmegaConf.load(ranges.FOLDER / f"{app}.yaml")
        lines.append(f"    {app}: {', '.join(keys['ranges'])}")
    return "\n".join(lines)


def sweep(words: Sequence[str]) -> int:
    """Begin a study or go on with one; return the exit status.

    Raises:
        ConfigError: the command, the ranges or the folder are wrong.
        DataError: the data cannot be had.
        KeyboardInterrupt: the user stopped it.
    """
    keys, overrides = parsed(words)
    folder = Path(keys["resume"]) if "resume" in keys else None
    search = begun(folder, keys, overrides) if folder else asked(keys, overrides)
    refuse_unknown(search)
    place = folder or new_folder(keys.get("out"), search.app)
    lock = locked(place)
    try:
        refuse_left_behind(place)
        write_result(place / SEARCH, OmegaConf.to_yaml(search.model_dump()).encode())
        return searched(place, search, new=folder is None)
    except KeyboardInterrupt:
        again = shlex.join(["python", "-m", "tools.sweep", f"resume={place}"])
        raise KeyboardInterrupt(f"go on with: {again}") from None
    finally:
        os.close(lock)


def parsed(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the KEY=VALUEs that are meant for the study, and the application's.

    Raises:
        ConfigError: one is no KEY=VALUE, or two do not go together.
    """
    keys, overrides = {}, []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ConfigError(f"cannot read {word!r}: give KEY=VALUE, as in app=mnist_cnn")
        if key in KEYS:
            keys[key] = value
        else:
            overrides.append(word)
    if "resume" in keys and "out" in keys:
        raise ConfigError("out= and resume= do not go together: a study goes on in its own folder")
    return keys, overrides


def asked(keys: Mapping[str, str], overrides: list[str]) -> Search:
    """Return what the command line asks for.

    Raises:
        ConfigError: there is no such application, or the ranges are wrong.
    """
    known = ranges.applications()
    app = keys.get("app")
    if app is None:
        raise ConfigError(f"say what to search: app=NAME, one of {', '.join(known)}")
    if app == "gradient_flow":
        raise ConfigError(
            "app=gradient_flow: it draws what gradients do and is not trained for an accuracy: "
            f"there is nothing to search; choose one of {', '.join(known)}"
        )
    if app not in known:
        raise ConfigError(f"app={app}: there is no such application; choose {', '.join(known)}")
    path = Path(keys["ranges"]) if "ranges" in keys else ranges.FOLDER / f"{app}.yaml"
    shown = path.relative_to(CONF.parent) if path.is_relative_to(CONF) else path
    try:
        return ranges.load(app, path, overrides, trials_of(keys))
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(path), str(shown))) from error


def trials_of(keys: Mapping[str, str]) -> int | None:
    """Return how many trials are asked for; None where it is not said."""
    text = keys.get("trials")
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"trials should be a whole number, 1 or more (given trials={text})")
    return int(text)


def begun(folder: Path, keys: Mapping[str, str], overrides: list[str]) -> Search:
    """Return what the study in a folder searches; whatever is said beside must be the same.

    Raises:
        ConfigError: there is no study, or it began with something else.
    """
    path = folder / SEARCH
    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(path))
        before = ranges.validated(values)
    except FileNotFoundError:
        raise ConfigError(f"{folder} is not the folder of a study: it has no {SEARCH}") from None
    except Exception as error:  # whatever YAML and OmegaConf have for a damaged file
        raise ConfigError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    trials = trials_of(keys) or before.trials
    if overrides or {"app", "ranges"} & keys.keys():
        now = asked({"app": before.app, **keys}, overrides)
        old, new = (flat(one.model_dump()) for one in (before, now))
        if differing := resume.differences(old | {"trials": 0}, new | {"trials": 0}):
            raise ConfigError(f"{folder} cannot go on with another search: {differing}")
    return before.model_copy(update={"trials": trials})


def refuse_unknown(search: Search) -> None:
    """Refuse overrides and ranges that the application would not take."""
    reserved = {word.partition("=")[0] for word in search.overrides} & {"hydra.run.dir", "run_dir"}
    if reserved:
        raise ConfigError(f"{reserved.pop()}: each trial has a folder of its own; give out=FOLDER")
    ranges.refuse_foreign(search, schema_of(search.app))


def schema_of(app: str) -> type[AppConfig]:
    """Return what an application's configuration must be."""
    schema: type[AppConfig] = importlib.import_module(f"apps.{app}.config").Config
    return schema


def new_folder(out: str | None, app: str) -> Path:
    """Return the folder of a new study, made.

    Raises:
        ConfigError: it is there already, or cannot be made.
    """
    path = Path(out or f"outputs/{app}/sweep_{datetime.now():%Y-%m-%d_%H-%M-%S}")
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise ConfigError(
            f"{path} is there already: go on with resume={path}, or choose another with out=FOLDER"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}; give out=FOLDER") from error
    return path


def locked(folder: Path) -> int:
    """Return the lock on a study's folder, which no other process then has."""
    try:
        return lock_folder(folder)
    except BlockingIOError:
        raise ConfigError(f"{folder}: this study is still going on, in another process") from None


def refuse_left_behind(folder: Path) -> None:
    """Refuse to go on beside a training that a killed study has left behind.

    Raises:
        ConfigError: there is one.
    """
    from tools.sweep.record import RUNS

    for place in sorted((folder / RUNS).glob("*/")):
        if resume.is_locked(place):
            raise ConfigError(
                f"{place}: its training still goes on, though its study was killed; wait for its "
                "end or stop it"
            )


def searched(folder: Path, search: Search, new: bool) -> int:
    """Run the trials that are left, write what came of all; return the exit status."""
    from tools.sweep import record
    from tools.sweep.study import Study

    study = Study(folder, search, new)
    print(
        f"{search.app}: {search.trials} trials for the {record.aim(search)}, over "
        f"{', '.join(search.ranges)}\nfolder: {folder}",
        flush=True,
    )
    trainings = Trainings(folder, search)
    try:
        for _ in range(study.ended(), search.trials):
            trial = study.run(trainings.run)
            record.write(folder, search, study.trials(), study.best())
            print(record.line(search, trial), flush=True)
    finally:
        record.write(folder, search, study.trials(), study.best())
        draw(folder, search, study)
    tell(folder, search, study)
    return 0 if study.best() else trainings.exit_status


class Trainings:
    """Trains for the trials of a study.

    Attributes:
        exit_status: that of the last training.
    """

    def __init__(self, folder: Path, search: Search) -> None:
        self.exit_status = SuiteError.status
        self._folder, self._search = folder, search

    def run(self, trial: "Trial", report: Callable[[int, float], bool]) -> tuple[str, str]:
        """Train with the values of a trial; return how that ended and a note.

        Args:
            trial: which one.
            report: takes an epoch and its value; returns whether to stop there.

        Raises:
            DataError: the data cannot be had: not by any other trial either.
        """
        from tools.sweep import record
        from tools.sweep.trial import Row, follow

        search, place = self._search, self._folder / record.run(trial)
        print(f"trial {trial.number}: {record.readable(trial)}", flush=True)
        words = [*search.overrides, *trial.words]
        trainer = config_from_overrides(search.app, schema_of(search.app), words).trainer
        found = False

        def stop_after(row: Row) -> bool:
            nonlocal found
            if search.objective not in row:
                return False
            found, epoch = True, int(row["epoch"])
            worse = report(epoch, row[search.objective])
            # max_steps may end any epoch, and after the last there is nothing to save
            return worse and trainer.max_steps is None and epoch < trainer.epochs

        place.parent.mkdir(exist_ok=True)
        end = follow(
            [sys.executable, "-m", f"apps.{search.app}", *words, f"hydra.run.dir={hydra_text(str(place))}"],
            place,
            place.with_suffix(".txt"),
            stop_after,
        )
        if end.exit_status is None:
            return "pruned", ""
        self.exit_status = end.exit_status if end.exit_status >= 0 else SuiteError.status
        match end.exit_status:
            case DataError.status:
                raise DataError(end.last_line.removeprefix("error: "))
            case TrainingDiverged.status:
                return "diverged", end.last_line
            case 0 if found:
                return "done", ""
            case 0:
                return "failed", f"history.csv has no {search.objective}"
        return "failed", f"exit status {end.exit_status}: {end.last_line}"


def draw(folder: Path, search: Search, study: "Study") -> None:
    """Write study.png, where a trial has ended."""
    if not study.ended():
        return
    from tools.sweep.picture import draw  # matplotlib takes a second to import
    from tools.sweep.record import counted

    trials = study.trials()
    title = f"{search.app}: {counted(trials)}"
    write_result(folder / "study.png", draw(search, trials, study.best(), title))


def tell(folder: Path, search: Search, study: "Study") -> None:
    """Say which values were the best, what their score is worth, and how to train with them."""
    from tools.sweep import record

    print(f"\n{record.counted(study.trials())}; {folder}/study.png, study.csv, study.json")
    best = study.best()
    if best is None:
        print(f"no trial has ended well: see {folder / record.RUNS}/*.txt")
        return
    place = folder / record.run(best)
    data = read_metrics(place)
    stand_in = " (embedded sample)" if data["embedded"] else ""
    print(
        f"best: trial {best.number}, {record.objective(search)} "
        f"{record.shown(search, best.value)} on {data['dataset']}{stand_in}: "
        f"{record.readable(best)}\n"
        "This score is optimistic: it is the best of all trials on the same examples. What the\n"
        "values are worth, the test set says, which has decided nothing here; train with them:\n"
        f"{rerun_command(read_values(place))}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
