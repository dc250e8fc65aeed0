"""The verdict on one case.

In this order:

1. refused: other data, another configuration, or an invalid baseline.
2. failed: a run crashed, diverged, or scored something impossible or not a number.
3. identical: every new result equals the baseline's result with the same seed, to the last bit. The
   program has not changed, and nothing is left to test.
4. regression: accuracy or loss is worse than noise explains (`rank_sum.py`, `signed_rank.py`, `plan.py`).
5. suspicious: accuracy is better than noise explains, and less than half of the baseline's errors are
   left. A label among the inputs looks like that. Significance alone is not enough, because it would stop
   honest improvements. If the errors were halved on purpose, record a new baseline.
6. passed; before the last look only if it is clear.
"""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from accuracy_gate.plan import CLEAR, CLEAR_PAIRS, MIN_BASELINE_SEEDS, Plan
from accuracy_gate.power import detectable_drop, predicted_spread
from accuracy_gate.rank_sum import rank_sum_p, resolution
from accuracy_gate.records import Record, differences
from accuracy_gate.signed_rank import MARGIN, signed_rank_p

FAILING = ("regression", "failed", "suspicious")  # exit status 5
UNDECIDED = ("refused", "no data")  # exit status 2 and 3
UNSTABLE = 2.0  # measured spread over predicted spread
OUTLIER = 5.0  # spreads below the baseline's lowest accuracy


@dataclass(frozen=True)
class Comparison:
    """Accuracy or loss of a case, old against new."""

    metric: str  # accuracy or loss
    baseline_mean: float
    baseline_spread: float  # standard deviation between seeds
    predicted_spread: float | None  # by theory; None for loss, or if the test set's size is unknown
    new_mean: float
    detectable: float | None  # smallest drop (rise of the loss) found with 95 % power, if any can be found
    p: float  # how likely results this bad are without a change; by seed at the last look of a paired plan
    level: float  # the case fails at this look if p is at or below it
    clear: bool  # whether nothing hints at a change for the worse


@dataclass(frozen=True)
class Verdict:
    """The verdict on a case."""

    case: str
    outcome: str  # passed, identical, or one of FAILING or UNDECIDED
    reason: str
    comparisons: tuple[Comparison, ...] = ()  # accuracy and loss; empty if nothing could be compared
    baseline: Record | None = None
    new: Record | None = None
    notes: tuple[str, ...] = ()  # remarks that fail nothing

    @property
    def failing(self) -> bool:
        """Whether the exit status is 5."""
        return self.outcome in FAILING

    @property
    def undecided(self) -> bool:
        """Whether nothing could be compared."""
        return self.outcome in UNDECIDED


def refusal(baseline: Record, new: Record) -> Verdict | None:
    """Return the verdict `refused` if the two must not be compared, otherwise None."""
    found = list(differences(baseline, new))
    if not found:
        return None
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    reason = f"not comparable with the baseline: {'; '.join(found[:3])}{more}"
    return Verdict(new.case, "refused", reason, (), baseline, new)


def decide(baseline: Record, new: Record, plan: Plan) -> Verdict | None:
    """Return the verdict, or None if it takes more seeds.

    Args:
        baseline: at least 20 runs.
        new: as many runs as one of the plan's looks, in the order in which they were made.
        plan: for a baseline of this size.

    Raises:
        InvalidResults: the baseline is damaged or too small.
    """
    baseline.check_baseline(MIN_BASELINE_SEEDS)
    if refused := refusal(baseline, new):
        return refused
    for problem in filter(None, (run.problem for run in new.runs)):
        return Verdict(new.case, "failed", problem, (), baseline, new)
    comparisons = tuple(compare(metric, baseline, new, plan) for metric in ("accuracy", "loss"))

    def verdict(outcome: str, reason: str) -> Verdict:
        notes = tuple(_notes(baseline, new, comparisons[0]))
        return Verdict(new.case, outcome, reason, comparisons, baseline, new, notes)

    known = {run.seed: (run.accuracy, run.loss) for run in baseline.runs}
    if all(known.get(run.seed) == (run.accuracy, run.loss) for run in new.runs):
        return verdict("identical", "the same numbers as the baseline, seed by seed")
    worse = [_change(each) for each in comparisons if _significant(each.p, each.level)]
    if worse:
        return verdict("regression", "; ".join(worse))
    better, p = _too_good(baseline, new)
    n = len(new.runs)
    if better and _significant(p, plan.levels("too good")[n]):
        return verdict(
            "suspicious",
            f"accuracy {comparisons[0].new_mean:.2%} leaves less than half of the baseline's errors "
            f"(p = {p:.1e}): is a label among the inputs? If this is intended, record a new baseline",
        )
    if n == plan.looks[-1]:
        return verdict("passed", f"not worse, as far as {n} seeds can tell")
    if not better and all(each.clear for each in comparisons):
        return verdict("passed", "not worse")
    return None


