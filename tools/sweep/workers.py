"""The workers of a study: each runs one trial after the other until all trials have ended."""

import contextlib
import multiprocessing
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from shared import console
from shared.errors import INTERRUPTED_STATUS, SuiteError
from tools.sweep import results
from tools.sweep.search import Search
from tools.sweep.storage import Store
from tools.sweep.study import Study
from tools.sweep.trial import TrialTrainer

IDLE = 1.0  # seconds between two looks at the trials of other workers
MOST_KILLS = 100  # of workers, after which no other is started


def run_trials(study: Study, jobs: int) -> int:
    """Run trials in this process until all have ended; return the exit status of the last training."""
    parent, waits = multiprocessing.parent_process(), False

    def tick() -> None:
        if parent is not None and not parent.is_alive():  # it was killed
            raise KeyboardInterrupt
        study.beat()

    trainer = TrialTrainer(study.folder, study.search, jobs, tick)
    while True:
        if trial := study.run(trainer.train):
            results.write_tables(study)
            number = f"trial {trial.number}: " if jobs > 1 else "  "
            print(f"{number}{results.trial_line(study.search, trial)}", flush=True)
        elif not (others := study.count_unfinished()):
            return trainer.exit_status
        else:
            if jobs == 1 and not waits:
                print(f"waiting for trials of other workers: {others}", flush=True)
            waits = True
            study.requeue_silent()
            tick()
            time.sleep(IDLE)


@dataclass
class Worker:
    """A process that runs trials.

    Attributes:
        name: of the worker, in the study.
        process: the process.
        result: receives the exit status of its last training, or the error that it ended with.
    """

    name: str
    process: SpawnProcess
    result: Connection


def run_workers(study: Study, jobs: int, shared: Store | None) -> int:
    """Run the trials in `jobs` processes, and start another for each that is killed.

    Returns:
        The exit status of the last training of a worker.

    Raises:
        SuiteError: that of a worker; or too many were killed.
        KeyboardInterrupt: after all have stopped.
    """
    workers = [_start(study, jobs, shared) for _ in range(jobs)]
    kills, exit_status = 0, SuiteError.status
    try:
        while workers:
            wait([one.process.sentinel for one in workers])
            for one in [one for one in workers if one.process.exitcode is not None]:
                workers.remove(one)
                with contextlib.suppress(EOFError):
                    result = one.result.recv()
                    if isinstance(result, SuiteError):
                        raise result
                    exit_status = result
                    continue
                if one.process.exitcode == SuiteError.status:  # a defect, with its traceback
                    raise SuiteError("a worker failed: see above")
                study.requeue(one.name)
                kills += 1
                if kills > MOST_KILLS:
                    raise SuiteError(f"{kills} workers were killed; see dmesg for a lack of memory")
                print("a worker was killed; another one takes its place", file=sys.stderr, flush=True)
                workers.append(_start(study, jobs, shared))
    finally:
        with _ctrl_c_ignored():
            for one in workers:
                one.process.terminate()
            for one in workers:
                one.process.join()
    return exit_status


def _start(study: Study, jobs: int, shared: Store | None) -> Worker:
    """Start a worker. What it must know goes through a pipe, not to its command line."""
    context, name = multiprocessing.get_context("spawn"), uuid.uuid4().hex
    result, sender = context.Pipe(duplex=False)
    arguments = (study.folder, study.search, shared and shared.text, name, jobs, sender)
    process = context.Process(target=_work, args=arguments)
    with _ctrl_c_ignored():  # also by the worker, which the terminal would interrupt as well
        process.start()
    sender.close()
    return Worker(name, process, result)


def _work(folder: Path, search: Search, shared: str | None, name: str, jobs: int, result: Connection) -> None:
    """Run trials in a process of its own."""
    console.treat_kills_as_ctrl_c()
    try:
        store = Store(shared) if shared else None
        result.send(run_trials(Study(folder, search, new=False, shared=store, worker=name), jobs))
    except SuiteError as error:
        result.send(error)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
