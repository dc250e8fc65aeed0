"""With the same configuration, torch, Keras and NumPy take the same training steps.

All start from the same weights and see the same batches, in float64, with a learning rate that
changes in every step. Every weight is compared after every step. The tolerance is far below the size
of a step, and every weight must have moved, so an optimizer that does nothing fails.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

from shared.data.examples import Examples
from shared.parity.weights import keras_state, numpy_to_keras, numpy_to_torch, torch_state
from shared.training.frameworks import build_learner
from tests.helpers import app_config, take_steps

STEPS = 50
TOLERANCE = 1e-8  # relative to the largest number of a weight
MOVED = 1e-4  # how far every weight must move in all steps, on the same scale
TOKENS, LENGTH, CLASSES = 11, 6, 3


class Network(NamedTuple):
    """A small network of an application, without dropout."""

    app: str
    overrides: str
    sizes: dict[str, Any]


TEXTS = {"tokens": TOKENS, "outputs": CLASSES}
# Keras always rounds the attention's scale, 1 / sqrt(embedding / heads), to float32; 1/2 is exact.
ATTENTION = "model=multi_head model.embedding=8 model.heads=2 trainer.threads=null"
LSTM = "model=lstm model.embedding=8 model.hidden=5 model.dropout=0.0 trainer.clip_norm=null"
CNN = "model=cnn model.channels=[3,4] model.hidden=8 model.dropout=[0.0,0.0]"
NETWORKS = {
    "mlp": Network("mnist_cnn", "model=mlp model.hidden=[12,8]", {}),
    "sigmoid": Network("mnist_cnn", "model=mlp model.hidden=[12,8] model.activation=sigmoid", {}),
    "tanh": Network("mnist_cnn", "model=mlp model.hidden=[12,8] model.activation=tanh", {}),
    "cnn": Network("mnist_cnn", CNN, {}),
    "average_pooling": Network("mnist_cnn", f"{CNN} model.pool=average", {}),
    "fast_cnn": Network("mnist_cnn", "model=fast_cnn model.channels=[3,4] model.hidden=8", {}),
    "lstm": Network("imdb_rnn", LSTM, TEXTS),
    "attention": Network("attention", ATTENTION, TEXTS | {"paired": False}),
}

# Every optimizer, with the options that change its formula
OPTIMIZERS = [
    "sgd",
    "sgd weight_decay=0.1",
    "sgd l1=0.01",
    "momentum",
    "momentum nesterov=true weight_decay=0.1",
    "rmsprop",
    "rmsprop weight_decay=0.1 eps=0.001",
    "adagrad",
    "adagrad initial_accumulator_value=0.1 weight_decay=0.1",
    "adam",
    "adam weight_decay=0.1 eps=0.001",
    "adam l1=0.01 weight_decay=0.1",
    "adamw weight_decay=0.5",
    "adamw l1=0.01 weight_decay=0.5",
]
# Softmax ignores a constant added to all scores, so the gradient of the keys' bias is rounding noise,
# which Adagrad's first step would divide by itself if eps were not larger.
ONE_OF_EACH = ["sgd", "momentum nesterov=true", "rmsprop", "adagrad eps=1e-6", "adam", "adamw"]
# Keras rounds its optimizers' arguments to float32, where these numbers are exact.
KERAS_FORMULAS = [
    "momentum momentum=0.875",
    "momentum momentum=0.875 nesterov=true weight_decay=0.125",
    "rmsprop alpha=0.9375 eps=0.0009765625 l1=0.0625 weight_decay=0.125",
    "rmsprop alpha=0.9375 eps=0.0009765625",
    "adagrad initial_accumulator_value=0.125 eps=0.0009765625",
    "adam betas=[0.875,0.96875] eps=0.0009765625 weight_decay=0.125",
    "adamw betas=[0.875,0.96875] eps=0.0009765625 weight_decay=0.0625",
]
CASES = [
    *(("mlp", case) for case in OPTIMIZERS),
    *(("mlp", f"{case} formula=keras") for case in KERAS_FORMULAS),
    *((name, case) for name in ("cnn", "lstm", "attention") for case in ONE_OF_EACH),
    *((name, "momentum nesterov=true l1=0.01") for name in ("cnn", "lstm")),
    *((name, "adam") for name in ("fast_cnn", "sigmoid", "tanh", "average_pooling")),
]


@pytest.fixture(autouse=True)
def _single_precision_afterwards() -> Iterator[None]:
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def examples(network: Network) -> Examples:
    random = np.random.default_rng(0)
    if network.app == "mnist_cnn":
        return Examples(random.normal(size=(64, 28, 28)), random.integers(0, 10, 64))
    return Examples(random.integers(1, TOKENS, (64, LENGTH)), random.integers(0, CLASSES, 64))


def steps() -> list[tuple[np.ndarray, float]]:
    """Return batches and learning rates, which are exact in float32."""
    random = np.random.default_rng(1)
    return [(random.permutation(64)[:16], 2**-7 * (1 - step / 64)) for step in range(STEPS)]


def assert_equal(value: np.ndarray, other: np.ndarray, what: str) -> None:
    difference = np.abs(value - other).max() / np.abs(value).max() if np.abs(value).any() else 0
    assert difference <= TOLERANCE, f"{what}: relative difference {difference:.1e}"


@pytest.mark.parametrize(("name", "case"), CASES)
def test_frameworks_take_the_same_steps(name: str, case: str, tmp_path: Path) -> None:
    """Torch is left out where `optimizer.formula` is Keras's."""
    network, (optimizer, *options) = NETWORKS[name], case.split()
    chosen = [*network.overrides.split(), "trainer.precision=float64", f"optimizer={optimizer}"]
    chosen += [f"optimizer.{option}" for option in options]
    learners: dict[str, Any] = {}
    for framework in ("keras", "numpy") if "formula=keras" in options else ("torch", "keras", "numpy"):
        config = app_config(network.app, tmp_path, f"framework={framework}", *chosen)
        learners[framework] = build_learner(f"apps.{network.app}", config, "cross_entropy", **network.sizes)
    in_numpy, in_keras, in_torch = learners["numpy"], learners["keras"], learners.get("torch")
    numpy_to_keras(in_numpy.model, in_keras.model)
    if in_torch:
        numpy_to_torch(in_numpy.model, in_torch.model)
    start, data = in_numpy.weights(), examples(network)
    results = zip(*(take_steps(learner, data, steps()) for learner in learners.values()), strict=True)
    for step, ((loss, correct), *others) in enumerate(results, start=1):
        for other_loss, other_correct in others:
            assert other_loss == pytest.approx(loss, rel=TOLERANCE)
            assert other_correct == correct
        own = in_numpy.weights()
        for key, value in keras_state(in_keras.model, own).items():
            if "running_var" not in key:  # Keras's is biased
                assert_equal(own[key], value, f"{key} in Keras after step {step}")
        for key, value in torch_state(in_torch.model).items() if in_torch else ():
            assert_equal(own[key], value, f"{key} in torch after step {step}")
    for key, value in in_numpy.weights().items():
        moved = np.abs(value - start[key]).max()
        # apps/imdb_rnn does not train bias_hh.
        assert moved > MOVED * np.abs(value).max() or "bias_hh" in key, f"{key} has not moved"
