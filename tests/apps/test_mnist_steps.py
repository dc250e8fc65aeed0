"""The networks of apps/mnist_cnn as they are, in three frameworks: the same first hundred steps."""

from pathlib import Path

import keras
import numpy as np
import pytest

from apps.mnist_cnn.data import load_data, split
from apps.mnist_cnn.train import build_learner
from shared.parity.weights import keras_state, torch_state, torch_to_keras, torch_to_numpy
from shared.training.schedule import learning_rates, shuffled_batches
from tests.helpers import mnist_config, take_steps

STEPS, BATCH_SIZE = 100, 16
TOLERANCE = 1e-7  # of the largest number of a weight


@pytest.fixture(autouse=True)
def _single_precision_afterwards() -> object:
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["model=cnn model.dropout=[0.0,0.0]", "model=mlp"])
def test_a_hundred_steps_are_the_same(model: str, tmp_path: Path) -> None:
    """Full size, float64, dropout off, real digits, the application's optimizer and schedule."""
    overrides = [*model.split(), "trainer.precision=float64"]
    configs = {
        framework: mnist_config(tmp_path, f"framework={framework}", *overrides)
        for framework in ("torch", "keras", "numpy")
    }
    config = configs["torch"]
    data, _, _ = split(load_data(config), config)
    batches = [b for epoch in (1, 2) for b in shuffled_batches(len(data), BATCH_SIZE, 0, epoch)][:STEPS]
    rates = learning_rates("one_cycle", config.optimizer.lr, STEPS, np.arange(STEPS))
    steps = list(zip(batches, rates.tolist(), strict=True))
    learners = {name: build_learner(each) for name, each in configs.items()}
    torch_model = learners["torch"].model
    keras_model = learners["keras"].model
    torch_to_keras(torch_model, keras_model)
    torch_to_numpy(torch_model, learners["numpy"].model)
    start = torch_state(torch_model)
    results = {name: list(take_steps(learner, data, steps)) for name, learner in learners.items()}
    losses = {name: [loss for loss, _ in result] for name, result in results.items()}
    np.testing.assert_allclose(losses["numpy"], losses["torch"], rtol=TOLERANCE)
    np.testing.assert_allclose(losses["keras"], losses["torch"], rtol=TOLERANCE)
    of_keras = keras_state(keras_model, start)
    of_numpy = learners["numpy"].weights()
    for name, value in torch_state(torch_model).items():
        scale = np.abs(value).max()
        assert np.abs(of_numpy[name] - value).max() <= TOLERANCE * scale, name
        assert np.abs(of_keras[name] - value).max() <= TOLERANCE * scale, name
        assert np.abs(start[name] - value).max() > 1e-2 * scale, f"{name} has not moved"
