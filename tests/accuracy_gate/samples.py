"""Random results like those of trainings, to try the gate on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accuracy_gate import Metric, Results, Run

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

# Distributions of accuracies, and the size of the test set.
FAMILIES: dict[str, tuple[Draw, int | None]] = {
    "normal": (lambda random, n: 0.99 + 0.0007 * random.standard_normal(n), None),
    # 18 different values, many of them equal
    "binomial": (lambda random, n: random.binomial(10_000, 0.992, n) / 10_000, 10_000),
    "coarse": (lambda random, n: random.binomial(360, 0.96, n) / 360, 360),
    # most seeds close together, some far below
    "skewed": (lambda random, n: 0.992 - 0.002 * random.gamma(0.5, 1.0, n), None),
    # Student's t with 1.5 degrees of freedom: infinite variance, and single seeds anywhere
    "heavy": (lambda random, n: np.clip(0.9 + 0.002 * random.standard_t(1.5, n), 0, 1), None),
    # the same result but for rounding, about as much as what counts as equal
    "rounding": (lambda random, n: 0.95 * (1 + 1e-6 * random.standard_normal(n)), None),
    # XOR: all correct, or now and then stuck at three of four
    "collapsing": (lambda random, n: np.where(random.random(n) < 0.1, 0.75, 1.0), 4),
}


def skewed_losses(accuracies: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Return losses that are skewed to the high side and follow the accuracies."""
    return 3 * (1 - accuracies) + 0.005 * random.gamma(2.0, 1.0, len(accuracies))


def make_record(
    accuracies: Sequence[float] | NDArray[np.float64],
    losses: Sequence[float] | NDArray[np.float64],
    test_examples: int | None = None,
    first: int = 0,
    case: str = "case",
) -> Results:
    """Return the record of these results, with seeds from `first` on."""
    runs = tuple(
        Run(first + number, {"accuracy": float(accuracy), "loss": float(loss)}, 1.0)
        for number, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True))
    )
    return Results(case, metrics_of(test_examples), runs)


def metrics_of(test_examples: int | None = None) -> dict[str, Metric]:
    return {"accuracy": Metric("max", None, (0, 1), test_examples), "loss": Metric("min", None, (0, None))}


def with_scores(run: Run, **scores: Any) -> Run:
    return replace(run, scores={**run.scores, **scores})


def draw_record(family: str, random: np.random.Generator, n: int, first: int = 0) -> Results:
    """Return the results of `n` honest seeds."""
    draw, size = FAMILIES[family]
    accuracies = draw(random, n)
    return make_record(accuracies, skewed_losses(accuracies, random), size, first)


def first_runs(new: Results, n: int) -> Results:
    return replace(new, runs=new.runs[:n])
