"""The verdict on one case.

In this order:

1. refused: other data, another configuration, or a baseline that is none.
2. failed: a run did not end, diverged, or scored what is no number or impossible.
3. identical: every new result has the very numbers of the baseline's run with the same seed. The
   program has not changed; nothing is left to be tested.
4. regression: accuracy or loss is worse than noise explains (`ranks.py`, `plan.py`).
5. suspicious: accuracy is better than noise explains, and less than half of the baseline's errors
   are left. A label in the inputs looks like that. Significance alone is not enough: an honest
   improvement would be stopped. Who halves the errors on purpose records a new baseline.
6. passed; before the last look only where it is clear.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from accuracy_gate.pairs import MARGIN, p_worse
from accuracy_gate.plan import CLEAR, CLEAR_PAIRS, FEWEST, Plan
from accuracy_gate.power import detectable, predicted_spread
from accuracy_gate.ranks import p_lower, resolution
from accuracy_gate.records import Record, Run, differences

BAD = ("regression", "failed", "suspicious")  # exit status 5
UNDECIDED = ("refused", "no data")  # exit status 2 and 3
OUTCOMES = ("passed", "identical", *BAD, *UNDECIDED)
UNSTABLE = 2.0  # measured spread over predicted spread
FAR = 5.0  # spreads below the baseline's lowest accuracy


@dataclass(frozen=True)
class Judgement:
    """One metric of a case.

    Attributes:
        metric: accuracy or loss.
        mean: of the baseline.
        spread: its standard deviation between seeds.
        predicted: the spread that theory predicts; None for the loss, and for a test set of unknown
            size.
        new: mean of the new results.
        detectable: smallest drop (of the loss: rise) found with 95 % power; None where none could
            be.
        p: how likely results as bad as these are without a change; at the last look seed by seed,
            where the seeds are the baseline's.
        clear: whether nothing hints at a change for the worse.
        level: at or below which p fails the case at this look.
    """

    metric: str
    mean: float
    spread: float
    predicted: float | None
    new: float
    detectable: float | None
    p: float
    clear: bool
    level: float


@dataclass(frozen=True)
class Verdict:
    """What is said of a case.

    Attributes:
        case: its name.
        outcome: one of OUTCOMES.
        reason: in a sentence.
        judgements: accuracy and loss; none where nothing could be compared.
        baseline: its record.
        new: the new results.
        notes: what else should be known; fails nothing.
    """

    case: str
    outcome: str
    reason: str
    judgements: tuple[Judgement, ...] = ()
    baseline: Record | None = None
    new: Record | None = None
    notes: tuple[str, ...] = ()

    @property
    def bad(self) -> bool:
        """Whether this means exit status 5."""
        return self.outcome in BAD

    @property
    def undecided(self) -> bool:
        """Whether nothing could be held against each other."""
        return self.outcome in UNDECIDED

    def seconds(self, which: Record | None) -> float | None:
        """Return the median training time of the record's runs, None where nobody measured."""
        known = [run.seconds for run in (which.runs if which else ()) if run.seconds is not None]
        return statistics.median(known) if known else None


def refusal(baseline: Record, new: Record) -> Verdict | None:
    """Return why the two must not be held against each other; None where they may."""
    found = list(differences(baseline, new))
    if not found:
        return None
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    reason = f"not what the baseline was made with: {'; '.join(found[:3])}{more}"
    return Verdict(new.case, "refused", reason, (), baseline, new)


def decide(baseline: Record, new: Record, plan: Plan) -> Verdict | None:
    """Return the verdict, or None where more seeds are needed to tell.

    Args:
        baseline: at least 20 runs.
        new: as many runs as one of the plan's looks, in the order in which they were made.
        plan: for a baseline of this size.

    Raises:
        ConfigError: the baseline is damaged or too small.
    """
    baseline.check_baseline(FEWEST)
    refused = refusal(baseline, new)
    if refused:
        return refused
    faults = [run.fault for run in new.runs if run.fault]
    if faults:
        return Verdict(new.case, "failed", faults[0], (), baseline, new)
    judgements = judge(baseline, new, plan)

    def verdict(outcome: str, reason: str) -> Verdict:
        notes = tuple(_notes(baseline, new, judgements[0]))
        return Verdict(new.case, outcome, reason, judgements, baseline, new, notes)

    if identical(baseline.runs, new.runs):
        return verdict("identical", "the same numbers as the baseline, seed by seed")
    worse = [_worse(each) for each in judgements if fails(each.p, each.level)]
    if worse:
        return verdict("regression", "; ".join(worse))
    better, p = too_good(baseline, new)
    n = len(new.runs)
    if better and fails(p, plan.levels("too good")[n]):
        return verdict(
            "suspicious",
            f"accuracy {judgements[0].new:.2%} leaves less than half of the baseline's errors "
            f"(p = {p:.1e}): is a label among the inputs? If it is meant, record a new baseline",
        )
    if n == plan.looks[-1]:
        return verdict("passed", f"not worse, as far as {n} seeds can tell")
    if not better and all(each.clear for each in judgements):
        return verdict("passed", "not worse")
    return None


