"""What the benchmarks should reach, on every kind of processor.

Records hold no goals: a row of an earlier benchmark is judged by the goals of today.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["speedup", "at most", "at least", "above theirs"]


@dataclass(frozen=True)
class Goal:
    """A limit of one row.

    Attributes:
        kind: speedup: theirs over ours, both in seconds; at most, at least: ours in the row's unit;
            above theirs: ours is larger than theirs.
        limit: the number to reach; 0 if there is none.
    """

    kind: Kind
    limit: float = 0.0

    def met(self, ours: float, theirs: float | None) -> bool:
        """Return whether the medians of a row reach the goal."""
        if self.kind in ("at most", "at least"):
            return ours <= self.limit if self.kind == "at most" else ours >= self.limit
        assert theirs is not None, f"{self.kind} needs a comparison"
        return ours > theirs if self.kind == "above theirs" else theirs / ours >= self.limit

    def text(self, unit: str) -> str:
        """Return the goal in words."""
        if self.kind == "above theirs":
            return self.kind
        if self.kind != "speedup":
            return f"{self.kind} {self.limit:,g} {unit}"
        faster = self.limit >= 1
        return f"{self.limit:g} times faster" if faster else f"at most {1 / self.limit:.3g} times slower"


def speedup(limit: float) -> Goal:
    return Goal("speedup", limit)


def at_most(limit: float) -> Goal:
    return Goal("at most", limit)


# By what was measured. `auto` may choose a variant that is slower by less than it can tell apart.
CHOICE = speedup(0.95)
GOALS = {
    "MNIST in Keras, `cnn`, an epoch": speedup(0.9),
    "MNIST, the same CNN, an epoch": speedup(10),
    "MNIST to 99.0 % of the test images": speedup(60),
    "IMDB, `lstm`, one epoch: seconds to more than the example's best accuracy": speedup(30),
    "IMDB, `lstm`, one epoch: lowest test accuracy": Goal("above theirs"),
    "frozen ResNet, 10 epochs of 500 images per class": speedup(15),
    "NumPy convolution, forward and backward, (64, 32, 26, 26) to 64 filters": speedup(1 / 1.5),
    "NumPy LSTM, forward and backward, (64, 200, 128) to 64": speedup(1 / 2),
    "a training step of `cnn` in bfloat16": CHOICE,
    "a training step of `cnn` in bfloat16, share of the peak of a matrix product": Goal("at least", 25),
    "a training step of `fast_cnn` in float32": CHOICE,
    "a training step of `cnn` in float32": CHOICE,
    "python -m apps.mnist_cnn --help": at_most(0.7),
    "a refused configuration": at_most(1),
    "start to first step, torch": at_most(4),
    "start to first step, Keras": at_most(3),
    "start to first step, NumPy": at_most(4),
    "encoding IMDB, the first time": at_most(20),
    "encoding IMDB, later": at_most(2),
    "peak memory, mnist_cnn framework=torch": at_most(1536),
    "peak memory, mnist_cnn framework=keras": at_most(1536),
    "peak memory, mnist_cnn framework=numpy": at_most(1536),
    "MNIST `cnn`, an epoch on 2 processes with one thread each": speedup(0.95),
}
