"""Fixtures of the applications' tests."""

from collections.abc import Iterator

import pytest

from tools.gradcheck.entries import double_precision


@pytest.fixture
def keras_float64() -> Iterator[None]:
    """Let Keras build its networks in float64."""
    with double_precision():
        yield
