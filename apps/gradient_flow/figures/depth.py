"""The gradient's norm layer by layer: depth, activation, initialization, and two remedies."""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from apps.gradient_flow.config import Config
from apps.gradient_flow.figures.figure import (
    Figure,
    Row,
    canvas,
    change,
    column,
    dress,
    joined,
    legend_below,
    line,
    logarithmic,
    number,
    png,
    where,
)
from apps.gradient_flow.networks import (
    ACTIVATIONS,
    INITIALISATIONS,
    Array,
    Dense,
    Engine,
    initial_weights,
    norm,
)

REMEDIES = {  # batch norm, residual sums
    "plain": (False, False),
    "batch norm": (True, False),
    "residual sums": (False, True),
    "both": (True, True),
}
Y_LABEL = "norm of the gradient"


def measure(engine: Engine, config: Config, inputs: Array, labels: NDArray[np.int64]) -> list[Row]:
    """Return a row for every layer of every network, before any training."""
    rows = []
    for depth, activation in product(config.model.depths, ACTIVATIONS):
        for remedy, (with_norm, residual) in REMEDIES.items():
            network = Dense(inputs.shape[1], config.model.width, depth, activation, with_norm, residual)
            model = engine.build_model(network)
            for initialization in INITIALISATIONS:
                rng = np.random.default_rng([config.seed, 6, depth])  # the same numbers for all
                weights = initial_weights(network, initialization, config.model.deviation, rng)
                found = engine.gradients(model, weights, inputs, labels)
                for layer in range(1, depth + 1):
                    rows.append(
                        {
                            "depth": depth,
                            "activation": activation,
                            "initialization": initialization,
                            "network": remedy,
                            "layer": layer,
                            "gradient_of_output": norm(found.flow[layer - 1]),
                            "gradient_of_weights": norm(found.parameters[f"linear{layer}.weight"]),
                        }
                    )
    return rows


def ratio(rows: Sequence[Row]) -> float:
    """Return the norm at the first layer over that at the last, of one network's rows."""
    ordered = sorted(rows, key=lambda row: int(row["layer"]))
    first, last = ordered[0]["gradient_of_output"], ordered[-1]["gradient_of_output"]
    return float(first / last) if last else float("nan")


def table(rows: Sequence[Row]) -> list[Row]:
    """Return first over last for every network: a row for depth, activation, initialization."""
    depths = sorted(set(column(rows, "depth")))
    return [
        {"depth": depth, "activation": activation, "initialization": initialization}
        | {
            remedy: ratio(
                where(rows, depth=depth, activation=activation, initialization=initialization, network=remedy)
            )
            for remedy in REMEDIES
        }
        for depth, activation, initialization in product(depths, ACTIVATIONS, INITIALISATIONS)
    ]


def figures(engine: Engine, config: Config, inputs: Array, labels: NDArray[np.int64]) -> Iterator[Figure]:
    """Yield the picture by initialization and the one by remedy."""
    rows = measure(engine, config, inputs, labels)
    plain = where(rows, network="plain")
    yield Figure(
        "depth",
        "By layer: depth, activation, initialization",
        depth_caption(rows),
        "A panel for each of three activations and for the shallowest and the deepest network; in "
        "each the norm of the gradient by layer, logarithmic, one line for each initialization.",
        plain,
        draw_depth(plain),
        [
            {key: row[key] for key in ("depth", "activation", "initialization")}
            | {"first layer over last": row["plain"]}
            for row in table(rows)
        ],
    )
    yield Figure(
        "remedies",
        "By layer: with and without batch normalization and residual sums",
        remedies_caption(rows),
        "Six panels: three activations, two initializations; in each the norm of the gradient by "
        "layer of the deepest network, logarithmic, plain, with batch norm, with residual sums, "
        "and with both.",
        rows,
        draw_remedies(rows),
        table(where(rows, depth=max(column(rows, "depth")))),
    )


