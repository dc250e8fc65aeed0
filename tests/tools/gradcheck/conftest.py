from collections.abc import Iterator

import pytest

from tools.gradcheck.entries import double_precision


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    with double_precision():
        yield
