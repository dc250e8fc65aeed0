"""Results as trainings give them, drawn at random: what the gate is tried on."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from accuracy_gate import Plan, Record, Run, Verdict, decide

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def normal(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    return 0.99 + 0.0007 * random.standard_normal(n)


def binomial(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Accuracies on 10,000 images: some 18 different values, many of them equal."""
    return random.binomial(10_000, 0.992, n) / 10_000


def coarse(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Accuracies on 360 images."""
    return random.binomial(360, 0.96, n) / 360


def heavy(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Student's t with 1.5 degrees of freedom: no variance, and single seeds anywhere."""
    return np.clip(0.9 + 0.002 * random.standard_t(1.5, n), 0, 1)


def rounding(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    """One and the same result, but for rounding: about as much as what counts as equal."""
    return 0.95 * (1 + 1e-6 * random.standard_normal(n))


def skewed(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Most seeds close together, some far below."""
    return 0.992 - 0.002 * random.gamma(0.5, 1.0, n)


def collapsing(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    """XOR: all right, or now and then stuck at three of four."""
    return np.where(random.random(n) < 0.1, 0.75, 1.0)


FAMILIES: dict[str, tuple[Draw, int | None]] = {
    "normal": (normal, None),
    "binomial": (binomial, 10_000),
    "coarse": (coarse, 360),
    "skewed": (skewed, None),
    "heavy": (heavy, None),
    "rounding": (rounding, None),
    "collapsing": (collapsing, 4),
}


def losses(accuracies: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Return losses that lean to the high side and go along with the accuracies."""
    return 3 * (1 - accuracies) + 0.005 * random.gamma(2.0, 1.0, len(accuracies))


def record(
    accuracies: Sequence[float] | NDArray[np.float64],
    losses: Sequence[float] | NDArray[np.float64],
    test_examples: int | None = None,
    first: int = 0,
    case: str = "case",
) -> Record:
    """Return the record of these results, with seeds from `first` on."""
    runs = tuple(
        Run(first + number, float(accuracy), float(loss), 1.0)
        for number, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True))
    )
    return Record(case, runs, {"test_examples": test_examples} if test_examples else {})


def drawn(family: str, random: np.random.Generator, n: int, first: int = 0) -> Record:
    """Return the results of `n` honest seeds."""
    draw, size = FAMILIES[family]
    accuracies = draw(random, n)
    return record(accuracies, losses(accuracies, random), size, first)


def first_runs(new: Record, n: int) -> Record:
    return Record(new.case, new.runs[:n], new.facts)


def sequence(baseline: Record, new: Record, plan: Plan) -> Iterator[Verdict | None]:
    """Yield what is decided at each look."""
    for n in plan.looks:
        yield decide(baseline, first_runs(new, n), plan)


def verdict(baseline: Record, new: Record, plan: Plan) -> Verdict:
    """Return the verdict of the whole sequential procedure."""
    return next(said for said in sequence(baseline, new, plan) if said)
