from collections.abc import Iterator

import pytest

from tools.gradcheck.entries import double_precision

# isort: split
import keras
import torch


@pytest.fixture(autouse=True)
def _double_precision_and_seeds() -> Iterator[None]:
    with double_precision():
        keras.utils.set_random_seed(0)
        torch.manual_seed(0)
        yield