def depth_caption(rows: Sequence[Row]) -> str:
    """Say what becomes of the gradient in the deepest network, from last to first layer."""
    deepest = max(column(rows, "depth"))
    pairs = [
        ("sigmoid", "Glorot"),
        ("tanh", "Glorot"),
        ("tanh", "orthogonal"),
        ("ReLU", "He"),
        ("ReLU", "normal"),
    ]
    said = {
        f"{activation} with {initialization} weights": change(
            ratio(
                where(
                    rows, depth=deepest, activation=activation, initialization=initialization, network="plain"
                )
            )
        )
        for activation, initialization in pairs
    }
    return (
        "Read each line from right to left: the gradient enters at the last layer and travels to "
        "the first. A straight slope on this scale is a factor at every layer. On its way "
        f"from layer {deepest} to layer 1 the gradient does this. {joined(said)}. Every network is "
        "new; nothing has been trained."
    )


def remedies_caption(rows: Sequence[Row]) -> str:
    """Say between which ratios the initializations lie, for each remedy."""
    ratios = table(where(rows, depth=max(column(rows, "depth"))))
    said, spans = {}, {}
    for remedy in REMEDIES:
        values = [row[remedy] for row in ratios if not math.isnan(row[remedy])]
        low, high = (min(values), max(values)) if values else (math.nan, math.nan)
        said[remedy] = f"{number(low)} to {number(high)}"
        spans[remedy] = high / low if low else math.inf  # a gradient that has vanished altogether
    narrowest = min(spans, key=lambda remedy: spans[remedy])
    return (
        "The first layer's norm over the last layer's, lowest to highest of all activations and "
        f"initializations, {ratios[0]['depth']} layers: {joined(said)}. The nearer to 1, the more "
        f"evenly the layers learn; the narrowest range is that of: {narrowest}. Batch "
        "normalization takes out the size of the weights; a residual sum lets the gradient pass by "
        "each layer, and adds to it what has gone through. Each panel has a scale of its own."
    )


def draw_depth(rows: Sequence[Row]) -> bytes:
    """Draw the plain networks, shallowest and deepest."""
    figure = canvas("What reaches the first layer? Gradient by layer, before training")
    depths = sorted(set(column(rows, "depth")))
    chosen = depths if len(depths) == 1 else [depths[0], depths[-1]]
    panels = figure.subplots(len(chosen), 3, sharey="row", squeeze=False)
    for (row, depth), (col, activation) in product(enumerate(chosen), enumerate(ACTIVATIONS)):
        axes = panels[row][col]
        for style, initialization in enumerate(INITIALISATIONS):
            one = where(rows, depth=depth, activation=activation, initialization=initialization)
            line(axes, style, column(one, "layer"), column(one, "gradient_of_output"), initialization)
        logarithmic(axes)
        dress(
            axes,
            "layer" if row == len(chosen) - 1 else "",
            "" if col else Y_LABEL,
            f"{activation}, {depth} layers",
        )
    legend_below(figure, panels[0][0], 4)
    return png(figure)


def draw_remedies(rows: Sequence[Row]) -> bytes:
    """Draw the deepest networks with and without remedies, from two kinds of weights."""
    figure = canvas("Batch norm and residual sums: gradient by layer, before training")
    deepest = where(rows, depth=max(column(rows, "depth")))
    chosen = ["normal", "He"]
    panels = figure.subplots(2, 3)
    for (row, initialization), (col, activation) in product(enumerate(chosen), enumerate(ACTIVATIONS)):
        axes = panels[row][col]
        for style, remedy in enumerate(REMEDIES):
            one = where(deepest, activation=activation, initialization=initialization, network=remedy)
            line(axes, style, column(one, "layer"), column(one, "gradient_of_output"), remedy)
        logarithmic(axes)
        dress(axes, "layer" if row else "", "" if col else Y_LABEL, f"{activation}, {initialization} weights")
    legend_below(figure, panels[0][0], 4)
    return png(figure)
