"""Learning rates too small, right and too large, on f(x) = x^2."""

from collections.abc import Sequence

import numpy as np

from apps.gradient_flow.figure import Figure, Row, column, draw_curves, listing, number, where
from shared import charts
from shared.backprop import SGD

CURVATURE = 2.0  # of f(x) = x^2: f'(x) = 2 x
LIMIT = 2 / CURVATURE  # gradient descent on a quadratic converges below this rate only
RATES = {"too small": 0.01, "right": 0.3, "nearly too large": 0.97, "too large": 1.03}
START = 4.0
STEPS = 30


def descend(rate: float, steps: int = STEPS) -> list[float]:
    """Return x before the first step and after each: x - rate * 2 x = (1 - 2 rate) x."""
    x = np.array([START])
    optimizer = SGD({"x": x}, lr=rate)
    path = [float(x[0])]
    for _ in range(steps):
        optimizer.step({"x": CURVATURE * x})
        path.append(float(x[0]))
    return path


def measure() -> list[Row]:
    """Return a row for every step at every rate."""
    return [
        {"rate": name, "lr": rate, "step": step, "x": x, "f": x * x}
        for name, rate in RATES.items()
        for step, x in enumerate(descend(rate))
    ]


def figure(rows: Sequence[Row]) -> Figure:
    """Return the chart; its caption says where each rate ends."""
    ends = {}
    for name in RATES:
        one = where(rows, rate=name)
        verdict = "falls" if one[-1]["f"] < one[0]["f"] else "grows"
        sides = "from side to side" if one[1]["x"] * one[0]["x"] < 0 else "from one side"
        ends[f"{name}, {one[0]['lr']}"] = f"{verdict} to {number(one[-1]['f'])}, {sides}"
    start, steps = rows[0]["f"], max(column(rows, "step"))
    caption = (
        f"Gradient descent on f(x) = x^2, {steps} steps from f = {number(start)}. {listing(ends)}. "
        f"Each step multiplies x by 1 - 2 lr, so at every rate above {number(LIMIT)} "
        "(2 over the curvature) the value grows, however slowly."
    )
    title = "The learning rate: too small, right, too large"
    alt = "The parabola x squared with the first steps at each of four rates, and its value by step."
    return Figure("learning_rates", title, caption, alt, rows, draw(rows))


def draw(rows: Sequence[Row]) -> bytes:
    """Draw the parabola with the steps on it, and the value by step."""
    chart = charts.figure("One function, four learning rates: gradient descent on x²")
    left, right = chart.subplots(1, 2)
    side = np.linspace(-6.2, 6.2, 201)
    left.plot(side, side**2, color=charts.GRAY, linewidth=3)
    draw_curves(left, [row for row in rows if row["step"] < 8], "rate", "x", "f")
    draw_curves(right, rows, "rate", "step", "f", lambda name: f"{name}: {RATES[name]}")
    charts.log_scale(right)
    charts.label_axes(left, "x", "f(x)", "the first 7 steps")
    charts.label_axes(right, "step", "f(x)", "all steps")
    right.legend(title="learning rate", title_fontsize=charts.FONT_SIZE)
    return charts.png(chart)
