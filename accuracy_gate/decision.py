"""The verdict on one case.

In this order:

1. refused: other data, another configuration or other metrics.
2. failed: a run crashed, diverged, or scored something impossible or not a number.
3. identical: every new result equals the baseline's result with the same seed, to the last bit. The
   program has not changed, and nothing is left to test.
4. regression: a metric is worse, by more than its margin, than noise explains (`rank_sum.py`,
   `signed_rank.py`, `plan.py`).
5. suspicious: a metric is better than noise explains, and less than half of the baseline's errors are
   left. A label among the inputs looks like that. Significance alone is not enough, because it would stop
   honest improvements. If the errors were halved on purpose, record a new baseline.
6. passed; before the last look only if it is clear. A metric with a margin passes only if the results show
   that it is not worse by the margin or more (p <= 0.05: the same tests in the other direction, also known
   as non-inferiority or one-sided equivalence: Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics
   15). All metrics with a margin must show it, so each is tested at the full level (intersection-union
   test: Berger 1982, Technometrics 24).
7. inconclusive: after the last look a metric with a margin has shown neither, or there are so few seeds
   that no result could have failed.
"""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from accuracy_gate.detection import detectable_drop, predicted_spread, seeds_for_equivalence
from accuracy_gate.plan import CLEAR, CLEAR_PAIRS, Plan, divide
from accuracy_gate.rank_sum import rank_sum_p, resolution
from accuracy_gate.results import Baseline, InvalidResults, Metric, Results, differences
from accuracy_gate.signed_rank import MARGIN, signed_rank_p

FAILING = ("regression", "failed", "suspicious")  # exit status 5
UNDECIDED = ("refused", "no data", "inconclusive")  # exit status 2, 3 and 6
UNSTABLE = 2.0  # measured spread over predicted spread
OUTLIER = 5.0  # spreads below the baseline's lowest score


@dataclass(frozen=True)
class Comparison:
    """A metric of a case, or one of its slices, old against new."""

    metric: str
    kind: Metric
    plan: Plan
    share: Fraction  # of the case's false-alarm rate
    baseline_mean: float
    baseline_spread: float  # standard deviation between seeds
    predicted_spread: float | None  # by theory; None if the size of the test set is unknown
    new_mean: float
    p: float  # how likely results this bad are without a change; by seed at the last look of a paired plan
    level: float  # the case fails at this look if p is at or below it
    clear: bool  # whether nothing hints at a change for the worse; with a margin: whether it is shown

    @property
    def significant(self) -> bool:
        """Whether the metric is worse than noise explains."""
        return _significant(self.p, self.level)

    @property
    def detectable(self) -> float | None:
        """The smallest drop (rise, if lower is better) found with 95 % power, if any can be found."""
        if not self.plan.can_fail(self.share):
            return None
        spread, margin = self.baseline_spread, self.kind.margin
        drop = margin or 0.0
        if spread:
            relative = None if margin is None else round(margin / spread, 2)
            drop = detectable_drop(self.plan, self.share, relative) * spread
        drop += resolution(self.baseline_mean)
        if self.kind.examples:  # moves by whole examples
            drop = max(1, math.ceil(drop * self.kind.examples - 1e-9)) / self.kind.examples
        return drop


@dataclass(frozen=True)
class Verdict:
    """The verdict on a case."""

    case: str
    outcome: str  # passed, identical, or one of FAILING or UNDECIDED
    reason: str
    comparisons: tuple[Comparison, ...] = ()  # empty if nothing could be compared
    baseline: Results | None = None
    new: Results | None = None
    notes: tuple[str, ...] = ()  # remarks that fail nothing

    @property
    def failing(self) -> bool:
        """Whether the exit status is 5."""
        return self.outcome in FAILING

    @property
    def undecided(self) -> bool:
        """Whether nothing could be compared, or not well enough."""
        return self.outcome in UNDECIDED


def refusal(baseline: Results, new: Results) -> Verdict | None:
    """Return the verdict `refused` if the two must not be compared, otherwise None."""
    found = list(differences(baseline, new))
    if not found:
        return None
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    reason = f"not comparable with the baseline: {'; '.join(found[:3])}{more}"
    return Verdict(new.case, "refused", reason, (), baseline, new)


