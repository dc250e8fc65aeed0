"""Learning rates too small, right and too large, on f(x) = x^2."""

from collections.abc import Sequence

import numpy as np

from apps.gradient_flow.figures.figure import (
    FONT_SIZE,
    Figure,
    Row,
    canvas,
    column,
    dress,
    joined,
    line,
    logarithmic,
    number,
    png,
    where,
)
from shared.backprop import SGD

CURVATURE = 2.0  # of f(x) = x^2: f'(x) = 2 x
LIMIT = 2 / CURVATURE  # gradient descent on a quadratic converges below it, and only there
RATES = {"too small": 0.01, "right": 0.3, "nearly too large": 0.97, "too large": 1.03}
START = 4.0
STEPS = 30


def descend(rate: float, steps: int = STEPS) -> list[float]:
    """Return x before the first step and after each.

    A step is x - rate * 2 x = (1 - 2 rate) x: what is left of x is (1 - 2 rate)^steps.
    """
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


def figure() -> Figure:
    """Return the picture."""
    rows = measure()
    return Figure(
        "learning_rates",
        "The learning rate: too small, right, too large",
        caption(rows),
        "Left: the parabola x squared with the first steps at each of four learning rates. Right: "
        "its value after each step, logarithmic.",
        rows,
        draw(rows),
    )


def caption(rows: Sequence[Row]) -> str:
    """Say what each rate reaches."""
    said = {}
    for name in RATES:
        one = where(rows, rate=name)
        verdict = "falls" if one[-1]["f"] < one[0]["f"] else "grows"
        sides = "from side to side" if one[1]["x"] * one[0]["x"] < 0 else "from one side"
        said[f"{name}, {one[0]['lr']}"] = f"{verdict} to {number(one[-1]['f'])}, {sides}"
    start, steps = rows[0]["f"], max(column(rows, "step"))
    return (
        f"Gradient descent on f(x) = x^2 from f = {number(start)}, {steps} steps. {joined(said)}. "
        f"Each step multiplies x by 1 - 2 lr, so everything beyond a rate of {number(LIMIT)} "
        "(2 over the curvature) grows, be it by ever so little."
    )


def draw(rows: Sequence[Row]) -> bytes:
    """Draw the parabola with the steps on it, and the value by step."""
    picture = canvas("One function, four learning rates: gradient descent on x²")
    left, right = picture.subplots(1, 2)
    side = np.linspace(-6.2, 6.2, 201)
    left.plot(side, side**2, color="#999999", linewidth=3)
    for style, name in enumerate(RATES):
        one = where(rows, rate=name)
        line(left, style, column(one[:8], "x"), column(one[:8], "f"))
        line(right, style, column(one, "step"), column(one, "f"), f"{name}: {one[0]['lr']}")
    logarithmic(right)
    dress(left, "x", "f(x)", "the first 7 steps")
    dress(right, "step", "f(x)", "all steps")
    right.legend(fontsize=FONT_SIZE, title="learning rate", title_fontsize=FONT_SIZE)
    return png(picture)
