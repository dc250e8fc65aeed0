"""docs/framework-differences.md and the tests name each other, and agree in their numbers."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGE = (ROOT / "docs" / "framework-differences.md").read_text()
NAME = r"tests/[\w/]+\.py::\w+"
COLUMNS = ["what", "PyTorch", "Keras", "what follows", "in this suite", "test"]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.search(NAME, line) and line.startswith("|")
]
IN_FORMULAS = {0, 1, 2}  # these three are everywhere, and prove nothing


@cache
def sources(path: Path) -> dict[str, str]:
    """Return the source of every test in a file, by the name that the page has for it."""
    text, found = path.read_text(), {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            source = ast.get_source_segment(text, node) or ""
            decorators = " ".join(ast.unparse(item) for item in node.decorator_list)
            found[f"{path.relative_to(ROOT)}::{node.name}"] = f"{decorators} {source}"
    return found


def numbers(text: str) -> set[float]:
    """Return the numbers in a text; words with digits in them do not count."""
    pattern = r"(?<![\w.])\d[\d_,]*(?:\.\d+)?(?:e-?\d+)?(?![\w])"
    return {float(re.sub("[_,]", "", n.rstrip(",_"))) for n in re.findall(pattern, text)}


def test_every_test_named_exists() -> None:
    for name in set(re.findall(NAME, PAGE)):
        path = ROOT / name.partition("::")[0]
        assert path.exists(), name
        assert name in sources(path), name


def test_every_test_here_is_named() -> None:
    here = {name for path in FOLDER.glob("test_*.py") if path != Path(__file__) for name in sources(path)}
    assert len(here) > 30
    assert here <= set(re.findall(NAME, PAGE))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_numbers_are_asserted(row: list[str]) -> None:
    assert len(row) == len(COLUMNS)
    asserted = set()
    for name in re.findall(NAME, row[-1]):
        asserted |= numbers(sources(ROOT / name.partition("::")[0])[name])
    assert numbers(" ".join(row[1:4])) - IN_FORMULAS <= asserted


def test_a_number_that_no_test_asserts_is_noticed() -> None:
    assert numbers("-8.37 beside 1,000 and 2e-5; b2^t, 0.9") == {8.37, 1000, 2e-5, 0.9}


def test_every_table_has_the_same_columns() -> None:
    heads = re.findall(r"^\| what .*$", PAGE, re.MULTILINE)
    assert len(heads) == PAGE.count("\n| --- ") > 5
    for head in heads:
        assert [cell.strip() for cell in head.strip("|").split("|")] == COLUMNS


def test_files_named_on_the_page_exist() -> None:
    for path in set(re.findall(r"`((?:shared|apps|docs|conf|tests)/[\w/.]+)`", PAGE)):
        assert (ROOT / path).exists(), path
