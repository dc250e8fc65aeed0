"""What surrounds the steps of a training run: resuming, checkpoints, Ctrl-C, history, progress."""

import dataclasses
import functools
import hashlib
import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
import safetensors.numpy

from shared import distributed
from shared.config import AppConfig
from shared.errors import ConfigError, Interrupted, LostProcess, TrainingDiverged
from shared.files import relative_path
from shared.runs.folder import WEIGHTS, RunFolder
from shared.runs.progress import TrainingProgress
from shared.training.schedule import Plan

if TYPE_CHECKING:
    from shared.training.checkpoint import Checkpoints
    from shared.training.early_stopping import EarlyStopping
    from shared.training.loop import Evaluation, Learner


@dataclasses.dataclass
class EpochTotals:
    """Sums over the `count` examples seen in an unfinished epoch, and its start in seconds."""

    loss: float = 0.0
    correct: int = 0
    count: int = 0
    start: float = dataclasses.field(default_factory=time.perf_counter)

    def add(self, loss: float, correct: int, count: int) -> None:
        """Add a batch, given its mean loss, number of correct predictions and size."""
        self.loss += loss * count
        self.correct += correct
        self.count += count

    def means(self) -> dict[str, float]:
        """Return mean loss and accuracy, by their columns in history.csv; NaN before the first batch."""
        count = self.count or math.nan
        return {"train_loss": self.loss / count, "train_accuracy": self.correct / count}


