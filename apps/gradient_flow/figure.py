"""What all charts have in common: a chart with its numbers, caption and table, and helpers for these."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from shared import charts

Row = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A chart with everything the page shows of it."""

    name: str  # of its files, NAME.png and NAME.csv
    title: str
    caption: str  # what to look at; its numbers come from `rows`
    alt: str  # a description for people who cannot see the chart
    rows: Sequence[Row]  # the numbers, all rows with the same keys
    png: bytes  # 1280 x 720
    table: Sequence[Row] = ()  # rows to show below the chart


def where(rows: Sequence[Row], **values: Any) -> list[Row]:
    """Return the rows that have these values."""
    return [row for row in rows if all(row[key] == value for key, value in values.items())]


def column(rows: Sequence[Row], key: str) -> list[Any]:
    """Return one value of each row."""
    return [row[key] for row in rows]


def ratio(rows: Sequence[Row], key: str) -> float:
    """Return the value of the first row over that of the last; NaN if that is 0."""
    return float(rows[0][key] / rows[-1][key]) if rows[-1][key] else float("nan")


def draw_curves(
    axes: Axes, rows: Sequence[Row], by: str, x: str, y: str, label: Callable[[Any], str] = str
) -> None:
    """Draw column `y` over column `x`, one curve for each value of column `by`."""
    for style, value in enumerate(dict.fromkeys(column(rows, by))):
        chosen = where(rows, **{by: value})
        charts.curve(axes, style, column(chosen, x), column(chosen, y), label(value))


def number(value: float) -> str:
    """Format a number of any size with three digits."""
    if not np.isfinite(value):
        return str(value)
    return f"{value:.3g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def change(ratio: float) -> str:
    """Describe what happened to a gradient on its way, by the ratio of its norms, end over start."""
    if np.isnan(ratio):
        return "is 0 from the start"
    if 0.1 <= ratio <= 10:
        return f"stays within a factor of 10 ({number(ratio)} times its norm)"
    verb = "vanishes" if ratio < 1e-3 else "shrinks" if ratio < 1 else "explodes" if ratio > 1e3 else "grows"
    return f"{verb} (to {number(ratio)} times its norm)"


def listing(texts: Mapping[str, str]) -> str:
    """Return "name: text; name: text"."""
    return "; ".join(f"{name}: {text}" for name, text in texts.items())
