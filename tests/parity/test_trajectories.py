"""With the same configuration, torch, Keras and NumPy take the same training steps.

All start from the same weights and see the same batches, in float64, with a learning rate that
changes in every step. Every weight is compared after every step. The tolerance is far below the size
of a step, and every weight must have moved, so an optimizer that does nothing fails.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

from apps.mnist_cnn import keras_model, numpy_model, torch_model
from shared.data.examples import Examples
from shared.parity.weights import keras_state, torch_state, torch_to_keras, torch_to_numpy
from shared.training.keras_learner import KerasLearner
from shared.training.numpy_learner import NumpyLearner
from shared.training.torch_learner import TorchLearner
from tests.helpers import mnist_config, take_steps
from tests.parity import networks

STEPS = 50
TOLERANCE = 1e-8  # relative to the largest number of a weight
MOVED = 1e-4  # how far every weight must move in all steps, on the same scale


class Network(NamedTuple):
    """How to build a network in each framework, and its configuration."""

    torch: Callable[[Any], Any]
    keras: Callable[[Any], Any]
    numpy: Callable[[Any, type, np.random.Generator], Any]
    overrides: str
    tokens: bool


MNIST = Network(torch_model.build_model, keras_model.build_model, numpy_model.build_model, "", False)
NETWORKS = {
    "mlp": MNIST._replace(overrides="model=mlp model.hidden=[12,8]"),
    "cnn": MNIST._replace(overrides="model=cnn model.channels=[3,4] model.hidden=8 model.dropout=[0.0,0.0]"),
    "fast_cnn": MNIST._replace(overrides="model=fast_cnn model.channels=[3,4] model.hidden=8"),
    "lstm": Network(networks.TorchLstm, networks.keras_lstm, networks.NumpyLstm, "", True),
    "attention": Network(
        networks.TorchAttention, networks.keras_attention, networks.NumpyAttention, "", True
    ),
}

# Every optimizer, with the options that change its formula
OPTIMIZERS = [
    "sgd",
    "sgd weight_decay=0.1",
    "momentum",
    "momentum nesterov=true weight_decay=0.1",
    "rmsprop",
    "rmsprop weight_decay=0.1 eps=0.001",
    "adagrad",
    "adagrad initial_accumulator_value=0.1 weight_decay=0.1",
    "adam",
    "adam weight_decay=0.1 eps=0.001",
    "adamw weight_decay=0.5",
]
ONE_OF_EACH = ["sgd", "momentum nesterov=true", "rmsprop", "adagrad", "adam", "adamw"]
# Keras rounds its optimizers' arguments to float32, where these numbers are exact.
KERAS_FORMULAS = [
    "momentum momentum=0.875",
    "momentum momentum=0.875 nesterov=true weight_decay=0.125",
    "rmsprop alpha=0.9375 eps=0.0009765625",
    "adagrad initial_accumulator_value=0.125 eps=0.0009765625",
    "adam betas=[0.875,0.96875] eps=0.0009765625 weight_decay=0.125",
    "adamw betas=[0.875,0.96875] eps=0.0009765625 weight_decay=0.0625",
]
# Softmax ignores a constant added to all scores, so the gradient of the keys' bias is rounding noise,
# which Adagrad's first step would divide by itself if eps were not larger.
ATTENTION = [case.replace("adagrad", "adagrad eps=1e-6") for case in ONE_OF_EACH]
CASES = [
    *(("mlp", case) for case in OPTIMIZERS),
    *(("cnn", case) for case in ONE_OF_EACH),
    *(("lstm", case) for case in ONE_OF_EACH),
    *(("attention", case) for case in ATTENTION),
    ("fast_cnn", "adam"),
]


@pytest.fixture(autouse=True)
def _single_precision_afterwards() -> Iterator[None]:
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def overrides(network: Network, case: str) -> list[str]:
    name, *options = case.split()
    chosen = [f"optimizer={name}", *(f"optimizer.{option}" for option in options)]
    return ["trainer.precision=float64", *network.overrides.split(), *chosen]


def examples(tokens: bool) -> Examples:
    random = np.random.default_rng(0)
    if tokens:
        ids = random.integers(0, networks.TOKENS, (64, networks.LENGTH))
        return Examples(ids, random.integers(0, networks.CLASSES, 64))
    return Examples(random.normal(size=(64, 28, 28)), random.integers(0, 10, 64))


def steps() -> list[tuple[np.ndarray, float]]:
    random = np.random.default_rng(1)
    return [(random.permutation(64)[:16], 0.01 * rate) for rate in np.geomspace(1.0, 0.1, STEPS)]


def assert_equal(value: np.ndarray, other: np.ndarray, what: str) -> None:
    difference = np.abs(value - other).max() / np.abs(value).max() if np.abs(value).any() else 0
    assert difference <= TOLERANCE, f"{what}: relative difference {difference:.1e}"


@pytest.mark.parametrize(("name", "case"), CASES)
def test_three_frameworks_take_the_same_steps(name: str, case: str, tmp_path: Path) -> None:
    network = NETWORKS[name]
    chosen = overrides(network, case)
    in_torch = TorchLearner(network.torch, mnist_config(tmp_path, *chosen))
    in_keras = KerasLearner(network.keras, mnist_config(tmp_path, "framework=keras", *chosen))
    in_numpy = NumpyLearner(network.numpy, mnist_config(tmp_path, "framework=numpy", *chosen))
    torch_to_keras(in_torch.model, in_keras.model)
    torch_to_numpy(in_torch.model, in_numpy.model)
    data, start = examples(network.tokens), torch_state(in_torch.model)
    all_three = zip(
        take_steps(in_torch, data, steps()),
        take_steps(in_keras, data, steps()),
        take_steps(in_numpy, data, steps()),
        strict=True,
    )
    for step, (torch_result, keras_result, numpy_result) in enumerate(all_three, start=1):
        assert keras_result[0] == pytest.approx(torch_result[0], rel=TOLERANCE)
        assert numpy_result[0] == pytest.approx(torch_result[0], rel=TOLERANCE)
        assert keras_result[1] == numpy_result[1] == torch_result[1]
        expected = torch_state(in_torch.model)
        of_keras = keras_state(in_keras.model, expected)
        of_numpy = in_numpy.weights()
        for key, value in expected.items():
            if "running_var" not in key:  # Keras's is biased
                assert_equal(value, of_keras[key], f"{key} in Keras after step {step}")
            assert_equal(value, of_numpy[key], f"{key} in NumPy after step {step}")
    for key, value in torch_state(in_torch.model).items():
        moved = np.abs(value - start[key]).max()
        # networks.py explains why bias_hh is not trained.
        assert moved > MOVED * np.abs(value).max() or "bias_hh" in key, f"{key} has not moved"


@pytest.mark.parametrize("case", KERAS_FORMULAS)
def test_formula_keras_means_the_same_in_keras_and_numpy(case: str, tmp_path: Path) -> None:
    network = NETWORKS["mlp"]
    chosen = [*overrides(network, case), "optimizer.formula=keras"]
    in_keras = KerasLearner(network.keras, mnist_config(tmp_path, "framework=keras", *chosen))
    in_numpy = NumpyLearner(network.numpy, mnist_config(tmp_path, "framework=numpy", *chosen))
    assert type(in_keras.optimizer).__module__.startswith("keras.")
    in_numpy.model.load_state_dict(keras_state(in_keras.model, in_numpy.weights()))
    start, data = in_numpy.weights(), examples(False)
    exact = [(batch, 2**-7 * (1 - step / 64)) for step, (batch, _) in enumerate(steps())]
    both = zip(take_steps(in_keras, data, exact), take_steps(in_numpy, data, exact), strict=True)
    for step, (keras_result, numpy_result) in enumerate(both, start=1):
        assert numpy_result[0] == pytest.approx(keras_result[0], rel=TOLERANCE)
        assert numpy_result[1] == keras_result[1]
        own = in_numpy.weights()
        for key, value in keras_state(in_keras.model, own).items():
            assert_equal(value, own[key], f"{key} after step {step}")
    for key, value in in_numpy.weights().items():
        moved = np.abs(value - start[key]).max()
        assert moved > MOVED * np.abs(value).max(), f"{key} has not moved"


def test_the_two_formulas_differ(tmp_path: Path) -> None:
    """If they did not, the previous test would prove nothing."""
    network, data = NETWORKS["mlp"], examples(False)

    def weights(formula: str) -> dict[str, np.ndarray]:
        chosen = [*overrides(network, "momentum"), "framework=numpy"]
        learner = NumpyLearner(network.numpy, mnist_config(tmp_path, *chosen, f"optimizer.formula={formula}"))
        list(take_steps(learner, data, steps()))
        return learner.weights()

    of_keras = weights("keras")
    for key, value in weights("torch").items():
        with pytest.raises(AssertionError, match="relative difference"):
            assert_equal(value, of_keras[key], key)
