"""Every optimizer's path through one curved valley (Rosenbrock 1960, here with a factor of 10)."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from apps.gradient_flow.figures.figure import (
    FONT_SIZE,
    STYLES,
    Figure,
    Row,
    canvas,
    column,
    dress,
    logarithmic,
    number,
    png,
    where,
)
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


def value(point: NDArray[np.float64]) -> float:
    """Return f(x, y) = (1 - x)^2 + 10 (y - x^2)^2, which is 0 at (1, 1)."""
    x, y = point
    return float((1 - x) ** 2 + STEEPNESS * (y - x * x) ** 2)


def gradient(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (df/dx, df/dy)."""
    x, y = point
    across = 2 * STEEPNESS * (y - x * x)
    return np.array([-2 * (1 - x) - 2 * x * across, across])


def path(make: Callable[..., Optimizer], rate: float) -> list[tuple[float, float, float]]:
    """Return x, y and f before the first step and after each; cut short where it leaves."""
    point = np.array(START)
    optimizer = make({"point": point}, lr=rate)
    points = [(*START, value(point))]
    for _ in range(STEPS):
        optimizer.step({"point": gradient(point)})
        if not np.abs(point).max() < 1e3:
            break
        points.append((float(point[0]), float(point[1]), value(point)))
    return points


def measure() -> list[Row]:
    """Return a row for every step of every optimizer at the rate that ends lowest."""
    rows = []
    for name, make in OPTIMIZERS.items():
        paths = {rate: path(make, rate) for rate in RATES}
        whole = {rate: points for rate, points in paths.items() if len(points) == STEPS + 1}
        rate = min(whole, key=lambda rate: whole[rate][-1][2])
        rows += [
            {"optimizer": name, "lr": rate, "step": step, "x": x, "y": y, "f": f}
            for step, (x, y, f) in enumerate(whole[rate])
        ]
    return rows


def figure() -> Figure:
    """Return the picture."""
    rows = measure()
    return Figure(
        "valley",
        "Every optimizer's path through one valley",
        caption(rows),
        "Eight panels: the path of each of seven optimizers over the contours of a curved valley, "
        "from its left arm to the minimum at (1, 1), and the function's value by step.",
        rows,
        draw(rows),
        [where(rows, optimizer=name)[-1] for name in OPTIMIZERS],
    )


def caption(rows: Sequence[Row]) -> str:
    """Say where each ends."""
    ends = {name: where(rows, optimizer=name)[-1] for name in OPTIMIZERS}
    order = sorted(ends, key=lambda name: float(ends[name]["f"]))
    said = ", ".join(f"{name} {number(ends[name]['f'])} (rate {number(ends[name]['lr'])})" for name in order)
    return (
        "f(x, y) = (1 - x)^2 + 10 (y - x^2)^2: steep walls, a gentle floor, the minimum 0 at the "
        f"star. Each optimizer has the best of the same {len(RATES)} learning rates, "
        f"{number(RATES[0])} to {number(RATES[-1])}. Its value after {STEPS} steps, lowest first: "
        f"{said}. One valley says how they move, and nothing about which is best elsewhere. AdamW "
        "shrinks its weights at each step."
    )


def draw(rows: Sequence[Row]) -> bytes:
    """Draw a panel for each path, and the values by step."""
    picture = canvas("Every optimizer through one valley, each with its best learning rate")
    panels = picture.subplots(2, 4).ravel()
    across, up = np.meshgrid(np.linspace(-2, 2, 161), np.linspace(-1, 3, 161))
    heights = (1 - across) ** 2 + STEEPNESS * (up - across**2) ** 2
    levels = np.geomspace(0.1, 200, 9)
    for panel, (axes, name) in enumerate(zip(panels, OPTIMIZERS, strict=False)):
        color, _, marker = STYLES[panel]
        one = where(rows, optimizer=name)
        axes.contour(across, up, heights, levels=levels, colors="#BBBBBB", linewidths=1)
        axes.plot(column(one, "x"), column(one, "y"), color=color, linewidth=1.5, marker=marker, markersize=5)
        axes.plot(*MINIMUM, "*", color="black", markersize=16, zorder=4)
        axes.set_xlim(-2, 2)
        axes.set_ylim(-1, 3)
        dress(
            axes, "x" if panel > 2 else "", "" if panel % 4 else "y", f"{name}, rate {number(one[0]['lr'])}"
        )
        panels[7].plot(
            column(one, "step"),
            column(one, "f"),
            color=color,
            linewidth=2,
            linestyle=STYLES[panel][1],
            marker=marker,
            markevery=20,
            label=name,
        )
    logarithmic(panels[7])
    dress(panels[7], "step", "", "f by step")
    picture.legend(
        *panels[7].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=7,
        fontsize=FONT_SIZE,
        frameon=False,
        handlelength=2,
    )
    return png(picture)
