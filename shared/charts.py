"""Charts for a slide: labeled, and readable from the back of a room.

A chart is made with `figure`, drawn with matplotlib and the helpers below, and turned into a PNG
with `png`. Colors are those of Okabe and Ito (jfly.uni-koeln.de/color, 2008), which people with any
color vision can tell apart. Importing this module sets matplotlib's font sizes.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, GRAY, BLACK = "#56B4E9", "#E69F00", "#999999", "#000000"
# Color, line style and marker of the curves of one chart: each differs in all three.
STYLES: list[tuple[str, Any, str]] = [
    (BLUE, "-", "o"),
    (VERMILLION, "--", "s"),
    (GREEN, "-.", "^"),
    (BLACK, ":", "D"),
    (PURPLE, (0, (5, 1, 1, 1, 1, 1)), "v"),
    (ORANGE, (0, (8, 2)), "P"),
    (SKY, (0, (1, 1)), "X"),
]
FONT_SIZE = 14
CENTERED: dict[str, Any] = {"ha": "center", "va": "center"}  # of a text
TEXT_WIDTH, TEXT_LINES = 76, 36  # characters per line and lines of a text drawn by `word_colors`

rcParams.update(
    {
        "font.size": FONT_SIZE,
        "figure.titlesize": FONT_SIZE + 2,
        "axes.titlesize": FONT_SIZE,
        "legend.fontsize": FONT_SIZE - 2,
        "xtick.labelsize": FONT_SIZE - 2,
        "ytick.labelsize": FONT_SIZE - 2,
    }
)


def figure(title: str = "", size: tuple[float, float] = (12.8, 7.2)) -> Figure:
    """Return an empty figure of `size` in units of 100 pixels; `title` is plain text, not TeX."""
    chart = Figure(figsize=size, dpi=100, layout="constrained")
    if title:
        chart.suptitle(title, parse_math=False)
    return chart


def png(chart: Figure) -> bytes:
    """Return a figure as a PNG file."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box is drawn instead
        FigureCanvasAgg(chart).print_png(content)
    return content.getvalue()


def label_axes(axes: Axes, x_label: str = "", y_label: str = "", title: str = "") -> None:
    """Add labels and a light grid to the axes of a plot, and remove the top and right border."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title, parse_math=False)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def log_scale(axes: Axes) -> None:
    """Make the y axis logarithmic, with at most six powers of ten labeled."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())


def curve(axes: Axes, number: int, x: Any, y: Any, label: str = "") -> None:
    """Draw a curve in style `number` of `STYLES`, with about ten markers."""
    color, style, marker = STYLES[number % len(STYLES)]
    every = max(1, len(x) // 10)
    axes.plot(x, y, color=color, ls=style, marker=marker, ms=7, lw=2.2, markevery=every, label=label)


def legend_below(chart: Figure, axes: Axes, columns: int) -> None:
    """Put the legend of `axes` below all panels of a figure."""
    handles, labels = axes.get_legend_handles_labels()
    place = "outside lower center"
    chart.legend(handles, labels, loc=place, ncols=columns, frameon=False, handlelength=3.5)


def legend_below_axes(axes: Axes, columns: int = 1, reverse: bool = False) -> None:
    """Put the legend of `axes` below its panel, where it covers nothing."""
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "columnspacing": 1.2}
    axes.legend(**place, ncols=columns, frameon=False, reverse=reverse)


