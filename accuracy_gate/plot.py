"""Charts as SVG, without a plotting library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from accuracy_gate.report import printable

WIDTH, HEIGHT, LEFT, TOP = 640, 220, 70, 34
COLORS = ("#1f77b4", "#d62728")


@dataclass(frozen=True)
class Panel:
    """Series of numbers at equal distances, with a horizontal line; `ends` labels the first and the last."""

    title: str
    series: Sequence[Sequence[float]]
    names: Sequence[str]
    line: float
    connected: bool = True
    logarithmic: bool = False
    ends: tuple[str, str] = ("", "")


def svg(panels: Sequence[Panel]) -> str:
    """Return all panels, one below the other."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT * len(panels)}"'
    parts = [
        f'{head} font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += [f'<g transform="translate(0 {HEIGHT * number})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel) -> list[str]:
    values = [value for numbers in panel.series for value in numbers] + [panel.line]
    scale = math.log10 if panel.logarithmic else float
    low, high = scale(min(values)), scale(max(values))
    longest = max(map(len, panel.series))

    def x(index: int) -> float:
        return LEFT + 15 + (WIDTH - LEFT - 50) * index / max(1, longest - 1)

    def y(value: float) -> float:
        return (
            HEIGHT - 30 - (HEIGHT - TOP - 45) * ((scale(value) - low) / (high - low) if high > low else 0.5)
        )

    title = escape(printable(panel.title))
    parts = [f'<text x="{LEFT}" y="18" font-weight="bold">{title}</text>']
    bounds = [value for value in (min(values), max(values)) if abs(y(value) - y(panel.line)) > 12]
    for value in (panel.line, *bounds):
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for place, anchor, label in ((0, "start", panel.ends[0]), (longest - 1, "end", panel.ends[1])):
        parts.append(
            f'<text x="{x(place):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{escape(label)}</text>'
        )
    line = f'x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(panel.line):.1f}" y2="{y(panel.line):.1f}"'
    parts.append(f'<line {line} stroke="#888" stroke-dasharray="4 3"/>')
    for place, (numbers, name, color) in enumerate(zip(panel.series, panel.names, COLORS, strict=False)):
        points = [(x(index), y(value)) for index, value in enumerate(numbers)]
        if panel.connected:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{color}"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{color}"/>' for a, b in points]
        where = f'x="{LEFT + 180 * place}" y="{HEIGHT - 8}"'
        parts.append(f'<text {where} fill="{color}">{escape(name)}</text>')
    return parts
