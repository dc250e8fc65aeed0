"""The pictures that only this application has: weights as colours; accuracy by length."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from shared.runs.pictures import BLUE, FONT_SIZE, GREY, ORANGE

COLOURS = "Blues"  # from light to dark: readable without seeing colours at all
LINE = 76  # characters in a line of text
DARK = 0.55  # share of the scale above which black letters are hard to read


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


@dataclass(frozen=True)
class WeighedText:
    """Tokens and their weights (T,), and what stands above them."""

    tokens: Sequence[str]
    weights: NDArray[np.float64]
    title: str


def heat_maps(
    maps: Sequence[HeatMap],
    title: str,
    x_label: str,
    y_label: str,
    highest: float,
    side_by_side: bool,
) -> bytes:
    """Return a PNG of one or more heat maps on one scale.

    Args:
        maps: what is drawn.
        title: what they show.
        x_label: what a column is.
        y_label: what a row is.
        highest: the weight that the darkest colour stands for.
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
        axes.set_xticks(range(len(one.columns)), one.columns, rotation=90, fontsize=FONT_SIZE - 2)
        axes.set_yticks(range(len(one.rows)), one.rows, fontsize=FONT_SIZE - 2)
        axes.set_title(one.title, fontsize=FONT_SIZE)
        for row, column in enumerate(one.marked):
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor=ORANGE, linewidth=2))
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
    for (label, curve), style in zip(accuracies.items(), (("o-", BLUE), ("s--", ORANGE)),
                                     strict=False):  # fmt: skip
        values = [100 * accuracy for accuracy in curve.values()]
        axes.plot(list(curve), values, style[0], color=style[1], lw=2.5, ms=9, label=label)
        last = f"{values[0]:.1f} %"
        axes.annotate(last, (next(iter(curve)), values[0]), (8, 8), textcoords="offset points",
                      fontsize=FONT_SIZE, color=style[1])  # fmt: skip
    axes.axhline(100 * chance, color="black", ls=":", lw=2, label=f"guessing: {100 * chance:.1f} %")
    axes.axvline(trained, color=GREY, lw=8, alpha=0.4, zorder=0, label=f"trained with {trained}")
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


def words(texts: Sequence[WeighedText], title: str) -> bytes:
    """Return a PNG of texts in which the colour behind each word is its weight."""
    placed = [_placed(one.tokens) for one in texts]
    heights = [places[-1][0] + 2.2 for places in placed]  # in lines
    figure = Figure(figsize=(13, 0.36 * sum(heights) + 1.2), layout="constrained")
    figure.suptitle(title, fontsize=FONT_SIZE + 2)
    grid = figure.subplots(len(texts), 1, squeeze=False, height_ratios=heights).ravel()
    scale = Normalize(0, 100 * max(one.weights.max() for one in texts))
    for axes, one, places, height in zip(grid, texts, placed, heights, strict=True):
        axes.set(xlim=(-0.5, LINE + 0.5), ylim=(height - 1, -0.6))
        axes.set_axis_off()
        axes.set_title(one.title, fontsize=FONT_SIZE, loc="left")
        for token, weight, (line, column) in zip(one.tokens, one.weights, places, strict=True):
            shade = scale(100 * weight)
            corner = (column - 0.4, line - 0.45)
            axes.add_patch(
                Rectangle(corner, len(token) + 0.8, 0.9, facecolor=colormaps[COLOURS](shade))
            )
            axes.text(column + len(token) / 2, line, token.replace("$", r"\$"), va="center",
                      ha="center", family="monospace", fontsize=FONT_SIZE + 1,
                      color="white" if shade > DARK else "black")  # fmt: skip
    _weight_bar(figure, ScalarMappable(scale, COLOURS), grid, " (%)")
    return _png(figure)


def _placed(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Return line and column of each token, a space between any two."""
    places, line, column = [], 0, 0
    for token in tokens:
        if column and column + len(token) > LINE:
            line, column = line + 1, 0
        places.append((line, column))
        column += len(token) + 1
    return places


def _weight_bar(figure: Figure, image: Any, grid: Any, unit: str = "") -> None:
    bar = figure.colorbar(image, ax=list(grid), shrink=0.8, aspect=25)
    bar.set_label(f"attention weight{unit}", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE - 2)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
