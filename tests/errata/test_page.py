"""docs/errata.md and the tests beside this one name each other, and agree in their numbers."""

import ast
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGE = (ROOT / "docs" / "errata.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if "tests/errata/" in line and line.startswith("|")
]


def sources() -> dict[str, str]:
    """Return the source of every test in this folder, by the name that the page has for it."""
    found = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                source = ast.get_source_segment(text, node) or ""
                decorators = " ".join(ast.unparse(item) for item in node.decorator_list)
                found[f"tests/errata/{path.name}::{node.name}"] = decorators + source
    return {name: source for name, source in found.items() if Path(__file__).name not in name}


def numbers(text: str) -> set[float]:
    """Return the numbers in a text; words with digits in them do not count."""
    pattern = r"(?<![\w.])\d[\d_,]*(?:\.\d+)?(?:e-?\d+)?(?![\w])"
    return {float(re.sub("[_,]", "", n.rstrip(",_"))) for n in re.findall(pattern, text)}


def test_the_page_and_the_tests_name_each_other() -> None:
    named = set(re.findall(r"tests/errata/\w+\.py::\w+", PAGE))
    assert named == set(sources())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[-1][:60]}")
def test_measured_numbers_are_asserted(row: list[str]) -> None:
    assert len(row) == 5
    asserted = set()
    for name in re.findall(r"tests/errata/\w+\.py::\w+", row[4]):
        asserted |= numbers(sources()[name])
    assert numbers(row[2]) <= asserted


def test_a_number_that_no_test_asserts_is_noticed() -> None:
    assert numbers("0.25 instead of -20, at 1,000 and 2e-5; slide8, A7") == {0.25, 20, 1000, 2e-5}


def test_files_named_on_the_page_exist() -> None:
    for path in set(re.findall(r"`((?:shared|apps|docs)/[\w/.]+)`", PAGE)):
        assert (ROOT / path).exists(), path
