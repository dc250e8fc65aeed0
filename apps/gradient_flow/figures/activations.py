"""The activation functions with their derivatives, as the layers' backward passes return them."""

from collections.abc import Sequence

import numpy as np

from apps.gradient_flow.figure import Figure, Row, column, number, where
from shared import charts
from shared.backprop import GELU, Module, ReLU, Sigmoid, Tanh

FUNCTIONS: dict[str, type[Module]] = {"sigmoid": Sigmoid, "tanh": Tanh, "ReLU": ReLU, "GELU": GELU}
X = np.linspace(-5, 5, 201)


def measure() -> list[Row]:
    """Return a row for every function and every x: its value, and backward of a gradient of 1."""
    rows = []
    for name, kind in FUNCTIONS.items():
        layer = kind()
        y = layer.forward(X)
        slope = layer.backward(np.ones_like(X))
        rows += [
            {"function": name, "x": float(a), "y": float(b), "derivative": float(c)}
            for a, b, c in zip(X, y, slope, strict=True)
        ]
    return rows


def figure(rows: Sequence[Row]) -> Figure:
    """Return the chart; its caption says by what each function multiplies the gradient."""
    table, factors = [], []
    for name in FUNCTIONS:
        slopes = column(where(rows, function=name), "derivative")
        largest, left, right = max(slopes), slopes[0], slopes[-1]
        table.append({"function": name, "largest derivative": largest, "at x = -5": left, "at x = 5": right})
        factors.append(f"{name} at most {number(largest)}, at the ends {number(left)} and {number(right)}")
    ten_sigmoids = table[0]["largest derivative"] ** 10
    caption = (
        "On its way back through a layer, the gradient is multiplied by the derivative (dashed) at "
        f"each unit's input: {'; '.join(factors)}. Ten sigmoids leave at most {number(ten_sigmoids)} "
        "of it, unless the weights make up for that."
    )
    title = "The activation functions and their derivatives"
    alt = "Four panels, for sigmoid, tanh, ReLU and GELU: function and derivative for x from -5 to 5."
    return Figure("activations", title, caption, alt, rows, draw(rows), table)


def draw(rows: Sequence[Row]) -> bytes:
    """Draw a panel for each function."""
    chart = charts.figure("Activation functions, and what they multiply the gradient by")
    for index, (axes, name) in enumerate(
        zip(chart.subplots(2, 2, sharex=True).ravel(), FUNCTIONS, strict=True)
    ):
        one = where(rows, function=name)
        charts.curve(axes, 0, column(one, "x"), column(one, "y"), "function")
        charts.curve(axes, 1, column(one, "x"), column(one, "derivative"), "derivative")
        axes.set_ylim(-1.2, 2.2)
        charts.label_axes(axes, "x" if index > 1 else "", "" if index % 2 else "y and dy/dx", name)
        axes.legend(loc="upper left")
    return charts.png(chart)
