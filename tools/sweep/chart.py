"""The chart of a study: the value of each trial, and against each of its parameters."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from shared import charts
from shared.runs.repeat import hydra_text
from tools.sweep.search import Choice, Integer, LogUniform, Search
from tools.sweep.study import Trial

Limits = tuple[float, float]

COLUMNS = 3
MARGIN = 0.1  # of the height of a panel
SMALLEST, FACTOR = 1e-12, 1.3  # margin of a loss, on its logarithmic scale
OUTLIERS, MANY = 0.2, 10  # of so many trials, this share may lie beyond the scale
LOOKS = (
    ("done", charts.BLUE, "o"),
    ("pruned", charts.GRAY, "s"),
    ("diverged or failed", charts.VERMILLION, "X"),
)


def study_chart(search: Search, trials: Sequence[Trial], best: Trial | None, title: str) -> bytes:
    """Return a PNG: the objective by trial, and below it against each parameter.

    Trials without a value, which diverged or failed, are drawn at the edge.
    """
    if search.maximizes:  # accuracies are drawn in percent
        trials = [one if one.value is None else replace(one, value=100 * one.value) for one in trials]
    rows = -(-len(search.ranges) // COLUMNS)
    chart = charts.figure(title, (13, 4.5 + 3.6 * rows))
    grid = chart.add_gridspec(1 + rows, COLUMNS, height_ratios=[4.5, *[3.6] * rows])
    limits = value_limits(search, trials)
    objective = f"{search.objective_name}{' (%)' if search.maximizes else ''}"
    for panel, key in enumerate(["", *search.ranges], start=-1):
        place = grid[1 + panel // COLUMNS, panel % COLUMNS] if key else grid[0, :]
        axes = chart.add_subplot(place)
        _draw_trials(axes, search, trials, key, limits)
        if best:
            x, y = _x(search, key, best), trials[best.number].value
            star: dict[str, Any] = {"color": charts.GREEN, "markersize": 18, "zorder": 4}
            axes.plot([x], [y], "*", label="best", clip_on=False, **star)  # type: ignore[arg-type]
        if key:
            _scale_parameter(axes, search, key)
        else:
            numbers, values = _done(trials)
            if numbers:
                so_far = (np.maximum if search.maximizes else np.minimum).accumulate(values)
                look: dict[str, Any] = {"where": "post", "color": charts.BLACK, "lw": 1.5, "zorder": 1}
                axes.step(numbers, so_far, label="best so far", **look)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
        charts.label_axes(axes, key or "trial", objective)
        if not search.maximizes:
            axes.set_yscale("log")
        axes.set_ylim(*limits)
    return charts.png(chart)


def value_limits(search: Search, trials: Sequence[Trial]) -> Limits:
    """Return the limits of the y axis; a few of the worst trials lie beyond them.

    The values of pruned trials are not final, and do not count.
    """
    values = _done(trials)[1]
    if not len(values):
        return 0.1, 1.0
    share = OUTLIERS if len(values) >= MANY else 0.0
    if search.maximizes:
        low, high = np.quantile(values, share), values.max()
        margin = MARGIN * (high - low or 1.0)
        return float(low - margin), float(high + margin)
    low, high = values.min(), np.quantile(values, 1 - share)
    return float(max(low, SMALLEST) / FACTOR), float(max(high, SMALLEST) * FACTOR)


def _done(trials: Sequence[Trial]) -> tuple[list[int], np.ndarray]:
    """Return numbers and values of the trials that are done."""
    done = [(one.number, one.value) for one in trials if one.status == "done" and one.value is not None]
    return [number for number, _ in done], np.array([value for _, value in done], dtype=float)


def _draw_trials(axes: Axes, search: Search, trials: Sequence[Trial], key: str, limits: Limits) -> None:
    """Draw a point for each trial, or a triangle at the edge for a value beyond the limits."""
    low, high = limits
    worst, beyond = (low, "v") if search.maximizes else (high, "^")
    style: dict[str, Any] = {"markersize": 8, "alpha": 0.8}
    any_outside = False
    for name, color, marker in LOOKS:
        chosen = [one for one in trials if one.status in name.split(" or ")]
        if chosen:
            axes.plot([], [], marker, color=color, label=name, **style)
        for one in chosen:
            y = worst if one.value is None else one.value
            if (x := _x(search, key, one)) is not None:
                outside = not low <= y <= high
                any_outside |= outside
                form = beyond if outside else marker
                axes.plot([x], [min(max(y, low), high)], form, color=color, clip_on=False, **style)
    if any_outside:
        axes.plot([], [], beyond, color=charts.GRAY, label="beyond the scale", **style)


def _x(search: Search, key: str, trial: Trial) -> Any:
    """Return the x of a trial: its number without a key, else its value; None if it has none."""
    if not key:
        return trial.number
    value, one = trial.params.get(key), search.ranges[key]
    if isinstance(one, Choice) and value is not None:
        return [hydra_text(choice) for choice in one.values].index(value)
    return value


def _scale_parameter(axes: Axes, search: Search, key: str) -> None:
    """Give the x axis the range of a parameter."""
    one = search.ranges[key]
    if isinstance(one, Choice):
        labels = [hydra_text(value) for value in one.values]
        axes.set_xticks(range(len(labels)), labels, parse_math=False)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    elif isinstance(one, LogUniform):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(one.low, one.high)
    else:
        whole = isinstance(one, Integer)
        axes.set_xlim(one.low - 0.5 * whole, one.high + 0.5 * whole)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
