"""What other rules would have decided on the same recorded results: planted faults and false alarms."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.tables import markdown_table

Array = NDArray[np.float64]
DRAWS = 1_000
NEW = 5  # runs, for a rule that takes several
SHARE_OF_ALARMS = 0.05  # of Welch's test and the t quantile, as people use them


def _welch(old: Array, new: Array) -> bool:
    if len(new) < 2:
        return False
    a, b = old.var(axis=0, ddof=1) / len(old), new.var(axis=0, ddof=1) / len(new)
    distance = old.mean(axis=0) - new.mean(axis=0)
    freedom = (a + b) ** 2 / np.maximum(a**2 / (len(old) - 1) + b**2 / (len(new) - 1), 1e-300)
    return bool((distance > _t_quantile(np.maximum(freedom, 1)) * np.sqrt(a + b)).any())


def _t_quantile(freedom: Array) -> Any:
    from scipy.stats import t  # takes a second to import

    return t.ppf(1 - SHARE_OF_ALARMS, freedom)


def _iqr(old: Array, new: Array) -> bool:
    low, high = np.quantile(old, [0.25, 0.75], axis=0)
    return bool((new[0] < low - 1.5 * (high - low)).any())


# Columns: accuracy and the negative loss, so that higher is better; rows: seeds.
RULES: dict[str, Callable[[Array, Array], bool]] = {
    "accuracy of one run 1 point below the baseline's mean": lambda old, new: bool(
        new[0, 0] < old[:, 0].mean() - 0.01
    ),
    "one run below mean minus two standard deviations": lambda old, new: bool(
        (new[0] < old.mean(axis=0) - 2 * old.std(axis=0, ddof=1)).any()
    ),
    "one run below the t quantile of 95 % (bencher's t-test)": lambda old, new: bool(
        (new[0] < old.mean(axis=0) - _t_quantile(np.array(len(old) - 1.0)) * old.std(axis=0, ddof=1)).any()
    ),
    "one run below the lower quartile minus 1.5 IQR": _iqr,
    "one run below the lowest of the baseline": lambda old, new: bool((new[0] < old.min(axis=0)).any()),
    f"Welch's t-test at 5 %, {NEW} runs": _welch,
}


def rival_table(faults: Sequence[Mapping[str, Any]], honest: Mapping[str, Any]) -> str:
    """Return the table: a row for each rule, and one for the gate."""
    visible = [row for row in faults if row["outcome"] in ("caught", "missed")]
    baselines = {entry["baseline"]["case"]: scores(entry["baseline"]["runs"]) for entry in honest["cases"]}
    pools = [
        np.concatenate([baselines[entry["baseline"]["case"]], scores(entry["fresh"]["runs"])])
        for entry in honest["cases"]
    ]
    rows = []
    for name, rule in RULES.items():
        found = sum(_catches(rule, row, baselines) for row in visible)
        rows.append((name, f"{100 * _alarms(rule, pools):.1f} %", f"{found} of {len(visible)}"))
    suites, caught = honest["resampled"]["suites"], sum(row["outcome"] == "caught" for row in visible)
    own = f"{100 * suites['alarms'] / suites['of']:.2f} %"
    rows.append(("the accuracy gate, up to 20 runs", own, f"{caught} of {len(visible)}"))
    return markdown_table(("rule", "suites with a false alarm", "planted faults found"), rows)


def _alarms(rule: Callable[[Array, Array], bool], pools: Sequence[Array]) -> float:
    """Return the share of resampled honest suites in which any case fails."""
    random = np.random.default_rng(0)

    def suite() -> Iterator[bool]:
        for pool in pools:
            order = random.permutation(len(pool))
            yield rule(pool[order[:20]], pool[order[20 : 20 + NEW]])

    return sum(any(list(suite())) for _ in range(DRAWS)) / DRAWS


def _catches(
    rule: Callable[[Array, Array], bool], row: Mapping[str, Any], baselines: Mapping[str, Array]
) -> bool:
    return any(
        case["verdict"] == "failed" or rule(baselines[case["case"]], scores(case["runs"])[:NEW])
        for case in row["cases"]
    )


def scores(runs: Sequence[Mapping[str, Any]]) -> Array:
    """Return accuracy and negative loss of the runs that are done, in either format of baselines."""
    done = [run for run in runs if run.get("status", "done") == "done"]
    pairs = [
        (run["scores"]["accuracy"], run["scores"]["loss"])
        if "scores" in run
        else (run["test_accuracy"], run["test_loss"])
        for run in done
    ]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2) * (1, -1)
