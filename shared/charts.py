"""The pictures of a run, made for a slide: labeled, readable from the back of the room.

Colors are Okabe and Ito's, which people with any color vision can tell apart
(jfly.uni-koeln.de/color, 2008).
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY, BLACK = "#999999", "#000000"
FONT_SIZE = 14
LINE, LINES = 76, 36  # characters in a line of text, lines of a text


def curves(
    steps: Sequence[dict[str, Any]],
    history: Sequence[dict[str, Any]],
    title: str,
    test: dict[str, float] | None = None,
    loss: str = "cross-entropy (nats)",
) -> bytes:
    """Return a PNG of loss and accuracy over the epochs.

    Args:
        steps: rows of steps.csv.
        history: rows of history.csv.
        title: what was trained.
        test: `loss` and `accuracy` on the test set, drawn as a last point.
        loss: what the loss is, with its unit.
    """
    figure = Figure(figsize=(12, 5), layout="constrained")
    figure.suptitle(title, fontsize=FONT_SIZE + 2)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    if steps:
        position = _epochs_passed(steps)
        losses = np.array([row["loss"] for row in steps])
        window = max(1, len(losses) // 60)
        smooth = np.convolve(losses, np.full(window, 1 / window), mode="valid")
        loss_axes.plot(position, losses, color=BLUE, alpha=0.2, linewidth=0.8)
        loss_axes.plot(
            position[window - 1 :],
            smooth,
            color=BLUE,
            label=f"training, mean of {window} steps" if window > 1 else "training",
        )
        highest = np.nanmax(smooth[len(smooth) // 50 :]) if np.isfinite(smooth).any() else 1.0
        loss_axes.set_ylim(0, 1.05 * highest)
    for axes, kind in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
        scale = 100 if kind == "accuracy" else 1
        if kind == "accuracy":
            values = [scale * row["train_accuracy"] for row in history]
            axes.plot(epochs, values, "o-", color=BLUE, label="training, while it learns")
        if history and f"validation_{kind}" in history[0]:
            values = [scale * row[f"validation_{kind}"] for row in history]
            axes.plot(epochs, values, "s-", color=ORANGE, label="validation")
        if test and epochs:
            axes.plot(epochs[-1], scale * test[kind], "*", color=GREEN, markersize=16, label="test")
        axes.set_xlabel("epoch", fontsize=FONT_SIZE)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=FONT_SIZE - 2)
        axes.legend(fontsize=FONT_SIZE - 2)
        axes.spines[["top", "right"]].set_visible(False)
    loss_axes.set_ylabel(loss, fontsize=FONT_SIZE)
    accuracy_axes.set_ylabel("accuracy (%)", fontsize=FONT_SIZE)
    return _png(figure)


def _epochs_passed(steps: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Return where each step lies on an axis of epochs: 1.0 is the end of the first."""
    epoch = np.array([row["epoch"] for row in steps])
    position = np.empty(len(steps))
    for number in np.unique(epoch):
        inside = np.flatnonzero(epoch == number)
        length = (epoch == epoch[0]).sum()  # the last epoch may have been cut short
        position[inside] = number - 1 + np.arange(1, len(inside) + 1) / length
    return position


def decision(
    side: NDArray[np.float64],
    surface: NDArray[np.float64],
    points: NDArray[np.float64],
    labels: NDArray[np.int64],
    title: str,
    legend: str = "center",
) -> bytes:
    """Return a PNG of what a network with two inputs says everywhere.

    Args:
        side: the coordinates (n,) of both axes.
        surface: the probability of class 1 at each place, (n, n): row y, column x.
        points: the examples, (N, 2).
        labels: their classes, 0 or 1, (N,).
        title: what was trained.
        legend: where the legend is, away from the points.
    """
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    axes = figure.subplots()
    image = axes.contourf(side, side, surface, levels=np.linspace(0, 1, 21), cmap="PuOr_r")
    axes.contour(side, side, surface, levels=[0.5], colors="black", linewidths=1.5)
    for label, marker in ((0, "o"), (1, "s")):
        x, y = points[labels == label].T
        axes.scatter(
            x,
            y,
            s=220,
            marker=marker,
            color="white",
            edgecolor="black",
            linewidth=2,
            label=f"class {label}",
            zorder=3,
        )
    axes.set_xlabel("first bit", fontsize=FONT_SIZE)
    axes.set_ylabel("second bit", fontsize=FONT_SIZE)
    axes.set_title(f"{title}; black: probability 0.5", fontsize=FONT_SIZE)
    axes.tick_params(labelsize=FONT_SIZE - 2)
    axes.legend(fontsize=FONT_SIZE - 2, loc=legend, labelspacing=1)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label("probability of class 1", fontsize=FONT_SIZE)
    return _png(figure)


