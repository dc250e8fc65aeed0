"""False alarms and power of the gate, by simulation; writes MEASURED.md. Takes some minutes.

    python -m accuracy_gate.simulate > MEASURED.md

Each simulated suite is one case with independent metrics, decided with all looks, shares and early passes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from accuracy_gate.ledger import RATE, Bettor
from accuracy_gate.plan import CLEAR, CLEAR_PAIRS, LOOKS, Plan
from accuracy_gate.rank_sum import rank_sum_cdf
from accuracy_gate.signed_rank import MARGIN, signed_rank_cdf

Array = NDArray[np.float64]
SUITES = 100_000
CHUNK = 2_000_000  # comparisons of two scores at a time
FAMILIES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "skewed (log-normal)": lambda random, shape: -random.lognormal(0, 1, shape),
    "heavy tails (t, 1.5 degrees)": lambda random, shape: random.standard_t(1.5, shape),
    "tied (three values)": lambda random, shape: random.choice(
        np.array([-2.0, 0.0, 1.0]), shape, p=(0.1, 0.3, 0.6)
    ),
    "discrete (binomial, n = 40)": lambda random, shape: random.binomial(40, 0.9, shape).astype(float),
}
TIED = ("tied (three values)", "discrete (binomial, n = 40)")


@dataclass(frozen=True)
class Setting:
    """What is simulated."""

    baseline: int
    looks: tuple[int, ...]
    metrics: int
    family: str = "normal"
    alike: float | None = None  # correlation of the two runs of a seed; None: unpaired
    drop: float = 0.0  # in standard deviations of the first metric
    suites: int = SUITES


def failures(setting: Setting) -> int:
    """Return how many suites fail."""
    random, failed = np.random.default_rng(1), 0
    size = max(1, CHUNK // (setting.metrics * setting.baseline * setting.looks[-1]))
    for start in range(0, setting.suites, size):
        failed += int(_failed(setting, random, min(size, setting.suites - start)).sum())
    return failed


def _failed(setting: Setting, random: np.random.Generator, suites: int) -> NDArray[np.bool_]:
    m, n_max, paired = setting.baseline, setting.looks[-1], setting.alike is not None
    plan = Plan(m, 1, setting.looks, paired=paired)
    draw = FAMILIES[setting.family]
    baseline = draw(random, (suites, setting.metrics, m))
    new = draw(random, (suites, setting.metrics, n_max))
    if setting.alike:  # a share of the runs is repeated to the last bit
        same = random.random(new.shape) < setting.alike
        new = np.where(same, baseline[..., :n_max], new)
    if setting.drop:
        new[:, 0] -= setting.drop * draw(np.random.default_rng(0), (100_000,)).std()
    levels = plan.levels(Fraction(1, setting.metrics))
    failed, undecided = np.zeros(suites, bool), np.ones(suites, bool)
    for n in setting.looks:
        p = _rank_sum_p(baseline, new[..., :n], setting.family in TIED or bool(setting.alike))
        clear = p >= CLEAR
        if paired:
            by_seed = _signed_rank_p(baseline, new[..., :n])
            clear &= by_seed >= CLEAR_PAIRS
            p = by_seed if plan.by_seed(n) else p
        failed |= undecided & (p <= levels[n] * (1 + 1e-9)).any(axis=1)
        undecided &= ~failed & ~clear.all(axis=1)
    return failed


def _rank_sum_p(baseline: Array, new: Array, tied: bool) -> Array:
    m, n = baseline.shape[-1], new.shape[-1]
    below = (new[..., :, None] > baseline[..., None, :]).sum(axis=(-1, -2))
    if not tied:
        return rank_sum_cdf(tuple(range(2, 2 * (m + n) + 1, 2)), n)[2 * below + n * (n + 1)]
    everything = np.sort(np.concatenate([baseline, new], axis=-1)).reshape(-1, m + n)
    sums = 2 * below + (new[..., :, None] == baseline[..., None, :]).sum(axis=(-1, -2)) + n * (n + 1)
    breaks = everything[:, 1:] != everything[:, :-1]  # the pattern of ties
    patterns, inverse = np.unique(breaks, axis=0, return_inverse=True)
    p, flat = np.empty(sums.size), sums.reshape(-1)
    for number, pattern in enumerate(patterns):
        group = np.concatenate([[0], np.cumsum(pattern)])
        counts = np.bincount(group)
        doubled = (2 * np.cumsum(counts) - counts + 1)[group]
        chosen = inverse.reshape(-1) == number
        p[chosen] = rank_sum_cdf(tuple(doubled.tolist()), n)[flat[chosen]]
    return p.reshape(sums.shape)


def _signed_rank_p(baseline: Array, new: Array) -> Array:
    n = new.shape[-1]
    changes = new - baseline[..., :n] + MARGIN * baseline.std(axis=-1, ddof=1, keepdims=True)
    sizes = np.abs(changes)
    # Repeated runs differ by the margin exactly: they share a rank.
    lower = (sizes[..., :, None] > sizes[..., None, :] * (1 + 1e-9)).sum(axis=-1)
    equal = (np.abs(sizes[..., :, None] - sizes[..., None, :]) <= 1e-9 * sizes[..., None, :]).sum(axis=-1)
    doubled = 2 * lower + equal + 1
    observed = np.where(changes > 0, doubled, 0).sum(axis=-1)
    if (equal == 1).all():
        return signed_rank_cdf(tuple(range(2, 2 * n + 1, 2)))[observed]
    flat, sums = np.sort(doubled.reshape(-1, n), axis=1), observed.reshape(-1)
    patterns, inverse = np.unique(flat, axis=0, return_inverse=True)
    tables = [signed_rank_cdf(tuple(pattern.tolist())) for pattern in patterns]
    found = [tables[k][s] for k, s in zip(inverse.reshape(-1).tolist(), sums.tolist(), strict=True)]
    return np.array(found).reshape(observed.shape)


def upper_bound(count: int, total: int) -> float:
    """Return the upper end of Wilson's 95 % interval of a share (Wilson 1927, JASA 22)."""
    z, share = 1.96, count / total
    center = share + z * z / (2 * total)
    return (center + z * np.sqrt(share * (1 - share) / total + z * z / (4 * total**2))) / (1 + z * z / total)


