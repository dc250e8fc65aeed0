"""The same network in both frameworks: counts, outputs, and the way back."""

from pathlib import Path

import keras
import numpy as np
import pytest
import torch

from apps.mnist_cnn import keras_model, torch_model
from shared.parity.weights import keras_to_torch, torch_to_keras
from tests.helpers import mnist_config

MODELS = ["cnn", "mlp", "fast_cnn"]


@pytest.fixture(autouse=True)
def _double_precision() -> object:
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(before)


def both(model: str, tmp_path: Path, *overrides: str) -> tuple[torch.nn.Module, keras.Model]:
    config = mnist_config(tmp_path, f"model={model}", *overrides)
    torch.manual_seed(0)
    return (
        torch_model.build_model(config.model).double().eval(),
        keras_model.build_model(config.model),
    )


@pytest.mark.parametrize("model", MODELS)
def test_the_frameworks_train_the_same_number_of_parameters(model: str, tmp_path: Path) -> None:
    torch_side, keras_side = both(model, tmp_path)
    expected = {"cnn": 1_199_882, "mlp": 109_386}
    count = sum(weight.numel() for weight in torch_side.parameters())
    trained = sum(int(np.prod(weight.shape)) for weight in keras_side.trainable_variables)
    assert count == trained
    assert count == expected.get(model, count)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_weights_give_the_same_logits(model: str, tmp_path: Path) -> None:
    torch_side, keras_side = both(model, tmp_path)
    torch_to_keras(torch_side, keras_side)
    images = np.random.default_rng(0).normal(size=(5, 28, 28))
    with torch.no_grad():
        expected = torch_side(torch.from_numpy(images)).numpy()
    result = np.asarray(keras_side(images, training=False))
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_the_round_trip_is_exact(model: str, tmp_path: Path) -> None:
    torch_side, keras_side = both(model, tmp_path)
    torch_to_keras(torch_side, keras_side)
    torch.manual_seed(1)
    back = torch_model.build_model(mnist_config(tmp_path, f"model={model}").model).double()
    keras_to_torch(keras_side, back)
    for name, value in torch_side.state_dict().items():
        assert torch.equal(value, back.state_dict()[name]), name


def test_networks_with_other_layers_are_refused(tmp_path: Path) -> None:
    torch_side, _ = both("cnn", tmp_path)
    _, keras_side = both("mlp", tmp_path)
    with pytest.raises(ValueError, match=r"torch has the layers .*conv1.*Keras has .*fc3"):
        torch_to_keras(torch_side, keras_side)


@pytest.mark.parametrize("model", MODELS)
def test_initial_weights_have_the_same_range(model: str, tmp_path: Path) -> None:
    torch_side, keras_side = both(model, tmp_path)
    values = dict(torch_side.named_parameters())
    for layer in keras_side.layers:
        for name, weight in zip(("weight", "bias"), layer.get_weights(), strict=False):
            same = values[f"{layer.name}.{name}"].detach().numpy()
            if same.size >= 100:
                assert weight.std() == pytest.approx(same.std(), rel=0.25), f"{layer.name} {name}"
                assert np.abs(weight).max() == pytest.approx(np.abs(same).max(), rel=0.1)