def decide(baseline: Results, new: Results, plan: Plan | None = None) -> Verdict:
    """Return the verdict on complete results: that of the first look that decides.

    Args:
        baseline: a `Baseline`.
        new: as many runs as the last look of the plan, in the order in which they were made.
        plan: by default one look at all runs, in a suite of one case.

    Raises:
        InvalidResults: there are too many results to count.
    """
    plan = plan or default_plan(baseline, new)
    verdicts = (look(baseline, replace(new, runs=new.runs[:n]), plan) for n in plan.looks)
    return next(verdict for verdict in verdicts if verdict)  # the last look always decides


def default_plan(baseline: Results, new: Results, cases: int = 1) -> Plan:
    """Return the plan for results that are complete: one look, with the whole share of the case."""
    return Plan(len(baseline.runs), cases, (len(new.runs),), paired=is_paired(baseline, new))


def look(baseline: Results, new: Results, plan: Plan) -> Verdict | None:
    """Return the verdict on the runs so far, or None if it takes more.

    Between the looks of the plan, and before the first run, only a refusal or a failed run decides.

    Raises:
        InvalidResults: there are too many results to count.
    """
    if refused := refusal(baseline, new):
        return refused
    for problem in new.problems:
        return Verdict(new.case, "failed", problem, (), baseline, new)
    if len(new.runs) not in plan.looks:
        return None
    for problem in () if isinstance(baseline, Baseline) else baseline.problems:  # a Baseline has none
        raise InvalidResults(f"{baseline.case}: the baseline is damaged: {problem}")
    shares = divide(baseline.metrics, baseline.columns)
    comparisons = tuple(compare(key, baseline, new, plan, share) for key, (share, _) in shares.items())

    def verdict(outcome: str, reason: str) -> Verdict:
        notes = tuple(note for each in comparisons for note in _notes(baseline, new, each))
        return Verdict(new.case, outcome, reason, comparisons, baseline, new, notes)

    known = {run.seed: run.scores for run in baseline.runs}
    if all(
        run.seed in known and all(known[run.seed][column] == run.scores[column] for column in shares)
        for run in new.runs
    ):
        return verdict("identical", "the same numbers as the baseline, seed by seed")
    worse = [_change(each) for each in comparisons if each.significant]
    if worse:
        return verdict("regression", "; ".join(worse))
    n, better = len(new.runs), False
    for each in comparisons:
        too_good, p = _too_good(each.metric, each.kind, baseline, new)
        better |= too_good
        _, share = shares[each.metric]
        if too_good and _significant(p, plan.too_good_levels(share)[n]):
            reason = (
                f"{each.metric} {show(each, each.new_mean)} leaves less than half of the baseline's errors "
                f"(p = {p:.1e}): is a label among the inputs? If this is intended, record a new baseline"
            )
            return verdict("suspicious", reason)
    if n == plan.looks[-1]:
        if unclear := [each for each in comparisons if each.kind.margin and not each.clear]:
            return verdict("inconclusive", "; ".join(map(_missing, unclear)))
        smallest = min(each.share for each in comparisons)
        if not plan.can_fail(smallest):
            return verdict("inconclusive", too_few_seeds(plan, smallest))
        return verdict("passed", f"not worse, as far as {n} seeds can tell")
    if not better and all(each.clear for each in comparisons):
        return verdict("passed", "not worse")
    return None


def paired_p(column: str, baseline: Results, new: Results, opposite: bool = False) -> float:
    """Return `signed_rank_p` with the metric's margin, or MARGIN times the whole baseline's spread.

    Opposite: how likely results this good are if they are worse by the margin.
    """
    metric = baseline.metrics[baseline.columns[column]]
    sign = metric.sign
    known = {run.seed: sign * run.scores[column] for run in baseline.runs}
    margin = MARGIN * statistics.stdev(known.values()) if metric.margin is None else metric.margin
    before, after = [known[run.seed] for run in new.runs], [sign * value for value in new.values(column)]
    if opposite:
        return signed_rank_p([-value for value in before], [-value for value in after], -margin)
    return signed_rank_p(before, after, margin)


def is_paired(baseline: Results, new: Results) -> bool:
    """Whether each new result has a counterpart of the same seed in the baseline."""
    return {run.seed for run in new.runs} <= {run.seed for run in baseline.runs}