def false_alarm_rows() -> Iterator[list[str]]:
    """Yield the rows of the table of false alarms."""
    small: list[tuple[int, tuple[int, ...]]] = [(20, (2,)), (5, (5,)), (20, LOOKS)]
    settings = [Setting(m, looks, 1, family) for m, looks in small for family in list(FAMILIES)[:4]]
    settings += [Setting(100, (100,), 1), Setting(200, (50,), 1)]
    settings += [Setting(20, LOOKS, metrics) for metrics in (2, 10, 50)]
    settings += [Setting(20, LOOKS, 10, TIED[0], suites=10_000)]
    settings += [Setting(20, LOOKS, metrics, TIED[1], suites=1_000) for metrics in (1, 10)]
    settings += [Setting(20, LOOKS, metrics, alike=0.0) for metrics in (1, 10)]
    settings += [Setting(20, LOOKS, 2, alike=alike, suites=1_000) for alike in (0.5, 0.9)]
    for each in settings:
        count = failures(each)
        rate, bound = count / each.suites, upper_bound(count, each.suites)
        yield [*_describe(each), f"{each.suites:,}", f"{rate:.2%}", f"{bound:.2%}"]


def power_rows() -> Iterator[list[str]]:
    """Yield the rows of the table of power: one metric, by the size of the drop."""
    for m, looks, alike in ((20, (5,), None), (20, LOOKS, None), (40, LOOKS, None), (20, LOOKS, 0.0)):
        for family in list(FAMILIES)[:3]:
            settings = [
                Setting(m, looks, 1, family, alike, drop, 10_000) for drop in (0.5, 1.0, 1.5, 2.0, 3.0)
            ]
            found = [f"{failures(each) / each.suites:.0%}" for each in settings]
            yield [*(text for n, text in enumerate(_describe(settings[0])) if n != 3), *found]


def drift_rows() -> Iterator[list[str]]:
    """Yield the rows of the table of drift."""
    for family, step, ledgers in (
        ("normal", 0.0, 3_000),
        (TIED[0], 0.0, 3_000),
        ("normal", 0.02, 300),
        ("normal", 0.04, 300),
        ("normal", 0.08, 300),
    ):
        alarms = 0
        for number in range(ledgers):
            random, bettor = np.random.default_rng(number), Bettor(f"{number}")
            for check, scores in enumerate(FAMILIES[family](random, (31, 5))):
                for seed, score in enumerate(scores):
                    bettor.see(seed, float(score) - step * check)
            alarms += bettor.highest >= 1 / RATE
        yield [family, f"{step:g}", f"{ledgers:,}", f"{alarms / ledgers:.1%}"]


def _describe(setting: Setting) -> list[str]:
    pairs = "no" if setting.alike is None else f"{setting.alike:.0%} repeated"
    looks = ", ".join(map(str, setting.looks))
    return [setting.family, str(setting.baseline), looks, str(setting.metrics), pairs]


def _table(header: Sequence[str], rows: Iterator[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the page."""
    common = ["results", "baseline seeds", "looks after", "metrics", "paired"]
    alarms = _table([*common, "suites", "false alarms", "at most (95 %)"], false_alarm_rows())
    drops = ["0.5", "1", "1.5", "2", "3"]
    power = _table([name for name in common if name != "metrics"] + drops, power_rows())
    print("# Measured\n\nGenerated by `python -m accuracy_gate.simulate`; the promise is 1 % a suite.\n")
    print(f"## False alarms\n\nNothing has changed. A suite fails if any metric does.\n\n{alarms}\n")
    print(
        "## Power\n\nShare of 10,000 suites with one metric that fail, by drop in standard deviations (of a"
    )
    print(f"sample, if the distribution has none).\n\n{power}\n")
    drift = _table(["results", "decline by check", "ledgers", "alarms"], drift_rows())
    print("## Drift\n\nLedgers of 30 checks of 5 seeds, the runs of a seed independent; decline in standard")
    print(f"deviations.\n\n{drift}")


if __name__ == "__main__":
    main()