def paired_p(metric: str, baseline: Record, new: Record) -> float:
    """Return `signed_rank_p` with a margin of MARGIN times the whole baseline's spread."""
    sign = 1 if metric == "accuracy" else -1
    known = {run.seed: sign * getattr(run, metric) for run in baseline.runs}
    margin = MARGIN * statistics.stdev(known.values())
    after = [sign * getattr(run, metric) for run in new.runs]
    return signed_rank_p([known[run.seed] for run in new.runs], after, margin)


def is_paired(baseline: Record, new: Record) -> bool:
    """Whether each new result has a counterpart of the same seed in the baseline."""
    return {run.seed for run in new.runs} <= {run.seed for run in baseline.runs}


def _significant(p: float, level: float) -> bool:
    return p <= level * (1 + 1e-9)  # both are ratios of whole numbers


def _too_good(baseline: Record, new: Record) -> tuple[bool, float]:
    """Return whether less than half of the baseline's errors are left, and how likely that is by chance."""
    old, now = ([1 - run.accuracy for run in record.runs] for record in (baseline, new))
    # Medians: one collapsed seed must not make every other result look too good.
    better = statistics.median(now) < statistics.median(old) / 2
    return better, rank_sum_p(*([-run.accuracy for run in record.runs] for record in (baseline, new)))


def final_verdict(baseline: Record, new: Record, plan: Plan) -> Verdict:
    """Return the verdict on complete results: that of the first look that decides.

    Arguments and errors are those of `decide`, but `new` has as many runs as the last look.
    """
    verdicts = (decide(baseline, replace(new, runs=new.runs[:n]), plan) for n in plan.looks)
    return next(verdict for verdict in verdicts if verdict)  # the last look always decides


def compare(metric: str, baseline: Record, new: Record, plan: Plan) -> Comparison:
    """Return the comparison of a metric, accuracy or loss, without a verdict."""
    old, now = (np.array([getattr(run, metric) for run in r.runs]) for r in (baseline, new))
    sign = 1 if metric == "accuracy" else -1  # the tests take higher as better
    mean, spread = float(old.mean()), float(old.std(ddof=1))
    size = baseline.test_examples if metric == "accuracy" else None
    drop = None
    if plan.can_fail:
        drop = detectable_drop(plan) * spread + resolution(mean)
        if size:  # accuracy moves by whole examples
            drop = max(1, math.ceil(drop * size - 1e-9)) / size
    p = rank_sum_p((sign * old).tolist(), (sign * now).tolist())
    clear = p >= CLEAR
    if plan.paired:
        by_seed = paired_p(metric, baseline, new)
        clear = clear and by_seed >= CLEAR_PAIRS
        p = by_seed if plan.by_seed(len(now)) else p
    predicted = predicted_spread(mean, size) if size else None
    level = plan.levels(metric)[len(now)]
    return Comparison(metric, mean, spread, predicted, float(now.mean()), drop, p, level, clear)


def _change(each: Comparison) -> str:
    """Return how a metric has become worse, and how sure that is."""
    show = "{:.2%}".format if each.metric == "accuracy" else "{:.4g}".format
    return (
        f"{each.metric} {show(each.baseline_mean)} -> {show(each.new_mean)} "
        f"(by chance: p = {each.p:.1e}, {each.level:.1e} is the limit)"
    )


def _notes(baseline: Record, new: Record, accuracy: Comparison) -> Iterator[str]:
    spread, predicted = accuracy.baseline_spread, accuracy.predicted_spread or 0
    if predicted and spread > UNSTABLE * predicted:
        times = f"{spread / predicted:.1f} times"
        yield f"training is unstable: its spread is {times} what the size of the test set explains"
    lowest = min(run.accuracy for run in baseline.runs)
    for run in new.runs:
        if run.accuracy < lowest - OUTLIER * max(spread, predicted):
            yield (
                f"seed {run.seed} is far below every seed of the baseline: {run.accuracy:.2%}, "
                f"their lowest is {lowest:.2%}"
            )
