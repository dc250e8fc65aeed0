"""Early stopping: training ends when the validation loss stops falling, and the best weights are restored."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import distributed
from shared.runs.folder import RunFolder
from shared.training.checkpoint import Arrays, strip_prefix
from shared.training.loop import Learner


class EarlyStopping:
    """Ends training after `patience` epochs without a lower validation loss.

    Goodfellow et al. 2016, Deep Learning, algorithm 7.1.

    Args:
        learner: the network that is trained.
        run: the run folder; its history.csv holds the validation losses.
        patience: number of epochs, from 1.
    """

    def __init__(self, learner: Learner, run: RunFolder, patience: int) -> None:
        self._learner, self._run, self._patience = learner, run, patience
        self._best_weights: Arrays = {}  # after the epoch with the lowest validation loss so far

    def epochs(self, planned: range) -> Iterator[int]:
        """Yield the planned epochs until patience runs out, then restore the best weights and say so."""
        best = self._best_epoch()
        for epoch in planned:
            if epoch - 1 - best >= self._patience:
                break
            yield epoch
            best = self._best_epoch()
            if best == epoch:
                self._best_weights = {name: np.array(w) for name, w in self._learner.weights().items()}
        self._learner.load_weights(self._best_weights)
        self._run.metrics["best_epoch"] = best
        text = f"restored the weights of epoch {best}"
        if self._run.metrics["epochs"] < planned.stop - 1:
            count = f"{self._patience} epoch{'s' * (self._patience > 1)}"
            text = f"stopped: no lower validation loss in {count}; {text}"
        print(text, flush=True)

    def _best_epoch(self) -> int:
        """Return the best epoch so far; rank 0 decides, because losses may differ between machines."""
        losses = [row["validation_loss"] for row in self._run.rows("history.csv")]
        return distributed.broadcast_from_rank0(lambda: best_epoch(losses))

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Return the state of the learner and the best weights, for a checkpoint."""
        arrays, numbers = self._learner.state()
        return arrays | {f"best/{name}": weight for name, weight in self._best_weights.items()}, numbers

    def load_state(self, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._learner.load_state(arrays, numbers)
        self._best_weights = strip_prefix("best/", arrays)


def best_epoch(losses: Sequence[float]) -> int:
    """Return the first epoch, counted from 1, with the lowest validation loss; 0 if there is none."""
    return losses.index(min(losses)) + 1 if losses else 0
