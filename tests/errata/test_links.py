"""What the form of an arXiv identifier tells, and the form of the bibliography."""

import re

import pytest

from tests.helpers import ROOT

BIBLIOGRAPHY = (ROOT / "docs" / "bibliography.md").read_text()
ENTRIES = {"A14": 5, "B16": 3, "C14": 4}  # on the last slide of each deck; D has none
WRONG = {  # where a deck gives another paper's identifier, or an impossible one
    "A14.1": "1998.01365",
    "A14.2": "1008.3024",
    "B16.1": "1211.5063",
    "C14.1": "1609.08144",
    "C14.3": "1207.0580",
}


def month_of(identifier: str) -> str | None:
    """Return yyyy-mm of an arXiv identifier since April 2007, or None if it is impossible.

    The form is yymm.nnnn until the end of 2014, and yymm.nnnnn from 2015.
    """
    found = re.fullmatch(r"(\d\d)(\d\d)\.(\d{4,5})", identifier)
    if found is None:
        return None
    year, month, number = found.groups()
    digits = 4 if year < "15" else 5
    if not "01" <= month <= "12" or year + month < "0704" or len(number) != digits:
        return None
    return f"20{year}-{month}"


def test_a_month_that_does_not_exist() -> None:
    assert month_of("1998.01365") is None  # month 98
    assert month_of("1412.6980") == "2014-12"
    assert month_of("1706.03762") == "2017-06"
    assert month_of("1502.0316") is None
    assert month_of("0703.0001") is None


@pytest.mark.parametrize(
    ("identifier", "month", "published"), [("1211.5063", "2012-11", 1994), ("1207.0580", "2012-07", 2014)]
)
def test_an_identifier_of_another_year(identifier: str, month: str, published: int) -> None:
    assert month_of(identifier) == month
    assert abs(int(month[:4]) - published) >= 2


def test_an_identifier_that_may_exist() -> None:
    assert month_of("1008.3024") == "2010-08"
    assert month_of("1609.08144") == "2016-09"


def test_entries_of_the_bibliography() -> None:
    lines = re.findall(r"^\| [A-D]\d+\.\d+ \|.*", BIBLIOGRAPHY, re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = {row[0]: row for row in cells}
    assert len(rows) == len(cells)
    assert list(rows) == [f"{slide}.{k + 1}" for slide, count in ENTRIES.items() for k in range(count)]
    assert {len(row) for row in rows.values()} == {6}
    links = [row[2] for row in rows.values() if row[2].startswith("`http")]
    works = [row for row in rows.values() if "duplicate" not in row[3]]
    assert f"cite {len(rows)} entries" in BIBLIOGRAPHY
    assert f"these are {len(works)} works" in BIBLIOGRAPHY
    assert f"Of the {len(links)} links, {len(links) - len(WRONG)} are right and {len(WRONG)} are wrong" in (
        " ".join(BIBLIOGRAPHY.split())
    )
    for where, row in rows.items():
        assert ("wrong link" in row[3]) == (where in WRONG), where
        if where in WRONG:
            assert f"`https://arxiv.org/abs/{WRONG[where]}`" in row[2]
            assert WRONG[where] not in row[4]
        for referred in re.findall(r"^see (.*)", row[4]):
            assert not rows[referred][4].startswith("see "), where


def test_identifiers_in_the_bibliography() -> None:
    found = set(re.findall(r"(?:arxiv\.org/abs/|arXiv:)([\d.]*\d)", BIBLIOGRAPHY))
    assert len(found) > 10
    assert {identifier for identifier in found if month_of(identifier) is None} == {"1998.01365"}
    for label, target in re.findall(r"\[arXiv:(.*?)\]\((.*?)\)", BIBLIOGRAPHY):
        assert target == f"https://arxiv.org/abs/{label}"
    for label, target in re.findall(r"\[doi:(.*?)\]\((.*?)\)", BIBLIOGRAPHY):
        assert re.fullmatch(r"10\.\d{4,5}/\S+", label)
        assert target == "https://doi.org/" + label.replace("(", "%28").replace(")", "%29")
    for cell in re.findall(r"[^|]*\[arXiv:[^|]*", BIBLIOGRAPHY):  # a paper's year is close to its preprint's
        (year,) = re.findall(r"^ [^\d]*((?:19|20)\d\d)\b", cell)
        for identifier in re.findall(r"\[arXiv:(.*?)\]", cell):
            assert 0 <= int(year) - int((month_of(identifier) or "")[:4]) <= 1, identifier
