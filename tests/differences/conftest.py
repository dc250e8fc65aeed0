import pytest


@pytest.fixture(autouse=True)
def _float64_and_seeds(keras_float64: None) -> None:
    import keras
    import torch

    keras.utils.set_random_seed(0)
    torch.manual_seed(0)
