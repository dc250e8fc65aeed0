"""Tables of text cells, for documents (Markdown) and for the screen."""

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table without a final newline; `|` in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """Return a table in columns two spaces apart, without a final newline.

    `align` has `<` or `>` for each column, left or right; columns beyond it are on the left.
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    signs = align.ljust(len(header), "<")
    cells = [
        [f"{cell:{sign}{width}}" for cell, sign, width in zip(line, signs, widths, strict=True)]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in cells)
