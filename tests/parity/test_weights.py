"""The same network in the three frameworks: parameter counts, outputs, round trips."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from apps.mnist_cnn import keras_model, numpy_model, torch_model
from shared.parity.weights import (
    keras_state,
    keras_to_numpy,
    keras_to_torch,
    numpy_to_keras,
    numpy_to_torch,
    torch_to_keras,
    torch_to_numpy,
)
from shared.training.frameworks import build_learner
from tests.apps.agreement import Networks, build_networks
from tests.helpers import mnist_config

pytestmark = pytest.mark.usefixtures("keras_float64")
MODELS = ["cnn", "mlp", "fast_cnn", "accurate_cnn"]


def build(model: str, tmp_path: Path) -> Networks:
    config = mnist_config(tmp_path, f"model={model}").model
    return build_networks((torch_model, keras_model, numpy_model), config)


def assert_same_state(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("model", MODELS)
def test_the_frameworks_train_the_same_number_of_parameters(model: str, tmp_path: Path) -> None:
    in_torch, in_keras, in_numpy = build(model, tmp_path)
    count = sum(weight.numel() for weight in in_torch.parameters())
    assert count == sum(int(np.prod(w.shape)) for w in in_keras.trainable_variables)
    assert count == sum(weight.size for weight in in_numpy.params.values())
    assert count == {"cnn": 1_199_882, "mlp": 109_386}.get(model, count)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_weights_give_the_same_logits(model: str, tmp_path: Path) -> None:
    in_torch, in_keras, in_numpy = build(model, tmp_path)
    images = np.random.default_rng(0).normal(size=(5, 28, 28))
    with torch.no_grad():
        expected = in_torch.eval()(torch.from_numpy(images)).numpy()
    assert np.abs(expected).max() > 0.01
    for logits in (in_keras(images, training=False), in_numpy.eval().forward(images)):
        np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_round_trips_are_exact(model: str, tmp_path: Path) -> None:
    """torch to Keras to torch, and torch to NumPy to Keras to NumPy to torch."""
    (start, in_keras, in_numpy), (back, other_keras, other_numpy) = (build(model, tmp_path) for _ in range(2))
    for weight in (*back.parameters(), *back.buffers()):
        weight.data.zero_()
    torch_to_numpy(back, other_numpy)
    torch_to_keras(back, other_keras)
    keras_to_torch(in_keras, back)
    assert_same_state(start, back)
    numpy_to_keras(in_numpy, other_keras)
    keras_to_numpy(other_keras, other_numpy)
    for weight in (*back.parameters(), *back.buffers()):
        weight.data.zero_()
    numpy_to_torch(other_numpy, back)
    assert_same_state(start, back)


class EveryKind(torch.nn.Module):
    """One layer of each kind that has weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 4)
        self.rnn = torch.nn.RNN(4, 6, batch_first=True)
        self.gru = torch.nn.GRU(6, 5, batch_first=True)
        self.lstm = torch.nn.LSTM(5, 4, batch_first=True)
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = torch.nn.LayerNorm(4)
        self.fc = torch.nn.Linear(4, 3, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x, _ = self.rnn(self.embedding(tokens))
        x, _ = self.gru(x)
        x, _ = self.lstm(x)
        x = x + self.attention(x, x, x)[0]
        logits: torch.Tensor = self.fc(self.norm(x))
        return logits


def every_kind_in_keras() -> keras.Model:
    layers = keras.layers
    tokens = keras.Input((5,), dtype="int64")
    x = layers.Embedding(7, 4, name="embedding")(tokens)
    x = layers.SimpleRNN(6, return_sequences=True, name="rnn")(x)
    x = layers.GRU(5, return_sequences=True, name="gru")(x)
    x = layers.LSTM(4, return_sequences=True, name="lstm")(x)
    x = x + layers.MultiHeadAttention(2, 2, name="attention")(x, x)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    return keras.Model(tokens, layers.Dense(3, use_bias=False, name="fc")(x))


def test_every_kind_of_layer_is_converted() -> None:
    torch.manual_seed(0)
    torch_side, keras_side = EveryKind().double(), every_kind_in_keras()
    torch_to_keras(torch_side, keras_side)
    tokens = np.random.default_rng(0).integers(0, 7, (3, 5))
    expected = torch_side(torch.from_numpy(tokens)).detach().numpy()
    # 1e-7: Keras rounds the attention's scale to float32 (docs/framework-differences.md)
    np.testing.assert_allclose(np.asarray(keras_side(tokens)), expected, rtol=1e-7, atol=1e-8)


def test_keras_to_torch_to_keras_is_exact_for_every_kind_of_layer() -> None:
    keras_side, other, torch_side = every_kind_in_keras(), every_kind_in_keras(), EveryKind()
    random = np.random.default_rng(1)
    keras_side.set_weights([random.normal(size=w.shape) for w in keras_side.get_weights()])
    keras_to_torch(keras_side, torch_side.double())
    torch_to_keras(torch_side, other)
    for weight, again in zip(keras_side.weights, other.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(again), err_msg=weight.path)
    assert not torch_side.state_dict()["lstm.bias_hh_l0"].any()


def test_the_sum_of_two_biases_is_preserved() -> None:
    start, back, keras_side = EveryKind().double(), EveryKind().double(), every_kind_in_keras()
    torch_to_keras(start, keras_side)
    keras_to_torch(keras_side, back)
    before, after = start.state_dict(), back.state_dict()
    for name in ("lstm.bias_{}_l0", "rnn.bias_{}_l0"):
        ih, hh = name.format("ih"), name.format("hh")
        assert before[hh].any()
        assert torch.equal(before[ih] + before[hh], after[ih] + after[hh])


@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bidirectional": True}, {"bias": False}])
def test_weights_that_keras_cannot_hold_are_refused(options: dict[str, Any]) -> None:
    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(4, 4, **options)

    steps = keras.Input((3, 4))
    keras_side = keras.Model(steps, keras.layers.LSTM(4, name="lstm")(steps))
    with pytest.raises(ValueError, match=r"lstm: torch has the weights .*weight_hh_l0"):
        torch_to_keras(Torch(), keras_side)


def test_networks_with_other_layers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"torch has the layers .*conv1.*Keras has .*fc3"):
        torch_to_keras(build("cnn", tmp_path).torch, build("mlp", tmp_path).keras)


