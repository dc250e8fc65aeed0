"""A study: Optuna proposes values and learns from what they reach. It is stored in FOLDER/study.db.

The sampler of each trial is seeded with the study's seed and the number of trials that have ended
before. So a study that was interrupted and resumed proposes what it would have proposed otherwise:
the trial that was cut short is ignored, and proposed again.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from shared.errors import ConfigError
from shared.runs.repeat import hydra_text
from shared.sqlite import check_database
from tools.sweep.search import Choice, Integer, LogUniform, Range, Search

STORE = "study.db"
CUT_SHORT = "cut short"  # status of a trial whose study was interrupted or killed
STATES = {
    "done": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,  # without a value it is the worst, and the sampler avoids it
    "failed": TrialState.FAIL,
}
Report = Callable[[int, float], bool]  # takes an epoch and its value; returns whether to prune
Outcome = tuple[str, str, int | None]  # status, note, and the epoch whose value counts if it is done

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: from 0.
        status: done, pruned, diverged, failed, or `CUT_SHORT`.
        value: the objective after the epoch whose weights the run keeps, the last one unless
            `trainer.patience` restored another; None if no epoch ended.
        epochs: how many ended.
        seconds: duration; None if it was cut short.
        params: the values by dotted key; those of a choice as on the command line.
        run: the run folder, relative to the folder of the study.
        note: why it failed.
    """

    number: int
    status: str
    value: float | None
    epochs: int
    seconds: float | None
    params: dict[str, Any]
    run: str
    note: str

    @property
    def overrides(self) -> list[str]:
        """KEY=VALUE of each range."""
        return [f"{key}={v if isinstance(v, str) else hydra_text(v)}" for key, v in self.params.items()]


class Study:
    """The study in a folder, which `new` creates.

    Raises:
        ConfigError: the store is missing or damaged, or cannot be written.
    """

    def __init__(self, folder: Path, search: Search, new: bool) -> None:
        self.folder, self._path = folder, folder / STORE
        self.search = search
        pruner = optuna.pruners.MedianPruner(search.startup_trials, search.warmup_epochs)
        if not new and not self._path.exists():
            raise ConfigError(f"{folder} has no study: {STORE} is missing")
        check_database(self._path)
        with self._store_errors():
            storage = optuna.storages.RDBStorage(f"sqlite:///{self._path.absolute()}")
            if new:
                optuna.create_study(storage=storage, study_name=search.app, direction=search.direction)
            self._study = optuna.load_study(storage=storage, study_name=search.app, pruner=pruner)
            for one in self._study.get_trials(states=(TrialState.RUNNING,)):  # of a killed study
                self._study.tell(one.number, state=TrialState.FAIL)

    def trials(self) -> list[Trial]:
        """Return all trials, in their order."""
        with self._store_errors():
            return [_from_optuna(one) for one in self._study.get_trials()]

    def best(self) -> Trial | None:
        """Return the best trial that is done; None if there is none."""
        done = [trial for trial in self.trials() if trial.status == "done" and trial.value is not None]
        pick = max if self.search.maximizes else min
        return pick(done, key=lambda trial: trial.value or 0.0) if done else None

    def count_finished(self) -> int:
        """Return the number of trials that were not cut short."""
        return sum(trial.status != CUT_SHORT for trial in self.trials())

    def run(self, train: Callable[[Trial, Report], Outcome]) -> Trial:
        """Propose values, train with them, store and return what came of it.

        `train` takes the trial and a function to report its epochs; it returns status, note and, if it
        is done, the epoch that counts.
        """
        seeds = np.random.SeedSequence([self.search.seed, self.count_finished()]).generate_state(1)
        with self._store_errors():
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int(seeds[0]), n_startup_trials=self.search.startup_trials
            )
            trial = self._study.ask({key: _distribution(one) for key, one in self.search.ranges.items()})
        values: dict[int, float] = {}

        def report(epoch: int, value: float) -> bool:
            values[epoch] = value
            with self._store_errors():
                trial.report(value, epoch)
                return trial.should_prune()

        try:
            status, note, epoch = train(self.trials()[trial.number], report)
        except BaseException:
            with self._store_errors():
                self._study.tell(trial, state=TrialState.FAIL)
            raise
        with self._store_errors():
            trial.set_user_attr("status", status)
            trial.set_user_attr("note", note)
            self._study.tell(trial, None if epoch is None else values[epoch], STATES[status])
        return self.trials()[trial.number]

    @contextlib.contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Turn errors of the store into a message of one line."""
        try:
            yield
        except (optuna.exceptions.OptunaError, SQLAlchemyError, KeyError, RuntimeError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise ConfigError(f"{self._path} cannot be used as a study: {reason}") from error


def _distribution(one: Range) -> BaseDistribution:
    if isinstance(one, Choice):
        return CategoricalDistribution([hydra_text(value) for value in one.values])
    if isinstance(one, Integer):
        return IntDistribution(one.low, one.high)
    return FloatDistribution(one.low, one.high, log=isinstance(one, LogUniform))


def _from_optuna(one: FrozenTrial) -> Trial:
    """Return a trial of the store."""
    status = one.user_attrs.get("status", CUT_SHORT)
    if STATES.get(status) != one.state:  # the study was killed before both were stored
        status = CUT_SHORT
    values = one.intermediate_values
    return Trial(
        number=one.number,
        status=status,
        value=values[max(values)] if one.value is None and values else one.value,
        epochs=len(values),
        seconds=one.duration.total_seconds() if one.duration and status != CUT_SHORT else None,
        params=dict(one.params),
        run=f"trials/{one.number}",
        note=str(one.user_attrs.get("note", "")),
    )
