"""A study: Optuna proposes values and learns from what they reach.

The sampler of each trial is seeded with the study's seed and the trial's number. So a study with one
worker that was interrupted and resumed proposes what it would have proposed otherwise. A trial that
was cut short keeps its number and its values, and waits for the next worker.

Workers on several machines may share a study. Each says every `BEAT` seconds that its trial goes on; one
that has been silent for `SILENCE` seconds is dead, and its trial goes to another worker.
"""

import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from shared.errors import ConfigError
from shared.nested import flat
from shared.runs.repeat import hydra_text
from shared.runs.resume import differences
from tools.sweep.search import Choice, Integer, LogUniform, Range, Search
from tools.sweep.storage import FIRST_PATIENCE, LAST_PATIENCE, Store

STORE = "study.db"
CUT_SHORT = "cut short"  # status of a trial that an earlier version did not resume
UNFINISHED = {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}
STATES = {
    "done": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,  # without a value it is the worst, and the sampler avoids it
    "failed": TrialState.FAIL,
}
KILLED = "killed"  # an outcome: the trial is tried again
ATTEMPTS = 5  # to train for a trial whose training or worker is killed each time
BEAT, SILENCE = 10.0, 60.0  # seconds
ANY = object()  # whichever beat a trial had last
Report = Callable[[int, float], bool]  # takes an epoch and its value; returns whether to prune
Outcome = tuple[str, str, int | None]  # status, note, and the epoch whose value counts if it is done


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: from 0.
        status: done, pruned, diverged, failed, running, waiting, or `CUT_SHORT`.
        value: the objective after the epoch whose weights the run keeps, the last one unless
            `trainer.patience` restored another; None if no epoch ended.
        epochs: how many ended.
        seconds: duration, since it was last started; None if it has not ended.
        params: the values by dotted key; those of a choice as on the command line.
        run: the run folder, relative to the folder of the study on the machine that ran it.
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
    """A study, as one worker sees it.

    Args:
        folder: the folder of the study on this machine.
        search: what is searched.
        new: whether to create the study; a shared one that exists already is joined.
        shared: the storage that several machines share; None: a file in the folder.
        worker: a name for a further worker of a study that is open already.

    Raises:
        ConfigError: the storage is missing or damaged, cannot be written, does not answer, or holds
            another search of this name.
    """

    def __init__(
        self, folder: Path, search: Search, new: bool, shared: Store | None = None, worker: str | None = None
    ) -> None:
        self.folder, self.search = folder, search
        self._worker, self._first, self._shared = (
            worker or uuid.uuid4().hex,
            worker is None,
            shared is not None,
        )
        if shared is None and not new and not (folder / STORE).exists():
            raise ConfigError(
                f"{folder} has no {STORE}; give the storage=URL that the study was started with"
            )
        self._store = shared or Store(f"sqlite:///{(folder / STORE).absolute()}")
        self._trial_id: int | None = None  # of the trial that this worker runs
        self._last_beat = 0.0
        self._silent: dict[int, tuple[Any, float]] = {}  # the last beat of running trials, and when it came
        self._last_look = 0.0
        self._study = self._store.retry(lambda: self._open(new), FIRST_PATIENCE)

    def _open(self, new: bool) -> optuna.Study:
        search, name = self.search, self.search.study or self.search.app
        with self._store.lock():
            storage = self._storage = self._store.connect()
            if new:
                optuna.create_study(
                    storage=storage, study_name=name, direction=search.direction, load_if_exists=self._shared
                )
            pruner = optuna.pruners.MedianPruner(search.startup_trials, search.warmup_epochs)
            study = optuna.load_study(storage=storage, study_name=name, pruner=pruner)
            if self._shared:
                own = search.model_dump(mode="json", exclude={"trials"})
                if (theirs := study.user_attrs.get("search")) is None:
                    study.set_user_attr("search", own)
                elif differing := differences(flat(theirs), flat(own)):
                    advice = "give another name with study=NAME"
                    raise ConfigError(f"{self._store.name} has another study {name}: {differing}; {advice}")
            elif self._first:  # the folder is locked: they are of a killed study
                for one in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                    storage.set_trial_state_values(one._trial_id, TrialState.WAITING)
        return study

    def trials(self) -> list[Trial]:
        """Return all trials, in their order."""
        return [
            _from_optuna(one) for one in self._store.retry(lambda: self._study.get_trials(deepcopy=False))
        ]

    def best(self) -> Trial | None:
        """Return the best trial that is done; None if there is none."""
        done = [trial for trial in self.trials() if trial.status == "done" and trial.value is not None]
        pick = max if self.search.maximizes else min
        return pick(done, key=lambda trial: trial.value or 0.0) if done else None

    def count_finished(self) -> int:
        """Return the number of trials that have ended."""
        return sum(trial.status in STATES for trial in self.trials())

    def count_unfinished(self) -> int:
        """Return the number of trials that any worker runs, or has to run again."""
        return sum(trial.status in UNFINISHED.values() for trial in self.trials())

    def run(self, train: Callable[[Trial, Report], Outcome]) -> Trial | None:
        """Start a trial, train with its values, and store what came of it.

        `train` takes the trial and a function to report its epochs; it returns status, note and, if it
        is done, the epoch that counts.

        Returns:
            The trial; None if no trial is left to start. Other workers may still run some.
        """
        trial = self._store.retry(self._start)
        if trial is None:
            return None
        trial_id = self._trial_id = trial._trial_id
        self._last_beat = time.monotonic()
        reported = self._store.retry(lambda: self._storage.get_trial(trial_id)).intermediate_values
        values: dict[int, float] = {}

        def report(epoch: int, value: float) -> bool:
            values[epoch] = value
            if epoch not in reported:  # before its worker was killed
                self._update(lambda: trial.report(value, epoch))
            return self._store.retry(trial.should_prune)

        try:
            status, note, epoch = train(self.trials()[trial.number], report)
        except BaseException:
            with contextlib.suppress(ConfigError):  # the first error is the one to report
                self._store.retry(lambda: self._requeue(self._worker, interrupted=True), FIRST_PATIENCE)
            raise
        finally:
            self._trial_id = None
        if status == KILLED:
            self._store.retry(lambda: trial.set_user_attr("note", note))
            self.requeue(self._worker)
        else:
            value = None if epoch is None else values[epoch]
            self._store.retry(lambda: self._finish(trial_id, status, note, value))
        return self.trials()[trial.number]

    def hurry(self) -> None:
        """From now on, wait only briefly for a storage that does not answer."""
        self._store.patience = LAST_PATIENCE

    def beat(self) -> None:
        """If it is time to, say that the trial goes on, and look for workers that do not say it."""
        if self._shared and self._trial_id is not None and time.monotonic() - self._last_beat > BEAT:
            trial_id, beat = self._trial_id, uuid.uuid4().hex
            self._update(lambda: self._storage.set_trial_user_attr(trial_id, "beat", beat))
            self._last_beat = time.monotonic()
            self.requeue_silent()

    def _update(self, action: Callable[[], None]) -> None:
        """Change a trial, unless this worker was thought dead, and its successor has ended the trial."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self._store.retry(action)

    def requeue(self, worker: str) -> None:
        """Let another worker continue the trial of a worker that was killed."""
        self._store.retry(lambda: self._requeue(worker))

    def requeue_silent(self) -> None:
        """Let another worker continue the trials of workers that have been silent for `SILENCE` seconds.

        The clocks of several machines may differ: only the time between two looks counts.
        """
        now = time.monotonic()
        if now - self._last_look > 2 * BEAT:  # the storage, or this worker, has been silent itself
            self._silent.clear()
        self._last_look = now
        for one in self._store.retry(lambda: self._study.get_trials(False, (TrialState.RUNNING,))):
            beat = one.user_attrs.get("beat"), one.user_attrs.get("worker"), one.datetime_start
            if self._silent.get(one.number, (None, 0.0))[0] != beat:
                self._silent[one.number] = beat, now
            elif self._shared and now - self._silent[one.number][1] > SILENCE:
                self._store.retry(lambda beat=beat: self._requeue(beat[1], beat=beat[0]))  # type: ignore[misc]

    def _start(self) -> optuna.Trial | None:
        """Start the next trial that waits, or propose a new one; None if there are enough."""
        with self._store.lock():
            for one in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if one.user_attrs.get("worker") in (None, "", self._worker):  # its start was cut short
                    self._storage.set_trial_state_values(one._trial_id, TrialState.WAITING)
            while True:
                trials = self._study.get_trials(deepcopy=False)
                waiting = [one.number for one in trials if one.state == TrialState.WAITING]
                statuses = [_from_optuna(one).status for one in trials]
                if not waiting and len(trials) - statuses.count(CUT_SHORT) >= self.search.trials:
                    return None
                number = waiting[0] if waiting else len(trials)
                index = number - statuses[:number].count(CUT_SHORT)
                seeds = np.random.SeedSequence([self.search.seed, index]).generate_state(1)
                self._study.sampler = optuna.samplers.TPESampler(
                    seed=int(seeds[0]), n_startup_trials=self.search.startup_trials
                )
                trial = self._study.ask({key: _distribution(one) for key, one in self.search.ranges.items()})
                attempts = trial.user_attrs.get("attempts", 0)
                trial.set_user_attr("worker", self._worker)
                if attempts < ATTEMPTS:
                    trial.set_user_attr("attempts", attempts + 1)
                    return trial
                self._tell(trial._trial_id, "failed", f"killed {attempts} times", None)

    def _finish(self, trial_id: int, status: str, note: str, value: float | None) -> None:
        with self._store.lock():
            one = self._storage.get_trial(trial_id)
            # Not if it has been stored already, or if this worker was thought dead and has a successor.
            if one.state == TrialState.RUNNING and one.user_attrs.get("worker") == self._worker:
                self._tell(trial_id, status, note, value)

    def _tell(self, trial_id: int, status: str, note: str, value: float | None) -> None:
        self._storage.set_trial_user_attr(trial_id, "status", status)
        self._storage.set_trial_user_attr(trial_id, "note", note)
        number = self._storage.get_trial(trial_id).number
        self._study.tell(number, value, STATES[status])

    def _requeue(self, worker: str | None, interrupted: bool = False, beat: Any = ANY) -> None:
        with self._store.lock():
            for one in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                attributes = one.user_attrs
                if attributes.get("worker") == worker and beat in (ANY, attributes.get("beat")):
                    if interrupted:
                        attempts = attributes.get("attempts", 1) - 1
                        self._storage.set_trial_user_attr(one._trial_id, "attempts", attempts)
                    self._storage.set_trial_user_attr(one._trial_id, "worker", "")
                    self._storage.set_trial_state_values(one._trial_id, TrialState.WAITING)


def _distribution(one: Range) -> BaseDistribution:
    if isinstance(one, Choice):
        return CategoricalDistribution([hydra_text(value) for value in one.values])
    if isinstance(one, Integer):
        return IntDistribution(one.low, one.high)
    return FloatDistribution(one.low, one.high, log=isinstance(one, LogUniform))


def _from_optuna(one: FrozenTrial) -> Trial:
    """Return a trial of the storage."""
    status = one.user_attrs.get("status", CUT_SHORT)
    if STATES.get(status) != one.state:  # its worker was killed before both were stored
        status = UNFINISHED.get(one.state, CUT_SHORT)
    values = one.intermediate_values
    return Trial(
        number=one.number,
        status=status,
        value=values[max(values)] if one.value is None and values else one.value,
        epochs=len(values),
        seconds=one.duration.total_seconds() if one.duration and status in STATES else None,
        params=dict(one.params),
        run=f"trials/{one.number}",
        note=str(one.user_attrs.get("note", "")),
    )
