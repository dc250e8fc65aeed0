"""The pictures that only this application has: weights as colors; accuracy by length."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from shared.charts import BLUE, FONT_SIZE, GRAY, VERMILLION

COLOURS = "Blues"  # from light to dark: readable without seeing colors at all


@dataclass(frozen=True)
class HeatMap:
    """Weights (rows, columns), 0 to 1, and what stands at the axes.

    Attributes:
        weights: each row adds up to 1, if all of its columns are shown.
        rows: the name of each row; empty where there is one that needs none.
        columns: the name of each column.
        title: what stands above.
        marked: the column of each row that is outlined; none for an empty one.
    """

    weights: NDArray[np.float64]
    rows: Sequence[str]
    columns: Sequence[str]
    title: str
    marked: Sequence[int] = ()


def heat_maps(
    maps: Sequence[HeatMap], title: str, x_label: str, y_label: str, highest: float, side_by_side: bool
) -> bytes:
    """Return a PNG of one or more heat maps on one scale.

    Args:
        maps: what is drawn.
        title: what they show.
        x_label: what a column is.
        y_label: what a row is.
        highest: the weight that the darkest color stands for.
        side_by_side: two in a row; one below the other otherwise.
    """
    columns = 2 if side_by_side and len(maps) > 1 else 1
    rows = -(-len(maps) // columns)
    height = 5.6 if side_by_side else 2.2 + 0.35 * len(maps[0].rows)
    size = (6.5 * columns + 1.5, height * rows + 0.8) if side_by_side else (15, height * rows + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=FONT_SIZE + 2)
    grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes, one in zip(grid, maps, strict=False):
        image = axes.imshow(one.weights, cmap=COLOURS, vmin=0, vmax=highest, aspect="auto")
        axes.set_xticks(
            range(len(one.columns)), one.columns, rotation=90, fontsize=FONT_SIZE - 2, parse_math=False
        )
        axes.set_yticks(range(len(one.rows)), one.rows, fontsize=FONT_SIZE - 2)
        axes.set_title(one.title, fontsize=FONT_SIZE, parse_math=False)
        for row, column in enumerate(one.marked):
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor=VERMILLION, linewidth=2))
    for axes in grid[len(maps) :]:
        axes.set_axis_off()
    figure.supxlabel(x_label, fontsize=FONT_SIZE)
    figure.supylabel(y_label, fontsize=FONT_SIZE)
    _weight_bar(figure, image, grid)
    return _png(figure)


def accuracy_by_length(
    accuracies: Mapping[str, Mapping[int, float]], trained: int, chance: float, title: str
) -> bytes:
    """Return a PNG of accuracy over the number of pairs, a curve a network.

    Args:
        accuracies: by network, by number of pairs; 0 to 1.
        trained: the number of pairs that it was trained with.
        chance: the accuracy of guessing.
        title: what was trained.
    """
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots()
    for (label, curve), style in zip(accuracies.items(), (("o-", BLUE), ("s--", VERMILLION)), strict=False):
        values = [100 * accuracy for accuracy in curve.values()]
        axes.plot(list(curve), values, style[0], color=style[1], lw=2.5, ms=9, label=label)
        axes.annotate(
            f"{values[0]:.1f} %",
            (next(iter(curve)), values[0]),
            (8, 8),
            textcoords="offset points",
            fontsize=FONT_SIZE,
            color=style[1],
        )
    axes.axhline(100 * chance, color="black", ls=":", lw=2, label=f"guessing: {100 * chance:.1f} %")
    axes.axvline(trained, color=GRAY, lw=8, alpha=0.4, zorder=0, label=f"trained with {trained}")
    axes.set_xticks(sorted({pairs for curve in accuracies.values() for pairs in curve}))
    axes.set_ylim(0, 110)
    axes.set_yticks(range(0, 101, 20))
    axes.set_title(title, fontsize=FONT_SIZE + 2)
    axes.set_xlabel("pairs to look through", fontsize=FONT_SIZE)
    axes.set_ylabel("test accuracy (%)", fontsize=FONT_SIZE)
    axes.tick_params(labelsize=FONT_SIZE - 2)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=FONT_SIZE, loc="center left", bbox_to_anchor=(0.02, 0.4))
    return _png(figure)


def _weight_bar(figure: Figure, image: Any, grid: Any) -> None:
    bar = figure.colorbar(image, ax=list(grid), shrink=0.8, aspect=25)
    bar.set_label("attention weight", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE - 2)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
