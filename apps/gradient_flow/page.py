"""The page with all pictures in it: one file, no script, nothing fetched from anywhere."""

import base64
import html
from collections.abc import Sequence

from apps.gradient_flow.figures.figure import Figure, Row, number

STYLE = """
body { font: 18px/1.5 sans-serif; max-width: 1280px; margin: 2rem auto; padding: 0 1rem;
       color: #111; background: #fff; }
img { width: 100%; height: auto; border: 1px solid #ccc; }
figure { margin: 0 0 1rem 0; }
figcaption { margin-top: 0.5rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border: 1px solid #999; padding: 0.2rem 0.7rem; text-align: right; }
summary { cursor: pointer; }
section { margin-bottom: 3rem; }
"""


def page(figures: Sequence[Figure], framework: str, seed: int) -> str:
    """Return the page; its pictures are in it, its links lead to the CSV files beside it."""
    entries = "\n".join(
        f'<li><a href="#{figure.name}">{html.escape(figure.title)}</a></li>' for figure in figures
    )
    sections = "\n".join(_section(figure) for figure in figures)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>What gradients do</title>
<style>{STYLE}</style>
</head>
<body>
<h1>What gradients do</h1>
<p>A network learns by its gradients: how much the loss changes with each number in it. These
pictures show where they get lost on the way, where they grow without end, and what can be done.
Every number was computed in this run, in float64, with seed {seed}; the networks' gradients by
{"shared/backprop" if framework == "numpy" else html.escape(framework)}. The images are
scikit-learn's handwritten digits.</p>
<ol>
{entries}
</ol>
{sections}
</body>
</html>
"""


def _section(figure: Figure) -> str:
    """Return one picture with its caption, its numbers and its table."""
    picture = base64.b64encode(figure.png).decode()
    return f"""<section id="{figure.name}">
<h2>{html.escape(figure.title)}</h2>
<figure>
<img alt="{html.escape(figure.alt)}" src="data:image/png;base64,{picture}">
<figcaption>{html.escape(figure.caption)} Numbers:
<a href="{figure.name}.csv">{figure.name}.csv</a></figcaption>
</figure>
{_table(figure.table) if figure.table else ""}
</section>"""


def _table(rows: Sequence[Row]) -> str:
    """Return a table that can be unfolded; numbers in three digits."""
    head = "".join(f'<th scope="col">{html.escape(key)}</th>' for key in rows[0])
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    return f"""<details open><summary>Table</summary>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</details>"""


def _cell(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)