def learning_curves(
    steps: Sequence[dict[str, Any]],
    history: Sequence[dict[str, Any]],
    title: str,
    metrics: Mapping[str, Any] | None = None,
    loss: str = "cross-entropy (nats)",
) -> bytes:
    """Return a PNG of loss and accuracy by epoch, from the rows of steps.csv and history.csv.

    Loss and accuracy on the test set, from `metrics`, are drawn as stars at the epoch whose weights
    were tested: the best one after early stopping, else the last one.
    """
    chart = figure(title, (12, 5.4))
    left, right = chart.subplots(1, 2, sharex=True)
    epochs = [row["epoch"] for row in history]
    if steps:
        _draw_step_losses(left, steps)
    accuracies = [100 * row["train_accuracy"] for row in history]
    right.plot(epochs, accuracies, "o-", color=BLUE, label="training, while it learns")
    panels = [(left, "loss", 1, loss), (right, "accuracy", 100, "accuracy (%)")]
    for axes, metric, scale, y_label in panels:
        if history and f"validation_{metric}" in history[0]:
            values = [scale * row[f"validation_{metric}"] for row in history]
            axes.plot(epochs, values, "s-", color=VERMILLION, label="validation")
        if metrics and epochs:
            tested, score = metrics.get("best_epoch", epochs[-1]), scale * metrics[f"test_{metric}"]
            axes.plot(tested, score, "*", color=GREEN, markersize=16, label="test")
        label_axes(axes, "epoch", y_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below_axes(axes, columns=3)
    return png(chart)


def _draw_step_losses(axes: Axes, steps: Sequence[dict[str, Any]]) -> None:
    """Draw the loss of every step, pale, and its moving average; 1.0 is the end of epoch 1."""
    epoch = np.array([row["epoch"] for row in steps])
    losses = np.array([row["loss"] for row in steps])
    first_step = np.searchsorted(epoch, epoch)  # of each step's epoch
    per_epoch = (epoch == epoch[0]).sum()  # the last epoch may have been cut short
    x = epoch - 1 + (np.arange(len(epoch)) - first_step + 1) / per_epoch
    axes.plot(x, losses, color=BLUE, alpha=0.2, linewidth=0.8)
    window = max(1, len(losses) // 60)
    smooth = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    label = f"training, mean of {window} steps" if window > 1 else "training"
    axes.plot(x[window - 1 :], smooth, color=BLUE, label=label)
    shown = np.concatenate([losses[:window], smooth])  # a later step may lie above, but not the first ones
    axes.set_ylim(0, 1.05 * max(shown[np.isfinite(shown)], default=1.0))


def decision_surface(
    side: NDArray[np.float64],
    surface: NDArray[np.float64],
    points: NDArray[np.float64],
    labels: NDArray[np.int64],
    title: str,
) -> bytes:
    """Return a PNG of the probabilities that a network with two inputs gives over a plane.

    Args:
        side: the coordinates (n,) of both axes.
        surface: the probability of class 1 at each point of the grid, (n, n): row y, column x.
        points: the examples, (N, 2).
        labels: their classes, 0 or 1, (N,).
        title: of the chart.
    """
    chart = figure(size=(8, 6.5))
    axes = chart.subplots()
    image = axes.contourf(side, side, surface, levels=np.linspace(0, 1, 21), cmap="PuOr_r")
    axes.contour(side, side, surface, levels=[0.5], colors="black", linewidths=1.5)
    look: dict[str, Any] = {"s": 220, "color": "white", "edgecolor": "black", "linewidth": 2, "zorder": 3}
    for label, marker in ((0, "o"), (1, "s")):
        axes.scatter(*points[labels == label].T, marker=marker, label=f"class {label}", **look)
    axes.set(xlabel="first bit", ylabel="second bit", title=f"{title}; black: probability 0.5")
    legend_below(chart, axes, 2)
    chart.colorbar(image, ax=axes, label="probability of class 1")
    return png(chart)


def log_curves(
    x: NDArray[Any], series: Mapping[str, NDArray[np.float64]], title: str, x_label: str, y_label: str
) -> bytes:
    """Return a PNG of curves over the same x, (n,), on a logarithmic scale.

    `series` has the values (n,) of each curve by its label, all above 0.
    """
    chart = figure(size=(11, 6))
    axes = chart.subplots()
    for number, (label, values) in enumerate(series.items()):
        curve(axes, number, x, values, label)
    axes.set_yscale("log")
    label_axes(axes, x_label, y_label, title)
    axes.legend()
    return png(chart)


def confusion_matrix(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: Sequence[str], title: str
) -> bytes:
    """Return a PNG of how often each class was predicted as each other class.

    Only mistakes are colored: on a common scale with the correct predictions they would all look
    like zero.
    """
    count = len(classes)
    table = np.bincount(labels * count + predictions, minlength=count**2).reshape(count, count)
    mistakes = np.where(np.eye(count, dtype=bool), 0, table)
    chart = figure(size=(9, 8))
    axes = chart.subplots()
    image = axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1, mistakes.max()))
    for (row, column), number in np.ndenumerate(table):
        look: dict[str, Any] = CENTERED | {"fontsize": FONT_SIZE - 1}
        if row == column:
            axes.text(column, row, f"{number:,}", fontweight="bold", color=BLUE, **look)
        elif number:
            color = "white" if number > 0.6 * mistakes.max() else "black"
            axes.text(column, row, f"{number:,}", color=color, **look)
    axes.set_xticks(range(count), classes, fontsize=FONT_SIZE, parse_math=False)
    axes.set_yticks(range(count), classes, fontsize=FONT_SIZE, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    integers = MaxNLocator(integer=True)
    chart.colorbar(image, ax=axes, shrink=0.8, label="mistakes", ticks=integers)
    return png(chart)


def prediction(
    images: Mapping[str, NDArray[np.uint8]],
    classes: Sequence[str],
    probabilities: NDArray[np.float64],
    title: str,
) -> bytes:
    """Return a PNG of a network's input images beside a bar for the probability of each class.

    Args:
        images: (H, W) or, in color, (H, W, 3), by the caption of each.
        classes: their names, the most probable first.
        probabilities: theirs, (len(classes),), 0 to 1.
        title: of the chart.
    """
    chart = figure(title, (4.6 * (len(images) + 1), 5))
    panels = chart.subplots(1, len(images) + 1)
    for axes, (label, image) in zip(panels, images.items(), strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xlabel(label, parse_math=False)
        axes.set(xticks=[], yticks=[])
    colors = [BLUE, *[GRAY] * (len(classes) - 1)]
    bars = panels[-1].barh(range(len(classes)), 100 * probabilities, color=colors)
    panels[-1].bar_label(bars, fmt="%.1f %%", padding=4)
    panels[-1].set_yticks(range(len(classes)), classes, fontsize=FONT_SIZE, parse_math=False)
    panels[-1].invert_yaxis()
    panels[-1].set(xlim=(0, 100), xticks=[0, 50, 100], xlabel="probability (%)")
    panels[-1].spines[["top", "right"]].set_visible(False)
    return png(chart)


class ColoredText(NamedTuple):
    """The words of a text, a number (T,) for each, and a title."""

    words: Sequence[str]
    values: NDArray[np.float64]
    title: str


def word_colors(texts: Sequence[ColoredText], title: str, label: str, signed: bool = False) -> bytes:
    """Return a PNG of texts in which the color behind each word stands for its number.

    Of a long text, the last `TEXT_LINES` lines are shown. `label` is name and unit of the numbers. If
    they are `signed`, those below and above 0 have two colors, and 0 is white; otherwise they start at
    0, and the color goes from light to dark.
    """
    places = [_word_places(text.words) for text in texts]
    counts = [of_text[-1][0] + 1 for of_text in places]  # lines of each text
    heights = [min(TEXT_LINES, count) + 1.2 for count in counts]
    chart = figure(title, (13, 0.36 * sum(heights) + 1.9))
    panels = chart.subplots(len(texts), 1, squeeze=False, height_ratios=heights).ravel()
    largest = max(1e-12, *(float(np.abs(text.values).max()) for text in texts))
    scale = Normalize(-largest if signed else 0, largest)
    colors = colormaps["PuOr_r" if signed else "Blues"]
    for axes, text, of_text, count, height in zip(panels, texts, places, counts, heights, strict=True):
        hidden = max(0, count - TEXT_LINES)
        axes.set(xlim=(-0.5, TEXT_WIDTH + 0.5), ylim=(height - 1, -0.6))
        axes.set_axis_off()
        note = f" (its last {TEXT_LINES} lines)" if hidden else ""
        axes.set_title(text.title + note, loc="left", parse_math=False)
        for word, value, (line, column) in zip(text.words, text.values, of_text, strict=True):
            if line >= hidden:
                _draw_word(axes, word[:TEXT_WIDTH], column, line - hidden, colors(scale(value)))
    # The color bar is below, not beside: a text may be one line high.
    options: dict[str, Any] = {"location": "bottom", "shrink": 0.8, "aspect": 60}
    chart.colorbar(ScalarMappable(scale, colors), ax=list(panels), label=label, **options)
    return png(chart)


def _word_places(words: Sequence[str]) -> list[tuple[int, int]]:
    """Return line and column of each word, with a space between any two."""
    places, line, column = [], 0, 0
    for word in words:
        if column and column + len(word) > TEXT_WIDTH:
            line, column = line + 1, 0
        places.append((line, column))
        column += len(word) + 1
    return places


def _draw_word(axes: Axes, word: str, column: int, line: int, color: Any) -> None:
    """Draw a word on its color, in white where black would be hard to read."""
    corner = (column - 0.4, line - 0.45)
    axes.add_patch(Rectangle(corner, len(word) + 0.8, 0.9, facecolor=color))
    red, green, blue, _ = color
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5  # perceived brightness
    look = CENTERED | {"family": "monospace", "fontsize": FONT_SIZE + 1, "parse_math": False}
    axes.text(column + len(word) / 2, line, word, color="white" if dark else "black", **look)
