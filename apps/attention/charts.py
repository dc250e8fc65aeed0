"""Charts that only this application has: attention weights as colors, accuracy by length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from shared import charts
from shared.data.examples import Examples
from shared.data.recall import RecallData
from shared.data.text import TextData
from shared.training.loop import Evaluation, Learner
from shared.training.probabilities import class_probabilities

WeightsOf = Callable[[NDArray[np.int64]], NDArray[np.float64]]  # ids (N, T) to weights (N, heads, S)

SHOWN_PAIRS, SHOWN_HEADS = 16, 4  # at most
SHORT_REVIEW, LONG_REVIEW = 24, 90  # tokens of a review drawn as a heat map, and as a text, about
CANDIDATES = 50  # reviews of such a length, of which the clearest is drawn


@dataclass(frozen=True)
class HeatMap:
    """Attention weights, (rows, columns), with a label for each row and column.

    `rows` is empty for a single row that needs no label. `marked` is the column to outline in each
    row; empty outlines none.
    """

    weights: NDArray[np.float64]
    rows: Sequence[str]
    columns: Sequence[str]
    title: str
    marked: Sequence[int] = ()


def heat_maps(
    maps: Sequence[HeatMap],
    title: str,
    x_label: str,
    y_label: str = "",
    highest: float = 1.0,
    wide: bool = False,
) -> bytes:
    """Return a PNG of one or more heat maps on one color scale, whose darkest color is for `highest`.

    `wide` maps are one below the other, each as wide as the chart; otherwise two are side by side.
    """
    columns = 1 if wide or len(maps) == 1 else 2
    rows = -(-len(maps) // columns)
    height = 2.2 + 0.35 * len(maps[0].rows) if wide else 5.6
    chart = charts.figure(title, (15 if wide else 6.5 * columns + 1.5, height * rows + 0.8))
    grid = chart.subplots(rows, columns, squeeze=False).ravel()
    for axes, one in zip(grid, maps, strict=False):
        image = axes.imshow(one.weights, cmap="Blues", vmin=0, vmax=highest, aspect="auto")
        axes.set_xticks(range(len(one.columns)), one.columns, rotation=90, parse_math=False)
        axes.set_yticks(range(len(one.rows)), one.rows)
        axes.set_title(one.title, parse_math=False)
        for row, column in enumerate(one.marked):
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=charts.VERMILLION, linewidth=2))
    for axes in grid[len(maps) :]:
        axes.set_axis_off()
    chart.supxlabel(x_label, fontsize=charts.FONT_SIZE)
    chart.supylabel(y_label, fontsize=charts.FONT_SIZE)
    chart.colorbar(image, ax=list(grid), shrink=0.8, aspect=25, label="attention weight")
    return charts.png(chart)


def recall_weights(weights_of: WeightsOf, data: RecallData, title: str) -> bytes:
    """Return a PNG of the pairs of one test example; each row asks for another of its keys."""
    example = data.test.inputs[0]
    keys, values = example[:-1:2], example[1::2]
    questions = np.tile(example, (len(keys), 1))
    questions[:, -1] = keys
    weights = weights_of(questions)  # (P, heads, P)
    shown, heads = min(SHOWN_PAIRS, len(keys)), weights.shape[1]
    names = data.vocabulary
    rows = [f"{names[key]}?" for key in keys[:shown]]
    columns = [f"{names[k]} {names[v]}" for k, v in zip(keys[:shown], values[:shown], strict=True)]
    titles = [f"head {head + 1} of {heads}" if heads > 1 else "" for head in range(min(heads, SHOWN_HEADS))]
    maps = [
        HeatMap(weights[:shown, head, :shown], rows, columns, text, range(shown))
        for head, text in enumerate(titles)
    ]
    cut = f", the first {shown} of {len(keys)}" if shown < len(keys) else ""
    x_label = f"pair of key and value{cut}; outlined: the pair with the answer"
    return heat_maps(maps, title, x_label, "key that is asked for")


def accuracy_by_pairs(metrics: dict[str, Any], data: RecallData, title: str) -> bytes:
    """Return a PNG of the accuracy by number of pairs, with that of mean pooling for comparison."""
    runs = {metrics["model"]: metrics}
    if "mean_pooling" in metrics:
        runs["mean_pooling"] = metrics["mean_pooling"]
    trained, chance = data.train.inputs.shape[1] // 2, metrics["chance"]
    chart = charts.figure(size=(11, 6))
    axes = chart.subplots()
    for number, (model, run) in enumerate(runs.items()):
        pairs = [int(length) for length in run["accuracy_by_pairs"]]
        values = [100 * accuracy for accuracy in run["accuracy_by_pairs"].values()]
        charts.curve(axes, number, pairs, values, model.replace("_", " "))
        first, color = (pairs[0], values[0]), charts.STYLES[number][0]
        axes.annotate(f"{values[0]:.1f} %", first, (8, 8), textcoords="offset points", color=color)
        axes.set_xticks(pairs)
    axes.axhline(100 * chance, color="black", ls=":", lw=2, label=f"guessing: {100 * chance:.1f} %")
    axes.axvline(trained, color=charts.GRAY, lw=8, alpha=0.4, zorder=0, label=f"trained with {trained}")
    axes.set_ylim(0, 110)
    axes.set_yticks(range(0, 101, 20))
    charts.label_axes(axes, "pairs in an example", "test accuracy (%)", title)
    charts.legend_below(chart, axes, 4)
    return charts.png(chart)


def review_weights(
    weights_of: WeightsOf, learner: Learner, data: TextData, test: Evaluation, test_set: Examples, title: str
) -> tuple[bytes, bytes]:
    """Return two PNGs of a test review of each of two classes: short ones as heat maps, and long ones
    as texts, in which the color of a word is its mean weight over the heads.

    Of the reviews closest to a length, it is the one whose true class is the most probable.
    """
    maps, texts = [], []
    for length in (SHORT_REVIEW, LONG_REVIEW):
        distance = np.abs(test_set.inputs.lengths - length)
        for label in np.unique(test_set.labels)[:2]:
            order = np.argsort(np.where(test_set.labels == label, distance, 10**9), kind="stable")
            closest = order[: min(CANDIDATES, (test_set.labels == label).sum())]
            logits = learner.logits(test_set.inputs[closest])
            number = closest[class_probabilities(learner.loss, logits)[:, label].argmax()]
            ids = test_set.inputs[np.array([number])]
            weights, words = weights_of(ids)[0], data.decode(ids[0])  # (heads, T)
            classes = (
                f"true class: {data.classes[label]}, predicted: {data.classes[test.predictions[number]]}"
            )
            if length == SHORT_REVIEW:
                rows = [f"head {head + 1}" for head in range(len(weights))] if len(weights) > 1 else []
                maps.append(HeatMap(weights, rows, words, classes))
            else:
                texts.append(charts.ColoredText(words, 100 * weights.mean(axis=0), classes))
    highest = max(float(one.weights.max()) for one in maps)
    return (
        heat_maps(maps, title, "token", highest=highest, wide=True),
        charts.word_colors(texts, title, "attention weight (%)"),
    )
