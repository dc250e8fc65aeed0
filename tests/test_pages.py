"""Two pages of tables and their tests name each other, and agree in their numbers."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
TEST = r"tests/[\w/]+\.py::\w+"


class Page(NamedTuple):
    """A page in docs/, the folder of its tests, and which columns hold numbers to be asserted."""

    file: str
    folder: str
    columns: int
    asserted: slice
    ignored: set[float]

    def text(self) -> str:
        return (ROOT / "docs" / self.file).read_text()

    def rows(self) -> list[list[str]]:
        lines = [line for line in self.text().splitlines() if line.startswith("|") and re.search(TEST, line)]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


PAGES = [
    Page("errata.md", "errata", 5, slice(2, 3), set()),
    Page("framework-differences.md", "differences", 6, slice(1, 4), {0, 1, 2}),  # these are in all formulas
]
ROWS = [(page, row) for page in PAGES for row in page.rows()]
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.folder)


@cache
def sources_of(path: Path) -> dict[str, str]:
    """Return the source of every test in a file, by the name that the pages use."""
    text, found = path.read_text(), {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            decorators = " ".join(ast.unparse(item) for item in node.decorator_list)
            source = ast.get_source_segment(text, node) or ""
            found[f"{path.relative_to(ROOT)}::{node.name}"] = f"{decorators} {source}"
    return found


def numbers(text: str) -> set[float]:
    """Return the numbers in a text; words that contain digits do not count."""
    pattern = r"(?<![\w.])\d[\d_,]*(?:\.\d+)?(?:e-?\d+)?(?![\w])"
    return {float(re.sub("[_,]", "", n.rstrip(",_"))) for n in re.findall(pattern, text)}


@by_page
def test_the_page_and_the_tests_name_each_other(page: Page) -> None:
    named = set(re.findall(TEST, page.text()))
    for name in named:
        path = ROOT / name.partition("::")[0]
        assert path.exists(), name
        assert name in sources_of(path), name
    folder = ROOT / "tests" / page.folder
    tests = {name for path in folder.glob("test_*.py") for name in sources_of(path)}
    assert len(tests) > 30
    assert tests <= named


@pytest.mark.parametrize(
    ("page", "row"), ROWS, ids=[f"{page.folder}: {row[0]}: {row[1]}"[:70] for page, row in ROWS]
)
def test_numbers_on_the_page_are_asserted(page: Page, row: list[str]) -> None:
    assert len(row) == page.columns
    named = re.findall(TEST, row[-1])
    asserted = numbers(" ".join(sources_of(ROOT / name.partition("::")[0])[name] for name in named))
    assert numbers(" ".join(row[page.asserted])) - page.ignored <= asserted


def test_numbers_are_read_with_exponents_and_separators() -> None:
    assert numbers("-8.37 beside 1,000 and 2e-5; b2^t, 0.9") == {8.37, 1000, 2e-5, 0.9}
    assert numbers("0.25 instead of -20, at 1_000; slide8, A7") == {0.25, 20, 1000}


def test_all_tables_of_framework_differences_have_the_same_columns() -> None:
    text = PAGES[1].text()
    heads = re.findall(r"^\| what .*$", text, re.MULTILINE)
    assert len(heads) == text.count("\n| --- ") > 5
    assert set(heads) == {"| what | PyTorch | Keras | consequence | in this suite | test |"}


@by_page
def test_files_named_on_the_page_exist(page: Page) -> None:
    for path in set(re.findall(r"`((?:shared|apps|docs|conf|tests|tools)/[\w/.]+)`", page.text())):
        assert (ROOT / path).exists(), path