def compare(column: str, baseline: Results, new: Results, plan: Plan, share: Fraction) -> Comparison:
    """Return the comparison of a metric or a slice that has this share, without a verdict."""
    metric = baseline.metrics[baseline.columns[column]]
    old, now = (np.array(results.values(column), dtype=np.float64) for results in (baseline, new))
    mean, spread, n = float(old.mean()), float(old.std(ddof=1)), len(now)
    before, after = metric.sign * old, metric.sign * now + (metric.margin or 0.0)

    def p_value(opposite: bool = False) -> float:
        if plan.by_seed(n):
            return paired_p(column, baseline, new, opposite)
        sign = -1 if opposite else 1
        return rank_sum_p((sign * before).tolist(), (sign * after).tolist())

    p = p_value()
    if metric.margin:
        clear = _significant(p_value(opposite=True), plan.equivalence_levels()[n])
    else:
        clear = p >= CLEAR and not (plan.paired and paired_p(column, baseline, new) < CLEAR_PAIRS)
    predicted = predicted_spread(mean, metric.examples) if metric.examples else None
    level, new_mean = plan.levels(share)[n], float(now.mean())
    return Comparison(column, metric, plan, share, mean, spread, predicted, new_mean, p, level, clear)


def show(each: Comparison, value: float) -> str:
    """Return a score for the user: a share in percent."""
    return f"{value:.2%}" if each.kind.is_share else f"{value:.4g}"


def _significant(p: float, level: float) -> bool:
    return p <= level * (1 + 1e-9)  # both are ratios of whole numbers


def _too_good(column: str, metric: Metric, baseline: Results, new: Results) -> tuple[bool, float]:
    """Return whether less than half of the baseline's errors are left, and how likely that is by chance."""
    if not metric.is_share:
        return False, 1.0
    best = metric.range[1 if metric.goal == "max" else 0] or 0.0
    old, now = ([abs(best - value) for value in each.values(column)] for each in (baseline, new))
    # Medians: one collapsed seed must not make every other result look too good.
    better = statistics.median(now) < statistics.median(old) / 2
    worst_first = ([-metric.sign * value for value in each.values(column)] for each in (baseline, new))
    return better, rank_sum_p(*worst_first) if better else 1.0


def _change(each: Comparison) -> str:
    """Return how a metric has become worse, and how sure that is."""
    return (
        f"{each.metric} {show(each, each.baseline_mean)} -> {show(each, each.new_mean)} "
        f"(by chance: p = {each.p:.1e}, {each.level:.1e} is the limit)"
    )


def _missing(each: Comparison) -> str:
    """Return what a metric with a margin has not shown, and how many seeds would."""
    assert each.kind.margin
    n = seeds_for_equivalence(each.plan.baseline, each.kind.margin / (each.baseline_spread or 1e-9))
    now = each.plan.looks[-1]
    if n is None:
        need = "record a baseline with more seeds, or allow a larger margin"
    elif n > now:
        need = f"about {n - now} more seeds would decide if nothing has changed"
    else:
        need = "more seeds would decide"
    return (
        f"{each.metric} is neither worse by more than {each.kind.margin:g} nor shown to be within it; {need}"
    )


def too_few_seeds(plan: Plan, share: Fraction) -> str:
    """Return that a plan cannot fail, and what to do."""
    n = plan.looks[-1]
    least = next((n for n in range(1, 99) if replace(plan, looks=(n,)).can_fail(share)), None)
    advice = f"take at least {least}" if least else "record a baseline with more seeds"
    return f"{n} seed{'s' if n > 1 else ''} cannot prove any drop; {advice}"


def _notes(baseline: Results, new: Results, each: Comparison) -> Iterator[str]:
    spread, predicted = each.baseline_spread, each.predicted_spread or 0
    if predicted and spread > UNSTABLE * predicted:
        times = f"{spread / predicted:.1f} times"
        yield f"training is unstable: its spread is {times} what the size of the test set explains"
    sign = each.kind.sign
    if not each.kind.is_share:
        return
    lowest = min(sign * value for value in baseline.values(each.metric))
    for run in new.runs:
        score = run.scores[each.metric]
        if sign * score < lowest - OUTLIER * max(spread, predicted):
            yield (
                f"seed {run.seed} is far below every seed of the baseline: {show(each, score)}, "
                f"their lowest is {show(each, sign * lowest)}"
            )
