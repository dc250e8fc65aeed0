"""The pictures of a run, made for a slide: labelled, readable from the back of the room.

Colours are Okabe and Ito's, which people with any colour vision can tell apart
(jfly.uni-koeln.de/color, 2008).
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY, BLACK = "#999999", "#000000"
FONT_SIZE = 14


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
) -> bytes:
    """Return a PNG of what a network with two inputs says everywhere.

    Args:
        side: the coordinates (n,) of both axes.
        surface: the probability of class 1 at each place, (n, n): row y, column x.
        points: the examples, (N, 2).
        labels: their classes, 0 or 1, (N,).
        title: what was trained.
    """
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    axes = figure.subplots()
    image = axes.contourf(side, side, surface, levels=np.linspace(0, 1, 21), cmap="PuOr_r")
    axes.contour(side, side, surface, levels=[0.5], colors="black", linewidths=1.5)
    for label, marker in ((0, "o"), (1, "s")):
        x, y = points[labels == label].T
        axes.scatter(x, y, s=220, marker=marker, color="white", edgecolor="black", linewidth=2,
                     label=f"class {label}", zorder=3)  # fmt: skip
    axes.set_xlabel("first bit", fontsize=FONT_SIZE)
    axes.set_ylabel("second bit", fontsize=FONT_SIZE)
    axes.set_title(f"{title}; black: probability 0.5", fontsize=FONT_SIZE)
    axes.tick_params(labelsize=FONT_SIZE - 2)
    axes.legend(fontsize=FONT_SIZE - 2, loc="center", labelspacing=1)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label("probability of class 1", fontsize=FONT_SIZE)
    return _png(figure)


def lines(
    x: NDArray[Any],
    series: Mapping[str, NDArray[np.float64]],
    title: str,
    x_label: str,
    y_label: str,
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
    colours = [GREY, ORANGE, BLUE, GREEN, BLACK]
    for number, (label, values) in enumerate(series.items()):
        axes.plot(x, values, styles[number % 5], color=colours[number % 5], lw=2.5, label=label)
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
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    classes: Sequence[str],
    title: str,
) -> bytes:
    """Return a PNG of how often each class was taken for each other.

    The colours tell the mistakes only: on one scale with the hits they would all look like zero.
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
    axes.set_xticks(range(count), classes, fontsize=FONT_SIZE)
    axes.set_yticks(range(count), classes, fontsize=FONT_SIZE)
    axes.set_xlabel("predicted", fontsize=FONT_SIZE)
    axes.set_ylabel("true", fontsize=FONT_SIZE)
    axes.set_title(title, fontsize=FONT_SIZE)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("mistakes", fontsize=FONT_SIZE)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return _png(figure)


def words(
    tokens: Sequence[str],
    values: NDArray[np.float64],
    title: str,
    low: str,
    high: str,
    wide: int = 108,
    rows: int = 36,
) -> bytes:
    """Return a PNG of a text in which each word's background tells its number.

    Args:
        tokens: the words, (T,).
        values: a number for each, (T,); 0 is white.
        title: what is shown.
        low: what the colour of numbers below 0 says.
        high: what the colour of numbers above 0 says.
        wide: characters a line.
        rows: lines at most; of a longer text the last ones.
    """
    lines = _wrapped(tokens, wide)
    shown = lines[-rows:]
    if len(shown) < len(lines):
        title += f" (the last {sum(map(len, shown))} of {len(tokens)} words)"
    height = 0.34 * len(shown)
    figure = Figure(figsize=(13, height + 2.2), layout="constrained")
    text_axes, bar_axes = figure.subplots(2, 1, height_ratios=[height + 0.4, 0.2])
    largest = max(float(np.abs(values).max(initial=0)), 1e-12)
    shade = ScalarMappable(Normalize(-largest, largest), "PuOr_r")
    text_axes.set(xlim=(0, wide), ylim=(len(shown), 0))
    text_axes.axis("off")
    for row, line in enumerate(shown):
        for column, position in line:
            text_axes.text(
                column, row + 0.5, tokens[position][:wide], family="monospace", va="center",
                fontsize=FONT_SIZE - 1, color="white" if abs(values[position]) > 0.7 * largest
                else "black",
                bbox={"facecolor": shade.to_rgba(values[position]), "linewidth": 0,
                      "boxstyle": "square,pad=0.12"},
            )  # fmt: skip
    text_axes.set_title(title, fontsize=FONT_SIZE, loc="left")
    bar = figure.colorbar(shade, cax=bar_axes, orientation="horizontal")
    bar.set_label(f"{low}  <  0  <  {high}", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE - 3)
    return _png(figure)


def _wrapped(tokens: Sequence[str], wide: int) -> list[list[tuple[int, int]]]:
    """Return lines of (column, position) of the words, a blank between two of them."""
    lines: list[list[tuple[int, int]]] = [[]]
    column = 0
    for position, token in enumerate(tokens):
        if column and column + len(token) > wide:
            lines.append([])
            column = 0
        lines[-1].append((column, position))
        column += len(token) + 1
    return lines


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
