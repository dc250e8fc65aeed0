"""A study: Optuna proposes values and is told what they reached. Its store is RUN/study.db.

Each trial's sampler is seeded by the study's seed and by how many trials have ended before. So a
study that was interrupted and goes on proposes what it would have proposed without: the trial that
was cut short is ignored, and proposed again.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from shared.compose import hydra_text
from shared.errors import ConfigError
from shared.runs.database import check_database
from tools.sweep.ranges import Choice, LogUniform, Range, Search, Uniform

STORE = "study.db"
CUT_SHORT = "cut short"  # of a trial whose study was interrupted or killed
STATES = {
    "done": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,  # without a value, the worst: the sampler is to avoid it
    "failed": TrialState.FAIL,
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Trial:
    """What is known of one trial.

    Attributes:
        number: also the name of its run folder.
        status: done, pruned, diverged, failed, or `CUT_SHORT`.
        value: the objective after the last epoch; None where there was none.
        epochs: how many ended.
        seconds: from its start to its end; None where it was cut short.
        words: KEY=VALUE of each range.
        params: the values by dotted key; those of a choice as they are written.
        note: of one that failed, why.
    """

    number: int
    status: str
    value: float | None
    epochs: int
    seconds: float | None
    words: list[str]
    params: dict[str, Any]
    note: str


class Study:
    """The study in a folder.

    Args:
        folder: where its store is.
        search: what is searched.
        new: whether it begins now.

    Raises:
        ConfigError: the store is damaged, cannot be written, or holds no such study.
    """

    def __init__(self, folder: Path, search: Search, new: bool) -> None:
        self._path = folder / STORE
        self._search = search
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=search.startup_trials, n_warmup_steps=search.warmup_epochs
        )
        direction = StudyDirection.MAXIMIZE if search.maximizes else StudyDirection.MINIMIZE
        if not new and not self._path.exists():
            raise ConfigError(f"{folder} holds no study: it has no {STORE}")
        check_database(self._path)
        with self._stored():
            storage = optuna.storages.RDBStorage(f"sqlite:///{self._path.absolute()}")
            self._study = (
                optuna.create_study(
                    storage=storage, study_name=search.app, direction=direction, pruner=pruner
                )
                if new
                else optuna.load_study(storage=storage, study_name=search.app, pruner=pruner)
            )
            for one in self._study.get_trials(states=(TrialState.RUNNING,)):  # it was killed
                self._study.tell(one.number, state=TrialState.FAIL)

    def trials(self) -> list[Trial]:
        """Return all trials, in their order."""
        with self._stored():
            return [_read(one) for one in self._study.get_trials()]

    def best(self) -> Trial | None:
        """Return the best of those that are done; None where none is."""
        done = [one for one in self.trials() if one.status == "done" and one.value is not None]
        pick = max if self._search.maximizes else min
        return pick(done, key=lambda one: one.value or 0.0) if done else None

    def ended(self) -> int:
        """Return how many trials have ended by themselves, or were pruned."""
        return sum(one.status != CUT_SHORT for one in self.trials())

    def run(self, train: Callable[[Trial, Callable[[int, float], bool]], tuple[str, str]]) -> Trial:
        """Propose values, train with them, and note what came of it; return that.

        Args:
            train: takes the trial, and what takes an epoch and its value and says whether to stop
                there; returns the trial's status and a note.
        """
        seeds = np.random.SeedSequence([self._search.seed, self.ended()]).generate_state(1)
        with self._stored():
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int(seeds[0]), n_startup_trials=self._search.startup_trials
            )
            trial = self._study.ask()
            for key, one in self._search.ranges.items():
                _suggest(trial, key, one)
        values: dict[int, float] = {}

        def report(epoch: int, value: float) -> bool:
            values[epoch] = value
            with self._stored():
                trial.report(value, epoch)
                return trial.should_prune()

        try:
            status, note = train(self._trial(trial.number), report)
        except BaseException:
            with self._stored():
                self._study.tell(trial, state=TrialState.FAIL)
            raise
        with self._stored():
            trial.set_user_attr("status", status)
            trial.set_user_attr("note", note)
            last = values[max(values)] if status == "done" else None
            self._study.tell(trial, last, STATES[status])
        return self._trial(trial.number)

    def _trial(self, number: int) -> Trial:
        return self.trials()[number]

    @contextlib.contextmanager
    def _stored(self) -> Iterator[None]:
        """Say in a line or two what is wrong with the store."""
        try:
            yield
        except (optuna.exceptions.OptunaError, SQLAlchemyError, KeyError, RuntimeError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise ConfigError(f"{self._path} cannot be used as a study: {reason}") from error


def _suggest(trial: optuna.Trial, key: str, one: Range) -> None:
    """Let Optuna propose a value of a range."""
    if isinstance(one, Choice):
        trial.suggest_categorical(key, [hydra_text(value) for value in one.values])
    elif isinstance(one, LogUniform | Uniform):
        trial.suggest_float(key, one.low, one.high, log=isinstance(one, LogUniform))
    else:
        trial.suggest_int(key, one.low, one.high)


def _read(one: FrozenTrial) -> Trial:
    """Return what is known of a trial in the store."""
    attributes: Mapping[str, Any] = one.user_attrs
    status = attributes.get("status", CUT_SHORT)
    if STATES.get(status) != one.state:  # the study was killed before both were noted
        status = CUT_SHORT
    values = one.intermediate_values
    length = one.duration.total_seconds() if one.duration else None
    return Trial(
        number=one.number,
        status=status,
        value=values[max(values)] if values else None,
        epochs=len(values),
        seconds=None if status == CUT_SHORT else length,
        words=[
            f"{key}={value if isinstance(value, str) else hydra_text(value)}"
            for key, value in one.params.items()
        ],
        params=dict(one.params),
        note=str(attributes.get("note", "")),
    )
