"""What the form of an arXiv identifier tells: year, month, and whether it is possible."""

import re

import pytest


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