class RunState:
    """A context manager around the steps of a training run.

    A resumed run continues after the last step of its checkpoint. Checkpoints are written every
    `trainer.checkpoint_seconds`. On Ctrl-C (or SIGTERM or SIGHUP) the step is finished, a checkpoint
    and the weights are written, and `Interrupted` is raised; a second Ctrl-C stops at once. Of
    several processes, all stop after the same step, and rank 0 writes.

    Args:
        learner: the network that is trained.
        run: the run folder; its `metrics` hold the numbers of finished epochs and steps.
        plan: batches and learning rates.
        config: the configuration of the run.
        quiet: whether to print no progress.
    """

    def __init__(
        self, learner: "Learner", run: RunFolder, plan: Plan, config: AppConfig, quiet: bool = False
    ) -> None:
        self._learner, self._run, self._plan, self._config, self._quiet = learner, run, plan, config, quiet
        self._totals = EpochTotals()
        self._epoch, self._lr, self._batch_size = 0, 0.0, 0
        self._unread: list[tuple[int, float, Any, Any, int]] = []  # steps whose loss has not been read
        self._interrupted = False  # Ctrl-C was pressed during a step
        self._all_stopped = False  # all processes have stopped after the same step
        self._may_stop = False  # the state is that after a whole step: Ctrl-C need not wait
        self._handlers: dict[int, Any] = {}  # what handled these signals before
        self._last_checkpoint = time.monotonic()

    def __enter__(self) -> Self:
        if distributed.world_size() > 1:
            from shared.training.checkpoint import refuse_different_ranks

            refuse_different_ranks(self._config, self._run)
        self._run.metrics |= {"epochs": 0, "steps": 0, "train_seconds": 0.0}
        if self._run.resumed:
            self._restore()
        self._progress = TrainingProgress(
            self._config.trainer.epochs, self._plan.total_steps, self._run.metrics["steps"], self._quiet
        )
        self._progress.bar.start()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.default_int_handler:  # see shared/console.py
                    self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Write steps.csv however training ends, and on Ctrl-C a checkpoint and the weights."""
        if error is None:
            self._may_stop = True
            self._run.on_interrupt = self._save
        self._progress.bar.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if isinstance(error, LostProcess):
            error.noticed = self._interrupted
        if isinstance(error, KeyboardInterrupt) or (error is None and self._interrupted):
            self._save_after_ctrl_c()
        self._run.write_rows("steps.csv")
        if isinstance(error, TrainingDiverged) and self._may_stop:  # in validation, which knows no step
            raise self._diverged(str(error)) from error
        if error is None and self._run.resumed:
            self._run.remove(WEIGHTS)  # those of the interruption

    def epochs(self) -> Iterable[int]:
        """Return the numbers of the epochs to train, from 1; `trainer.patience` may end them early."""
        planned = range(self._run.metrics["epochs"] + 1, self._plan.epochs + 1)
        return self._early_stopping.epochs(planned) if self._early_stopping else planned

    def steps(self, epoch: int) -> Iterator[tuple[Any, float]]:
        """Yield (batch on the device, learning rate) of the steps to take in an epoch."""
        self._epoch = epoch
        steps = self._plan.steps(epoch, done=self._run.metrics["steps"])
        batches = self._learner.start_epoch([batch for batch, _ in steps])
        for (indices, lr), batch in zip(steps, batches, strict=True):
            self._lr, self._batch_size = lr, len(indices)
            yield batch, lr
        self._read_losses()
        self._stop_if_interrupted()
        self._may_stop = True  # validation does not change the state

    def log_step(self, loss: Any, correct: Any) -> None:
        """Record a step: the batch's mean loss and its number of correct predictions.

        A checkpoint is written when one is due. The losses of a GPU are read then and at the end of
        the epoch, because reading one would wait for the step.

        Raises:
            TrainingDiverged: the loss is not finite.
            KeyboardInterrupt: Ctrl-C was pressed during the step.
        """
        number = self._run.metrics["steps"] = self._run.metrics["steps"] + 1
        self._unread.append((number, self._lr, loss, correct, self._batch_size))
        if not self._learner.asynchronous:
            self._read_losses()
        means = self._totals.means()
        self._progress.step(self._epoch, means["train_loss"], means["train_accuracy"])
        if distributed.any_rank(self._interrupted):
            self._interrupted = self._all_stopped = True
        self._stop_if_interrupted()
        seconds = self._config.trainer.checkpoint_seconds
        if seconds is not None and time.monotonic() - self._last_checkpoint >= seconds:
            self._read_losses()
            self.write_checkpoint()

    def log_epoch(self, validation: "Evaluation | None", train: "Evaluation | None" = None) -> None:
        """Record the end of an epoch; `train` replaces the training scores of its steps."""
        self._may_stop = False
        row = {"epoch": self._epoch} | self._totals.means()
        if train is not None:
            row |= {"train_loss": train.loss, "train_accuracy": train.accuracy}
        if validation is not None:
            row |= {"validation_loss": validation.loss, "validation_accuracy": validation.accuracy}
        row["seconds"] = time.perf_counter() - self._totals.start
        self._run.metrics["epochs"] = self._epoch
        self._run.metrics["train_seconds"] += row["seconds"]
        self._run.add_row("history.csv", row)
        self._run.write_rows("history.csv")
        self._totals = EpochTotals()
        self._progress.epoch(row)

    def write_checkpoint(self) -> None:
        """Write a checkpoint of the state after the last step."""
        self._checkpoints.write(self._early_stopping or self._learner, self._totals)
        self._last_checkpoint = time.monotonic()

    @functools.cached_property
    def _checkpoints(self) -> "Checkpoints":
        from shared.training.checkpoint import Checkpoints  # not imported by a short run

        return Checkpoints(self._run, self._config)

    @functools.cached_property
    def _early_stopping(self) -> "EarlyStopping | None":
        if (patience := self._config.trainer.patience) is None:
            return None
        from shared.training.early_stopping import EarlyStopping

        return EarlyStopping(self._learner, self._run, patience)

    def _restore(self) -> None:
        """Continue from the last checkpoint, if there is one, and say so."""
        if totals := self._checkpoints.restore(self._early_stopping or self._learner):
            self._totals = totals
            done, total = self._run.metrics["steps"], self._plan.total_steps
            print(f"resuming after step {done:,} of {total:,}", flush=True)
        else:
            print("there is no checkpoint yet: starting from the first step", flush=True)

    def _read_losses(self) -> None:
        """Add the losses that have not been read to steps.csv and the totals of the epoch."""
        for number, lr, loss, correct, count in self._unread:
            mean = float(loss)
            self._run.add_row("steps.csv", {"step": number, "epoch": self._epoch, "lr": lr, "loss": mean})
            if not math.isfinite(mean):
                raise self._diverged(f"the loss is {mean}")
            self._totals.add(mean, int(correct), count)
        self._unread.clear()

    def _diverged(self, message: str) -> TrainingDiverged:
        last = self._run.rows("steps.csv")[-1]
        return TrainingDiverged(
            f"{message} at step {last['step']} (epoch {last['epoch']}), where the learning rate is "
            f"{last['lr']:.3g}; try a smaller optimizer.lr"
        )

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Let the step finish on Ctrl-C; a second one does not wait."""
        if self._may_stop or self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def _stop_if_interrupted(self) -> None:
        if self._interrupted:
            self._may_stop = True
            raise KeyboardInterrupt

    def _save(self) -> None:
        self.write_checkpoint()
        save_weights(self._learner, self._run)

    def _save_after_ctrl_c(self) -> NoReturn:
        """Save what the last whole step has reached, and say where."""
        try:
            try:
                self._read_losses()
                if self._may_stop:
                    self.write_checkpoint()
                save_weights(self._learner, self._run)
            finally:
                self._run.write_rows("steps.csv")
        except ConfigError as error:
            raise Interrupted(f"not everything could be written: {error}") from error
        if self._all_stopped:  # wait: torchrun kills the others when one has ended
            distributed.broadcast_from_rank0(lambda: None)
        steps, weights = self._run.metrics["steps"], relative_path(self._run.path / WEIGHTS)
        raise Interrupted(f"after step {steps}; the weights so far are in {weights}")


def save_weights(learner: "Learner", run: RunFolder) -> None:
    """Write weights.safetensors, which cannot run code when it is read, and note its digest."""
    # safetensors writes the bytes as they lie in memory: channels-last weights must be copied.
    weights = {name: np.array(weight, order="C") for name, weight in learner.weights().items()}
    content = safetensors.numpy.save(weights)
    run.write(WEIGHTS, content)
    run.metrics["weights_sha256"] = hashlib.sha256(content).hexdigest()
