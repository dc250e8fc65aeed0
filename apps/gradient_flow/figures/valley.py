"""The path of every optimizer through one curved valley (Rosenbrock 1960, here with a factor of 10)."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from apps.gradient_flow.figure import Figure, Row, column, number, where
from shared import charts
from shared.backprop import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

STEEPNESS = 10.0
START = (-1.5, 1.0)
MINIMUM = (1.0, 1.0)
STEPS = 100
RATES = [float(f"{10 ** (k / 4 - 3):.3g}") for k in range(15)]  # 0.001 to 3.16
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "SGD": SGD,
    "momentum": partial(SGD, momentum=0.9),
    "Nesterov": partial(SGD, momentum=0.9, nesterov=True),
    "RMSprop": RMSprop,
    "Adagrad": Adagrad,
    "Adam": Adam,
    "AdamW": AdamW,
}


def value(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return f(x, y) = (1 - x)^2 + 10 (y - x^2)^2, which is 0 at (1, 1)."""
    return np.asarray((1 - x) ** 2 + STEEPNESS * (y - x * x) ** 2)


def gradient(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (df/dx, df/dy)."""
    x, y = point
    across = 2 * STEEPNESS * (y - x * x)
    return np.array([-2 * (1 - x) - 2 * x * across, across])


def path(build: Callable[..., Optimizer], rate: float) -> list[tuple[float, float, float]]:
    """Return x, y and f before the first step and after each, as long as the point is close."""
    point = np.array(START)
    optimizer = build({"point": point}, lr=rate)
    points = [(*START, float(value(*point)))]
    for _ in range(STEPS):
        optimizer.step({"point": gradient(point)})
        if not np.abs(point).max() < 1e3:
            break
        points.append((float(point[0]), float(point[1]), float(value(*point))))
    return points


def measure() -> list[Row]:
    """Return a row for every step of every optimizer at the rate that ends lowest."""
    rows = []
    for name, build in OPTIMIZERS.items():
        paths = {rate: path(build, rate) for rate in RATES}
        complete = [rate for rate in RATES if len(paths[rate]) == STEPS + 1]
        best = min(complete, key=lambda rate: paths[rate][-1][2])
        rows += [
            {"optimizer": name, "lr": best, "step": step, "x": x, "y": y, "f": f}
            for step, (x, y, f) in enumerate(paths[best])
        ]
    return rows


def figure(rows: Sequence[Row]) -> Figure:
    """Return the chart; its caption says where each optimizer ends."""
    ends = where(rows, step=STEPS)
    listed = ", ".join(
        f"{row['optimizer']} {number(row['f'])} (rate {number(row['lr'])})"
        for row in sorted(ends, key=lambda row: float(row["f"]))
    )
    caption = (
        "f(x, y) = (1 - x)^2 + 10 (y - x^2)^2 has steep walls, a gentle floor, and its minimum 0 at the "
        f"star. Each optimizer has the best of the same {len(RATES)} learning rates, "
        f"{number(RATES[0])} to {number(RATES[-1])}. Its value after {STEPS} steps, lowest first: "
        f"{listed}. One valley shows how they move, not which of them is best elsewhere. AdamW "
        "shrinks its weights at each step."
    )
    title = "The path of every optimizer through one valley"
    alt = "The path of each of seven optimizers over a curved valley, and the function's value at its end."
    return Figure("valley", title, caption, alt, rows, draw(rows), ends)


def draw(rows: Sequence[Row]) -> bytes:
    """Draw a panel for each path, and the value at the end of each."""
    chart = charts.figure("Every optimizer through one valley, each with its best learning rate")
    *panels, last = chart.subplots(2, 4).ravel()
    grid = np.meshgrid(np.linspace(-2, 2, 161), np.linspace(-1, 3, 161))
    for index, (axes, name) in enumerate(zip(panels, OPTIMIZERS, strict=True)):
        one = where(rows, optimizer=name)
        color, _, marker = charts.STYLES[index]
        axes.contour(*grid, value(*grid), levels=np.geomspace(0.1, 200, 9), colors="#BBBBBB", linewidths=1)
        axes.plot(column(one, "x"), column(one, "y"), color=color, lw=1.5, marker=marker, ms=5)
        axes.plot(*MINIMUM, "*", color="black", markersize=16, zorder=4)
        axes.set(xlim=(-2, 2), ylim=(-1, 3))
        title = f"{name}, rate {number(one[0]['lr'])}"
        charts.label_axes(axes, "x" if index > 2 else "", "" if index % 4 else "y", title)
        last.plot([one[-1]["f"]], [name], color=color, marker=marker, ms=11)
    last.set_xscale("log")
    last.invert_yaxis()
    charts.label_axes(last, "f", "", f"f after {STEPS} steps")
    return charts.png(chart)