@pytest.mark.parametrize("model", MODELS)
def test_initial_weights_have_the_same_range(model: str, tmp_path: Path) -> None:
    values = dict(build(model, tmp_path).torch.named_parameters())
    for layer in keras_model.build_model(mnist_config(tmp_path, f"model={model}").model).layers:
        for name, weight in zip(("weight", "bias"), layer.get_weights(), strict=False):
            same = values[f"{layer.name}.{name}"].detach().numpy()
            if same.size >= 100:
                assert weight.std() == pytest.approx(same.std(), rel=0.25), f"{layer.name} {name}"
                assert np.abs(weight).max() == pytest.approx(np.abs(same).max(), rel=0.1)


DRAWN_BY_TORCH: dict[str, Any] = {
    "glorot": torch.nn.init.xavier_uniform_,
    "he": torch.nn.init.kaiming_normal_,
    "normal": torch.nn.init.normal_,
}


@pytest.mark.parametrize("init", DRAWN_BY_TORCH)
def test_initial_weights_by_name_are_the_same_in_every_framework(init: str, tmp_path: Path) -> None:
    words = ["model=mlp", f"model.init={init}", "trainer.precision=float32"]
    learners: dict[str, Any] = {
        name: build_learner("apps.mnist_cnn", mnist_config(tmp_path, f"framework={name}", *words))
        for name in ("torch", "keras", "numpy")
    }
    weights = learners["torch"].weights()
    other_seed = mnist_config(tmp_path, "framework=numpy", *words, "seed=1")
    for name, value in build_learner("apps.mnist_cnn", other_seed).weights().items():
        assert np.array_equal(value, weights[name]) == ("bias" in name)
    for other in (learners["numpy"].weights(), keras_state(learners["keras"].model, weights)):
        for name, value in weights.items():
            np.testing.assert_array_equal(value, other[name])
    torch.manual_seed(0)
    for name, value in weights.items():
        if "bias" in name:
            assert not value.any()
            continue
        expected = DRAWN_BY_TORCH[init](torch.empty(value.shape)).numpy()
        assert value.std() == pytest.approx(expected.std(), rel=0.05)
        assert np.abs(value).max() == pytest.approx(np.abs(expected).max(), rel=0.2)
        assert value.mean() == pytest.approx(0, abs=0.15 * float(value.std()))