def lines(
    x: NDArray[Any], series: Mapping[str, NDArray[np.float64]], title: str, x_label: str, y_label: str
) -> bytes:
    """Return a PNG of several curves over the same x, on a logarithmic scale.

    Args:
        x: shape (n,).
        series: what to call each curve, and its values (n,), all above 0.
        title: what is compared.
        x_label: what x is.
        y_label: what the values are.
    """
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots()
    styles = ["-", "--", "-.", ":", "-"]
    colors = [GREY, ORANGE, BLUE, GREEN, BLACK]
    for number, (label, values) in enumerate(series.items()):
        axes.plot(x, values, styles[number % 5], color=colors[number % 5], lw=2.5, label=label)
    axes.set_yscale("log")
    axes.set_title(title, fontsize=FONT_SIZE + 2)
    axes.set_xlabel(x_label, fontsize=FONT_SIZE)
    axes.set_ylabel(y_label, fontsize=FONT_SIZE)
    axes.tick_params(labelsize=FONT_SIZE - 2)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=FONT_SIZE - 2)
    return _png(figure)


def confusion(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: Sequence[str], title: str
) -> bytes:
    """Return a PNG of how often each class was taken for each other.

    The colors tell the mistakes only: on one scale with the hits they would all look like zero.
    """
    count = len(classes)
    table = np.bincount(labels * count + predictions, minlength=count**2).reshape(count, count)
    mistakes = np.where(np.eye(count, dtype=bool), 0, table)
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1, mistakes.max()))
    for row in range(count):
        for column in range(count):
            hit = row == column
            strong = mistakes[row, column] > 0.6 * mistakes.max()
            if table[row, column] or hit:
                axes.text(
                    column,
                    row,
                    f"{table[row, column]:,}",
                    ha="center",
                    va="center",
                    fontsize=FONT_SIZE - 1,
                    fontweight="bold" if hit else "normal",
                    color=BLUE if hit else "white" if strong else "black",
                )
    axes.set_xticks(range(count), classes, fontsize=FONT_SIZE, parse_math=False)
    axes.set_yticks(range(count), classes, fontsize=FONT_SIZE, parse_math=False)
    axes.set_xlabel("predicted", fontsize=FONT_SIZE)
    axes.set_ylabel("true", fontsize=FONT_SIZE)
    axes.set_title(title, fontsize=FONT_SIZE)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("mistakes", fontsize=FONT_SIZE)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return _png(figure)


def draw_probabilities(axes: Axes, classes: Sequence[str], probabilities: NDArray[np.float64]) -> None:
    """Draw a bar for the probability (0 to 1) of each class, the most probable first, on top."""
    colors = [BLUE, *[GREY] * (len(classes) - 1)]
    bars = axes.barh(range(len(classes)), 100 * probabilities, color=colors)
    axes.bar_label(bars, fmt="%.1f %%", fontsize=FONT_SIZE - 2, padding=4)
    axes.set_yticks(range(len(classes)), classes, fontsize=FONT_SIZE, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 125)
    axes.set_xticks([0, 50, 100])
    axes.tick_params(axis="x", labelsize=FONT_SIZE - 2)
    axes.set_xlabel("probability (%)", fontsize=FONT_SIZE)
    axes.spines[["top", "right"]].set_visible(False)


