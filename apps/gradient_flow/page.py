"""The page with all charts: one HTML file without scripts that loads nothing from the network."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from apps.gradient_flow.config import Config
from apps.gradient_flow.data import gradient_batches
from apps.gradient_flow.figure import Figure, Row, number
from apps.gradient_flow.figures import activations, clipping, depth, overfitting, parabola, recurrent, valley
from shared.data.images import ImageData
from shared.training.frameworks import network_module

TEMPLATE = Path(__file__).with_name("page.html")


def figures(config: Config, data: ImageData, results: Mapping[str, Any]) -> Iterator[Figure]:
    """Yield every chart in the order of the page; `results` are those that `overfitting.measure` takes."""
    engine = network_module("apps.gradient_flow", config)
    flat, rows = gradient_batches(data, config)
    yield activations.figure(activations.measure())
    by_layer = depth.measure(engine, config, flat)
    yield depth.depth_figure(by_layer)
    yield depth.remedies_figure(by_layer)
    yield recurrent.figure(recurrent.measure(engine, config, rows))
    yield clipping.figure(clipping.measure(engine, config, rows), config.trainer.clip_norm)
    yield parabola.figure(parabola.measure())
    yield valley.figure(valley.measure())
    yield overfitting.figure(*overfitting.measure(results), config)


def page(figures: Sequence[Figure], framework: str, seed: int) -> str:
    """Return the page; it contains its charts, and its links lead to the CSV files beside it."""
    return Template(TEMPLATE.read_text()).substitute(
        seed=seed,
        library="shared/backprop" if framework == "numpy" else framework,
        entries="\n".join(f'<li><a href="#{one.name}">{escape(one.title)}</a></li>' for one in figures),
        sections="\n".join(_section(figure) for figure in figures),
    )


def _section(figure: Figure) -> str:
    """Return a chart with its caption, a link to its numbers, and its table."""
    chart = base64.b64encode(figure.png).decode()
    return f"""<section id="{figure.name}">
<h2>{escape(figure.title)}</h2>
<figure>
<img alt="{escape(figure.alt)}" src="data:image/png;base64,{chart}">
<figcaption>{escape(figure.caption)} Numbers: <a href="{figure.name}.csv">{figure.name}.csv</a></figcaption>
</figure>
{_table(figure.table) if figure.table else ""}
</section>"""


def _table(rows: Sequence[Row]) -> str:
    """Return a table that can be folded; numbers have three digits."""
    head = "".join(f'<th scope="col">{escape(key)}</th>' for key in rows[0])
    body = [
        "".join(f"<td>{number(v) if isinstance(v, float) else escape(str(v))}</td>" for v in row.values())
        for row in rows
    ]
    lines = "\n".join(f"<tr>{cells}</tr>" for cells in [head, *body])
    return f"<details open><summary>Table</summary>\n<table>\n{lines}\n</table>\n</details>"
