"""The activation functions with their derivatives, as the layers' backward passes give them."""

from collections.abc import Sequence

import numpy as np

from apps.gradient_flow.figures.figure import (
    FONT_SIZE,
    Figure,
    Row,
    canvas,
    column,
    dress,
    line,
    number,
    png,
    where,
)
from shared.backprop import GELU, Module, ReLU, Sigmoid, Tanh

FUNCTIONS: dict[str, type[Module]] = {"sigmoid": Sigmoid, "tanh": Tanh, "ReLU": ReLU, "GELU": GELU}
REACH = 5.0  # x from -5 to 5
POINTS = 201


def measure() -> list[Row]:
    """Return a row for every function and every x: the value, and backward of a gradient of 1."""
    x = np.linspace(-REACH, REACH, POINTS)
    rows = []
    for name, kind in FUNCTIONS.items():
        layer = kind()
        y = layer.forward(x)
        slope = layer.backward(np.ones_like(x))
        rows += [
            {"function": name, "x": float(a), "y": float(b), "derivative": float(c)}
            for a, b, c in zip(x, y, slope, strict=True)
        ]
    return rows


def figure() -> Figure:
    """Return the picture."""
    rows = measure()
    return Figure(
        "activations",
        "The activation functions and their derivatives",
        caption(rows),
        "Four panels, one for each of sigmoid, tanh, ReLU and GELU: the function and its "
        f"derivative for x from {-REACH:g} to {REACH:g}.",
        rows,
        draw(rows),
        [steepest(rows, name) for name in FUNCTIONS],
    )


def steepest(rows: Sequence[Row], name: str) -> Row:
    """Return the largest slope of a function and those at both ends."""
    slopes = column(where(rows, function=name), "derivative")
    return {
        "function": name,
        "largest derivative": max(slopes),
        f"at x = {-REACH:g}": slopes[0],
        f"at x = {REACH:g}": slopes[-1],
    }


def caption(rows: Sequence[Row]) -> str:
    """Say what each layer multiplies the gradient with, at most and at the ends."""
    said = []
    for name in FUNCTIONS:
        _, largest, left, right = steepest(rows, name).values()
        said.append(f"{name} at most {number(largest)}, at the ends {number(left)} and {number(right)}")
    factor = steepest(rows, "sigmoid")["largest derivative"]
    return (
        "On its way back through a layer the gradient is multiplied by the dashed line at every "
        f"unit's input: {'; '.join(said)}. Ten sigmoids, even where they are steepest, leave "
        f"{number(factor**10)} of it, unless the weights make up for it."
    )


def draw(rows: Sequence[Row]) -> bytes:
    """Draw a panel for each function."""
    picture = canvas("Activation functions, and what they multiply the gradient with")
    panels = picture.subplots(2, 2, sharex=True).ravel()
    for index, (axes, name) in enumerate(zip(panels, FUNCTIONS, strict=True)):
        one = where(rows, function=name)
        line(axes, 0, column(one, "x"), column(one, "y"), "function")
        line(axes, 1, column(one, "x"), column(one, "derivative"), "derivative")
        axes.set_ylim(-1.2, 2.2)
        dress(axes, "x" if index > 1 else "", "" if index % 2 else "y and dy/dx", name)
        axes.legend(fontsize=FONT_SIZE, loc="upper left")
    return png(picture)
