"""What every picture has in common: its parts, and how it is drawn for a slide.

1280 x 720 pixels, no letter below 14 points, the colors of Okabe and Ito
(jfly.uni-koeln.de/color, 2008), which people with any color vision can tell apart; and each line
has a style and a marker of its own beside its color.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, NullLocator

Row = dict[str, Any]

BLUE, VERMILLION, GREEN, PURPLE, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"
SKY, ORANGE = "#56B4E9", "#E69F00"
STYLES = [  # color, line, marker
    (BLUE, "-", "o"),
    (VERMILLION, "--", "s"),
    (GREEN, "-.", "^"),
    (BLACK, ":", "D"),
    (PURPLE, (0, (5, 1, 1, 1, 1, 1)), "v"),
    (ORANGE, (0, (8, 2)), "P"),
    (SKY, (0, (1, 1)), "X"),
]
FONT_SIZE = 14
TITLE_SIZE = 17


@dataclass(frozen=True)
class Figure:
    """One picture with all that belongs to it.

    Attributes:
        name: of its files, NAME.png and NAME.csv.
        title: its heading.
        caption: what is to be seen; its numbers come from `rows`.
        alt: what the picture shows, for those who cannot see it.
        rows: the numbers, a row each, with the same keys in all.
        png: the picture.
        table: rows to be shown below the picture.
    """

    name: str
    title: str
    caption: str
    alt: str
    rows: list[Row]
    png: bytes
    table: list[Row] = field(default_factory=list)


def canvas(title: str) -> Canvas:
    """Return an empty picture with its heading."""
    figure = Canvas(figsize=(12.8, 7.2), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=TITLE_SIZE)
    return figure


def dress(axes: Axes, x_label: str = "", y_label: str = "", title: str = "") -> None:
    """Label the axes, in letters that are readable from the back of the room."""
    axes.set_xlabel(x_label, fontsize=FONT_SIZE)
    axes.set_ylabel(y_label, fontsize=FONT_SIZE)
    axes.set_title(title, fontsize=FONT_SIZE + 1)
    axes.tick_params(labelsize=FONT_SIZE)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def logarithmic(axes: Axes) -> None:
    """Give an axis of norms powers of ten, and no more of them than can be read."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())


def line(axes: Axes, number: int, x: Sequence[Any], y: Sequence[float], label: str = "") -> None:
    """Draw a curve in the style of this number, with about ten markers on it."""
    color, style, marker = STYLES[number % len(STYLES)]
    axes.plot(
        x,
        y,
        linestyle=style,
        color=color,
        marker=marker,
        markersize=7,
        linewidth=2.2,
        markevery=max(1, len(x) // 10),
        label=label,
    )


def legend_below(figure: Canvas, axes: Axes, columns: int) -> None:
    """Put one legend for all panels under them."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=columns,
        fontsize=FONT_SIZE,
        frameon=False,
        handlelength=3.5,
    )


def png(figure: Canvas) -> bytes:
    """Return the picture as a file's content."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()


def where(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """Return the rows that have these values."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def column(rows: Sequence[Row], key: str) -> list[Any]:
    """Return one value of each row."""
    return [row[key] for row in rows]


def number(value: float) -> str:
    """Write a number of any size in three digits."""
    if value != value or value in (np.inf, -np.inf):
        return str(value)
    return f"{value:.3g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def change(ratio: float) -> str:
    """Say what became of a gradient on its way, from the ratio of its norms, end over start."""
    if np.isnan(ratio):
        return "is 0 where it enters"
    if ratio < 1e-3:
        return f"vanishes (to {number(ratio)} times what it was)"
    if ratio > 1e3:
        return f"explodes (to {number(ratio)} times what it was)"
    if 0.1 <= ratio <= 10:
        return f"stays within a factor of 10 ({number(ratio)} times what it was)"
    return f"{'shrinks' if ratio < 1 else 'grows'} (to {number(ratio)} times what it was)"


def joined(parts: Mapping[str, str]) -> str:
    """Return "name: text; name: text"."""
    return "; ".join(f"{name}: {text}" for name, text in parts.items())
