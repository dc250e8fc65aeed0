"""The picture of a study: what each trial reached, and against each of its values."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from shared.charts import BLACK, BLUE, FONT_SIZE, GRAY, GREEN, VERMILLION
from shared.compose import hydra_text
from tools.sweep.ranges import Choice, LogUniform, Search, Whole
from tools.sweep.record import objective
from tools.sweep.study import Trial

COLUMNS = 3
MARGIN = 0.1  # of the height of what is shown
SMALLEST, FACTOR = 1e-12, 1.3  # of a loss, on its logarithmic scale: beyond the least and the most
FEW, MANY = (0.2, 10)  # this share of so many trials may lie beyond, so that the rest can be told apart


def draw(search: Search, trials: Sequence[Trial], best: Trial | None, title: str) -> bytes:
    """Return a PNG: above the objective by trial, below it against each parameter.

    Trials without a value, which diverged or failed, are drawn at the lower edge.
    """
    count = len(search.ranges)
    rows = -(-count // COLUMNS)
    figure = Figure(figsize=(13, 4.5 + 3.6 * rows), layout="constrained")
    figure.suptitle(title, fontsize=FONT_SIZE + 2)
    grid = figure.add_gridspec(1 + rows, COLUMNS, height_ratios=[4.5, *[3.6] * rows])
    limits = scale(search, trials)
    course = figure.add_subplot(grid[0, :])
    _course(course, search, trials, limits)
    course.set_xlabel("trial", fontsize=FONT_SIZE)
    course.xaxis.set_major_locator(MaxNLocator(integer=True))
    for number, key in enumerate(search.ranges):
        axes = figure.add_subplot(grid[1 + number // COLUMNS, number % COLUMNS])
        places = [_place(search, key, one) for one in trials]
        _points(axes, search, trials, places, limits)
        _axis(axes, search, key)
    for axes, key in zip(figure.axes, ["", *search.ranges], strict=True):
        if best is not None and best.value is not None:
            x = _place(search, key, best) if key else best.number
            y = best.value * _unit(search)
            axes.plot([x], [y], "*", color=GREEN, markersize=18, label="best", zorder=4, clip_on=False)
        _finish(axes, search, limits)
    course.legend(fontsize=FONT_SIZE - 2)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()


def scale(search: Search, trials: Sequence[Trial]) -> tuple[float, float]:
    """Return the lowest and the highest value that are shown; the few worst are beyond.

    Those of pruned trials are of an epoch before the last and say nothing of the scale.
    """
    done = [one.value for one in trials if one.status == "done" and one.value is not None]
    values = np.array(done) * _unit(search)
    if not len(values):
        return 0.1, 1.0
    few = FEW if len(values) >= MANY else 0.0
    if search.maximizes:
        low, high = np.quantile(values, few), values.max()
        margin = MARGIN * (high - low or 1.0)
        return float(low - margin), float(high + margin)
    least, most = values.min(), np.quantile(values, 1 - few)
    return float(max(least, SMALLEST) / FACTOR), float(max(most, SMALLEST) * FACTOR)


def _unit(search: Search) -> float:
    """Return what a value is multiplied with: accuracies are shown in per cent."""
    return 100.0 if search.maximizes else 1.0


def _course(axes: Axes, search: Search, trials: Sequence[Trial], limits: tuple[float, float]) -> None:
    """Draw the objective by trial, and the best so far."""
    _points(axes, search, trials, [one.number for one in trials], limits)
    done = [one for one in trials if one.status == "done" and one.value is not None]
    better = np.maximum if search.maximizes else np.minimum
    values = np.array([one.value for one in done], dtype=float) * _unit(search)
    if done:
        so_far = better.accumulate(values)
        axes.step(
            [one.number for one in done],
            so_far,
            where="post",
            color=BLACK,
            lw=1.5,
            label="best so far",
            zorder=1,
        )


def _points(
    axes: Axes, search: Search, trials: Sequence[Trial], places: Sequence[Any], limits: tuple[float, float]
) -> None:
    """Draw a point for each trial; at the edge of the scale, as a triangle, what lies beyond it."""
    low, high = limits
    worst, beyond = (low, "v") if search.maximizes else (high, "^")
    style: dict[str, Any] = {"markersize": 8, "alpha": 0.8}
    outside = False
    looks = (("done", BLUE, "o"), ("pruned", GRAY, "s"), ("diverged or failed", VERMILLION, "X"))
    for name, color, marker in looks:
        if any(one.status in name for one in trials):
            axes.plot([], [], marker, color=color, label=name, **style)
        for one, x in zip(trials, places, strict=True):
            if x is None or one.status not in name.split(" or "):
                continue
            y = worst if one.value is None else one.value * _unit(search)
            inside = low <= y <= high
            outside |= not inside
            form = marker if inside else beyond
            axes.plot([x], [min(max(y, low), high)], form, color=color, clip_on=False, **style)
    if outside:
        axes.plot([], [], beyond, color=GRAY, label="beyond the scale", **style)


def _place(search: Search, key: str, trial: Trial) -> Any:
    """Return where a trial stands on the axis of a parameter; None where it has no value."""
    value = trial.params.get(key)
    one = search.ranges[key]
    if isinstance(one, Choice) and value is not None:
        return [hydra_text(choice) for choice in one.values].index(value)
    return value


def _axis(axes: Axes, search: Search, key: str) -> None:
    """Make the axis of a parameter."""
    one = search.ranges[key]
    axes.set_xlabel(key, fontsize=FONT_SIZE)
    if isinstance(one, Choice):
        labels = [hydra_text(value) for value in one.values]
        axes.set_xticks(range(len(labels)), labels, parse_math=False)
        axes.set_xlim(-0.5, len(labels) - 0.5)
        return
    if isinstance(one, LogUniform):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(one.low, one.high)
    else:
        half = 0.5 if isinstance(one, Whole) else 0.0
        axes.set_xlim(one.low - half, one.high + half)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=isinstance(one, Whole)))


def _finish(axes: Axes, search: Search, limits: tuple[float, float]) -> None:
    """Give an axes its scale, its grid and the name of the objective."""
    if not search.maximizes:
        axes.set_yscale("log")
    axes.set_ylim(*limits)
    unit = " (%)" if search.maximizes else ""
    axes.set_ylabel(f"{objective(search)}{unit}", fontsize=FONT_SIZE)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=FONT_SIZE - 2)
    axes.spines[["top", "right"]].set_visible(False)