def fails(p: float, level: float) -> bool:
    """Whether p is at or below a level; both are fractions of whole numbers, hence the 1e-9."""
    return p <= level * (1 + 1e-9)


def judge(baseline: Record, new: Record, plan: Plan) -> tuple[Judgement, Judgement]:
    """Return what is to be said of accuracy and loss, without a verdict."""
    return (_judgement("accuracy", baseline, new, plan), _judgement("loss", baseline, new, plan))


def p_by_seed(metric: str, baseline: Record, new: Record) -> float:
    """Return the p of `pairs.py`, the margin being MARGIN of the whole baseline's spread."""
    sign = 1 if metric == "accuracy" else -1
    known = {run.seed: sign * getattr(run, metric) for run in baseline.runs}
    margin = MARGIN * statistics.stdev(known.values())
    after = [sign * getattr(run, metric) for run in new.runs]
    return p_worse([known[run.seed] for run in new.runs], after, margin)


def share_seeds(baseline: Record, new: Record) -> bool:
    """Whether each new result has a counterpart of the same seed in the baseline."""
    return {run.seed for run in new.runs} <= {run.seed for run in baseline.runs}


def identical(baseline: Sequence[Run], new: Sequence[Run]) -> bool:
    """Whether each new run repeats the baseline's run of its seed to the last bit."""
    known = {run.seed: (run.accuracy, run.loss) for run in baseline}
    return all(known.get(run.seed) == (run.accuracy, run.loss) for run in new)


def too_good(baseline: Record, new: Record) -> tuple[bool, float]:
    """Say whether less than half of the baseline's errors are left, and how likely by chance."""
    old, now = ([run.accuracy for run in record.runs] for record in (baseline, new))
    # Medians: one collapsed seed must not make every other result look too good.
    left, before = (statistics.median(1 - value for value in values) for values in (now, old))
    return left < before / 2, p_lower([-value for value in old], [-value for value in now])


def _judgement(metric: str, baseline: Record, new: Record, plan: Plan) -> Judgement:
    old, now = (np.array([getattr(run, metric) for run in r.runs]) for r in (baseline, new))
    sign = 1 if metric == "accuracy" else -1  # higher is better, for the test
    mean, spread = float(old.mean()), float(old.std(ddof=1))
    size = baseline.test_examples if metric == "accuracy" else None
    factor = detectable(plan)
    drop: float | None = None
    if plan.can_fail:
        drop = factor * spread + resolution(mean)
        if size:  # accuracy moves by whole examples
            drop = max(1, int(np.ceil(drop * size - 1e-9))) / size
    p = p_lower((sign * old).tolist(), (sign * now).tolist())
    clear = p >= CLEAR
    if plan.paired:
        by_seed = p_by_seed(metric, baseline, new)
        clear = clear and by_seed >= CLEAR_PAIRS
        p = by_seed if plan.by_seed(len(now)) else p
    return Judgement(
        metric=metric,
        mean=mean,
        spread=spread,
        predicted=predicted_spread(mean, size) if size else None,
        new=float(now.mean()),
        detectable=drop,
        p=p,
        clear=clear,
        level=plan.levels(metric)[len(now)],
    )


def _worse(each: Judgement) -> str:
    """Say which metric is worse, and how sure that is."""
    if each.metric == "accuracy":
        change = f"accuracy {each.mean:.2%} -> {each.new:.2%}"
    else:
        change = f"loss {each.mean:.4g} -> {each.new:.4g}"
    return f"{change} (by chance: p = {each.p:.1e}, {each.level:.1e} is the limit)"


def _notes(baseline: Record, new: Record, accuracy: Judgement) -> Iterator[str]:
    """Yield what should be known although it fails nothing."""
    if accuracy.predicted and accuracy.spread > UNSTABLE * accuracy.predicted:
        yield (
            f"training is unstable: its spread is {accuracy.spread / accuracy.predicted:.1f} times "
            "what the size of the test set explains"
        )
    lowest = min(run.accuracy for run in baseline.runs)
    for run in new.runs:
        if run.accuracy < lowest - FAR * max(accuracy.spread, accuracy.predicted or 0):
            yield (
                f"seed {run.seed} is far below every seed of the baseline: {run.accuracy:.2%}, "
                f"their lowest is {lowest:.2%}"
            )