def prediction(
    images: Mapping[str, NDArray[np.uint8]],
    classes: Sequence[str],
    probabilities: NDArray[np.float64],
    title: str,
) -> bytes:
    """Return a PNG of what was given to a network beside the probabilities of the classes.

    Args:
        images: (H, W) or, in colors, (H, W, 3), by what stands above them.
        classes: their names, the most probable first.
        probabilities: theirs, (len(classes),), 0 to 1.
        title: what is shown.
    """
    figure = Figure(figsize=(4.6 * (len(images) + 1), 5), layout="constrained")
    figure.suptitle(title, fontsize=FONT_SIZE, parse_math=False)
    grid = figure.subplots(1, len(images) + 1)
    for axes, (label, image) in zip(grid, images.items(), strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(label, fontsize=FONT_SIZE)
        axes.set_xticks([])
        axes.set_yticks([])
    draw_probabilities(grid[-1], classes, probabilities)
    return _png(figure)


@dataclass(frozen=True)
class ColoredText:
    """Words and a number for each, (T,), and what stands above them."""

    words: Sequence[str]
    values: NDArray[np.float64]
    title: str


def colored_words(texts: Sequence[ColoredText], title: str, label: str, signed: bool = False) -> bytes:
    """Return a PNG of texts in which the color behind each word is its number.

    Of a long text the last `LINES` lines are shown.

    Args:
        texts: at least one.
        title: what is shown.
        label: what the numbers are.
        signed: numbers below and above 0 get two colors, and 0 is white; otherwise they are from 0
            up and the color goes from light to dark.
    """
    placed = [_placed(one.words) for one in texts]
    heights = [min(LINES, places[-1][0] + 1) + 1.2 for places in placed]
    figure = Figure(figsize=(13, 0.36 * sum(heights) + 1.9), layout="constrained")
    figure.suptitle(title, fontsize=FONT_SIZE + 2, parse_math=False)
    grid = figure.subplots(len(texts), 1, squeeze=False, height_ratios=heights).ravel()
    largest = max(1e-12, *(float(np.abs(one.values).max()) for one in texts))
    scale = Normalize(-largest if signed else 0, largest)
    colors = colormaps["PuOr_r" if signed else "Blues"]
    for axes, one, places, height in zip(grid, texts, placed, heights, strict=True):
        cut = max(0, places[-1][0] + 1 - LINES)
        axes.set(xlim=(-0.5, LINE + 0.5), ylim=(height - 1, -0.6))
        axes.set_axis_off()
        note = f" (its last {LINES} lines)" if cut else ""
        axes.set_title(one.title + note, fontsize=FONT_SIZE, loc="left", parse_math=False)
        for word, value, (line, column) in zip(one.words, one.values, places, strict=True):
            if line >= cut:
                _draw_word(axes, word[:LINE], column, line - cut, colors(scale(value)))
    bar = figure.colorbar(
        ScalarMappable(scale, colors), ax=list(grid), location="bottom", shrink=0.8, aspect=60
    )  # below, and not beside: a text may be one line high
    bar.set_label(label, fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE - 2)
    return _png(figure)


def _draw_word(axes: Axes, word: str, column: int, line: int, color: Any) -> None:
    """Draw one word on its color, in white letters where black ones were hard to read."""
    corner = (column - 0.4, line - 0.45)
    axes.add_patch(Rectangle(corner, len(word) + 0.8, 0.9, facecolor=color))
    red, green, blue, _ = color
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5  # how bright eyes find it
    axes.text(
        column + len(word) / 2,
        line,
        word,
        va="center",
        ha="center",
        family="monospace",
        fontsize=FONT_SIZE + 1,
        color="white" if dark else "black",
        parse_math=False,
    )


def _placed(words: Sequence[str]) -> list[tuple[int, int]]:
    """Return line and column of each word, a space between any two."""
    places, line, column = [], 0, 0
    for word in words:
        if column and column + len(word) > LINE:
            line, column = line + 1, 0
        places.append((line, column))
        column += len(word) + 1
    return places


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
