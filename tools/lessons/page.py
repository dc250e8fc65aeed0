"""Turn executed notebooks into HTML pages that need nothing else: no server, no font, no script library.

Formulas become MathML, which browsers draw themselves. Each Markdown cell and the code below it is a
`<section>`: a part of the page, and a slide of the slide view (see page/lesson.js).
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from string import Template
from typing import Any

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from tools.report.__main__ import script_json, security_policy

PAGE = Path(__file__).parent / "page"
HEADING = re.compile(r"^(#{1,3}) (.*)$", re.MULTILINE)


def formula(text: str, options: dict[str, Any]) -> str:
    found = str(convert(text.strip(), display="block" if options["display_mode"] else "inline"))
    return found.replace("<mi>log</mi>", '<mo lspace=".17em" rspace=".17em">log</mo>')  # log p, not logp


MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
MARKDOWN.use(dollarmath_plugin, renderer=formula, double_inline=True)


def anchor(heading: str) -> str:
    """Return the anchor that code hosts give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def markdown(text: str) -> str:
    """Return Markdown as HTML, with anchors."""
    tokens = MARKDOWN.parse(text)
    for token, content in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(content.content))
    return str(MARKDOWN.renderer.render(tokens, MARKDOWN.options, {}))


def code(source: str) -> str:
    return str(highlight(source, PythonLexer(), HtmlFormatter(cssclass="code")))


def output(cell: NotebookNode) -> Iterator[str]:
    """Yield the outputs of a cell as HTML."""
    for one in cell.outputs:
        data = one.get("data", {})
        if "image/png" in data:
            alt = one.get("metadata", {}).get("image/png", {}).get("alt", "")
            source = f"data:image/png;base64,{data['image/png'].strip()}"
            yield f'<figure><img src="{source}" alt="{html.escape(alt)}"></figure>'
        elif "text/markdown" in data:
            yield f'<div class="table">{markdown(data["text/markdown"])}</div>'
        else:
            yield f'<pre class="output">{html.escape(one.get("text") or data["text/plain"])}</pre>'


def code_cell(cell: NotebookNode) -> str:
    """Return a cell and its outputs.

    The code of a cell tagged "fold" is folded below its outputs; one tagged "page" is not on the slides.
    """
    outputs, source, tags = "".join(output(cell)), code(cell.source), cell.metadata.get("tags", ())
    if "fold" in tags:
        return f'<div class="cell">{outputs}<details><summary>code</summary>{source}</details></div>'
    return f'<div class="cell{" page" * ("page" in tags)}">{source}{outputs}</div>'


def tabs(cells: Sequence[NotebookNode]) -> str:
    """Return cells that do the same in different frameworks as tabs, which need no script."""
    group, found = cells[0].id, []
    for number, cell in enumerate(cells):
        name, checked = f"{group}-{number}", " checked" * (number == 0)
        found.append(f'<input type="radio" name="{group}" id="{name}"{checked}>')
        found.append(f'<label for="{name}">{html.escape(cell.metadata.tab)}</label>')
    return f'<div class="tabs">{"".join(found)}{"".join(map(code_cell, cells))}</div>'


def sections(notebook: NotebookNode) -> str:
    """Return the sections of a lesson as HTML: a Markdown cell and the code below it, or a picture."""
    title, text, found = "", "", [list[str]()]
    for kind, group in groupby(notebook.cells, lambda cell: (cell.cell_type, "tab" in cell.metadata)):
        for cells in [list(group)] if kind[1] else ([one] for one in group):
            is_text = kind[0] == "markdown"
            picture = "fold" in cells[0].metadata.get("tags", ())
            if found[-1] and (is_text or (picture and not HEADING.fullmatch(text))):
                found.append([])
            names = HEADING.findall(cells[0].source) if is_text else []
            if not found[-1] and not names:
                found[-1].append(f'<p class="again">{html.escape(title)}</p>')
            title = names[-1][1] if names else title
            text = cells[0].source if is_text else text
            found[-1].append(markdown(text) if is_text else tabs(cells) if kind[1] else code_cell(cells[0]))
    return "".join(f"<section>\n{''.join(parts)}</section>\n" for parts in found)


def headings(notebook: NotebookNode) -> list[str]:
    """Return the title of a lesson and its sections."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [name for level, name in HEADING.findall(text) if len(level) <= 2]


def fill(template: str, script: str, **fields: str) -> str:
    """Return a page with its style and script, and a policy that forbids everything else."""
    style = (PAGE / "lesson.css").read_text() + HtmlFormatter(style="tango").get_style_defs(".code")
    program = (PAGE / script).read_text()
    policy = security_policy(style, program, embed=True)
    page = Template((PAGE / template).read_text())
    return page.substitute(policy=policy, style=style, script=program, **fields)


def lesson_page(name: str, notebooks: Mapping[str, NotebookNode], folder: str) -> str:
    """Return the page of a lesson; links lead to the pages of `notebooks`, or else start from `folder`."""

    def link(found: re.Match[str]) -> str:
        lesson, _, place = found[1].partition(".ipynb")
        return f'href="{f"{lesson}.html{place}" if lesson in notebooks else f"{folder}/{found[1]}"}"'

    title, *parts = headings(notebooks[name])
    names = ["", *notebooks, ""]
    number = names.index(name)
    around = [(names[number - 1], "previous lesson"), (names[number + 1], "next lesson")]
    return fill(
        "lesson.html",
        "lesson.js",
        title=html.escape(title),
        contents="".join(f'<li><a href="#{anchor(part)}">{html.escape(part)}</a></li>' for part in parts),
        neighbors=" ".join(f'<a href="{lesson}.html">{label}</a>' for lesson, label in around if lesson),
        body=re.sub(r'href="(?!\w+:|#)([^"]*)"', link, sections(notebooks[name])),
    )


def index_page(notebooks: Mapping[str, NotebookNode]) -> str:
    """Return the page that lists and searches the lessons, by name."""
    items, texts = [], []
    for name, notebook in notebooks.items():
        title, *parts = headings(notebook)
        links = "".join(
            f'<li><a href="{name}.html#{anchor(part)}">{html.escape(part)}</a></li>' for part in parts
        )
        items.append(f'<h2><a href="{name}.html">{html.escape(title)}</a></h2><ul>{links}</ul>')
        for text in re.split(r"\n(?=## )", "\n".join(cell.source for cell in notebook.cells)):
            part = HEADING.findall(text)[0][1]
            words = " ".join(sorted(set(re.findall(r"[\w.]{2,}", text.lower()))))
            texts.append([f"{name}.html#{anchor(part)}", title, part, words])
    return fill("index.html", "index.js", items="".join(items), data=script_json(texts))
