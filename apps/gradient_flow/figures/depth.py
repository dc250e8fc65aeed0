"""The gradient's norm by layer: depth, activation, initialization, and two remedies."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from apps.gradient_flow.config import Config
from apps.gradient_flow.figure import Figure, Row, change, column, draw_curves, listing, number, ratio, where
from apps.gradient_flow.networks import ACTIVATIONS, Dense, norm
from apps.gradient_flow.weights import INITIALIZATIONS, initial_weights
from shared import charts
from shared.data.examples import Examples

REMEDIES = {  # batch norm, residual sums
    "plain": (False, False),
    "batch norm": (True, False),
    "residual sums": (False, True),
    "both": (True, True),
}
NORM = "gradient_of_output"
PAIRS = [
    ("sigmoid", "Glorot"),
    ("tanh", "Glorot"),
    ("tanh", "orthogonal"),
    ("ReLU", "He"),
    ("ReLU", "normal"),
]


def measure(engine: Any, config: Config, batch: Examples) -> list[Row]:
    """Return a row for every layer of every network, before any training."""
    rows = []
    for depth, activation, remedy in product(config.model.depths, ACTIVATIONS, REMEDIES):
        network = Dense(batch.inputs.shape[1], config.model.width, depth, activation, *REMEDIES[remedy])
        model = engine.build_model(network)
        for initialization in INITIALIZATIONS:
            rng = np.random.default_rng([config.seed, 6, depth])  # the same numbers for all
            weights = initial_weights(network, initialization, config.model.deviation, rng)
            found = engine.gradients(model, weights, batch)
            rows += [
                {
                    "depth": depth,
                    "activation": activation,
                    "initialization": initialization,
                    "network": remedy,
                    "layer": layer,
                    NORM: norm(gradient),
                    "gradient_of_weights": norm(found.parameters[f"linear{layer}.weight"]),
                }
                for layer, gradient in enumerate(found.flow, start=1)
            ]
    return rows


def ratios(rows: Sequence[Row]) -> list[Row]:
    """Return the norm at the first layer over that at the last: a column for each remedy."""
    depths = sorted(set(column(rows, "depth")))
    remedies = dict.fromkeys(column(rows, "network"))
    table = []
    for depth, activation, initialization in product(depths, ACTIVATIONS, INITIALIZATIONS):
        key = {"depth": depth, "activation": activation, "initialization": initialization}
        table.append(key | {one: ratio(where(rows, **key, network=one), NORM) for one in remedies})
    return table


def depth_figure(rows: Sequence[Row]) -> Figure:
    """Return the chart of the plain networks; its caption says what happens on the way to layer 1."""
    plain, depths = where(rows, network="plain"), sorted(set(column(rows, "depth")))
    changes = {
        f"{row['activation']} with {row['initialization']} weights": change(row["plain"])
        for row in ratios(where(plain, depth=depths[-1]))
        if (row["activation"], row["initialization"]) in PAIRS
    }
    caption = (
        "Read each curve from right to left: the gradient enters at the last layer and travels to "
        "the first. A straight slope on this scale is a constant factor per layer. On its way "
        f"from layer {depths[-1]} to layer 1, the gradient does the following. {listing(changes)}. No "
        "network has been trained."
    )
    alt = "The norm of the gradient by layer, one curve per initialization: panels by activation and depth."
    title = "What reaches the first layer? Gradient by layer, before training"
    png = draw(plain, title, "depth", "layers", "initialization", depths, "row")
    table = [{k.replace("plain", "first layer over last"): v for k, v in r.items()} for r in ratios(plain)]
    return Figure("depth", "By layer: depth, activation, initialization", caption, alt, plain, png, table)


def remedies_figure(rows: Sequence[Row]) -> Figure:
    """Return the chart of the deepest networks; its caption gives the range of the ratios."""
    deepest = where(rows, depth=max(column(rows, "depth")))
    table = ratios(deepest)
    ranges, spans = {}, {}
    for remedy in REMEDIES:
        values = [row[remedy] for row in table if not math.isnan(row[remedy])] or [math.nan]
        low, high = min(values), max(values)
        ranges[remedy] = f"{number(low)} to {number(high)}"
        spans[remedy] = high / low if low else math.inf  # a gradient that vanished altogether
    caption = (
        "The norm at the first layer over that at the last, lowest to highest of all activations and "
        f"initializations, {table[0]['depth']} layers: {listing(ranges)}. The closer to 1, the more "
        f"evenly the layers learn; the narrowest range is that of: {min(spans, key=spans.__getitem__)}. "
        "Batch normalization cancels the size of the weights; a residual sum lets the gradient bypass "
        "each layer and adds what has passed through it. Each panel has its own scale."
    )
    alt = "The norm of the gradient by layer, one curve per remedy: panels by activation and initialization."
    title = "Batch norm and residual sums: gradient by layer, before training"
    png = draw(deepest, title, "initialization", "weights", "network", ["normal", "He"], False)
    title = "By layer: with and without batch normalization and residual sums"
    return Figure("remedies", title, caption, alt, rows, png, table)


def draw(
    rows: Sequence[Row], title: str, key: str, label: str, by: str, values: Sequence[Any], sharey: Any
) -> bytes:
    """Draw a row of panels for each of `values` of column `key`, a panel for each activation."""
    chart = charts.figure(title)
    panels = chart.subplots(len(values), len(ACTIVATIONS), sharey=sharey, squeeze=False)
    for axes, (value, activation) in zip(panels.flat, product(values, ACTIVATIONS), strict=True):
        draw_curves(axes, where(rows, activation=activation, **{key: value}), by, "layer", NORM)
        charts.log_scale(axes)
        x_label = "layer" if value == values[-1] else ""
        charts.label_axes(axes, x_label, "", f"{activation}, {value} {label}")
    chart.supylabel("norm of the gradient", fontsize=charts.FONT_SIZE)
    charts.legend_below(chart, panels[0][0], 4)
    return charts.png(chart)
