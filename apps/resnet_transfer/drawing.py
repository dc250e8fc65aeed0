"""The pictures that only this application draws: comparisons, and what a prediction looked at."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from shared.charts import BLUE, FONT_SIZE, GREEN, VERMILLION, class_bars

STYLES = {
    "finetune": (BLUE, "o", "finetune: all layers learn, the backbone slower"),
    "frozen": (GREEN, "s", "frozen: the last layer alone learns"),
    "scratch": (VERMILLION, "^", "scratch: all layers, from drawn weights"),
}


def learning_curves(
    counts: Sequence[float], points: Mapping[str, Sequence[Sequence[float]]], title: str
) -> bytes:
    """Return a PNG of test accuracy over the number of labeled pictures a class.

    Args:
        counts: pictures a class, rising.
        points: by mode, for each of the counts the accuracy (0 to 1) of every seed.
        title: what was compared.
    """
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots()
    for mode, by_count in points.items():
        color, marker, label = STYLES[mode]
        values = [100 * np.array(one) for one in by_count]
        mean = np.array([one.mean() for one in values])
        axes.plot(counts, mean, f"{marker}-", color=color, lw=2.5, markersize=9, label=label)
        axes.fill_between(
            counts, [one.min() for one in values], [one.max() for one in values], color=color, alpha=0.2, lw=0
        )
        for count, one in zip(counts, values, strict=True):
            axes.plot([count] * len(one), one, ".", color=color, markersize=5)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,.0f}" for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("labeled pictures a class", fontsize=FONT_SIZE)
    axes.set_ylabel("test accuracy (%)", fontsize=FONT_SIZE)
    seeds = len(next(iter(points.values()))[0])
    axes.set_title(f"{title}\nlines: means of {seeds} seeds; bands: lowest to highest", fontsize=FONT_SIZE)
    axes.tick_params(labelsize=FONT_SIZE - 2)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=FONT_SIZE - 1, loc="lower right")
    return png(figure)


def prediction(
    picture: NDArray[np.uint8],
    classes: Sequence[str],
    probabilities: NDArray[np.float64],
    heat: NDArray[np.float64],
    title: str,
) -> bytes:
    """Return a PNG of a picture, its probabilities, and where the first class was seen.

    Args:
        picture: uint8 (size, size, 3), as the network sees it.
        classes: the names of the classes to show, the most probable first.
        probabilities: theirs, (len(classes),).
        heat: the Grad-CAM map of the first class, (h, w), from 0 to 1.
        title: the file and what made the map.
    """
    figure = Figure(figsize=(14, 5), layout="constrained")
    figure.suptitle(title, fontsize=FONT_SIZE, parse_math=False)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.1, 1.15])
    left.imshow(picture, interpolation="nearest")
    left.set_title("the picture", fontsize=FONT_SIZE)
    class_bars(middle, classes, probabilities)
    size = picture.shape[:2]
    right.imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    shown = right.imshow(enlarged(heat, size), cmap="inferno", alpha=0.6, vmin=0, vmax=1)
    right.set_title(f"what speaks for {classes[0]}", fontsize=FONT_SIZE, parse_math=False)
    for axes in (left, right):
        axes.set_axis_off()
    bar = figure.colorbar(shown, ax=right, shrink=0.8, ticks=[0, 1])
    bar.ax.set_yticklabels(["little", "most"], fontsize=FONT_SIZE - 2)
    return png(figure)


def enlarged(heat: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[Any]:
    """Return a map in the size of the picture, bilinearly."""
    small = Image.fromarray(heat.astype(np.float32))
    return np.asarray(small.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
