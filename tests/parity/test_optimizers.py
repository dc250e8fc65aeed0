"""One optimizer section, one meaning: torch and Keras take the same steps.

Both start from the same weights, see the same batches, in float64, with a learning rate that
changes at every step. The tolerance is far below a step, so an optimizer that does nothing would
fail.
"""

from pathlib import Path

import keras
import numpy as np
import pytest

from apps.mnist_cnn import keras_model, torch_model
from shared.parity.weights import keras_to_torch, torch_to_keras
from shared.training.fit import Examples
from shared.training.keras_learner import KerasLearner
from shared.training.torch_learner import TorchLearner
from tests.helpers import mnist_config

STEPS = 20
CASES = [
    "optimizer=sgd",
    "optimizer=sgd optimizer.weight_decay=0.1",
    "optimizer=momentum",
    "optimizer=momentum optimizer.nesterov=true optimizer.weight_decay=0.1",
    "optimizer=rmsprop",
    "optimizer=rmsprop optimizer.weight_decay=0.1 optimizer.eps=0.001",
    "optimizer=adagrad",
    "optimizer=adagrad optimizer.initial_accumulator_value=0.1 optimizer.weight_decay=0.1",
    "optimizer=adam",
    "optimizer=adam optimizer.weight_decay=0.1 optimizer.eps=0.001",
    "optimizer=adamw optimizer.weight_decay=0.5",
]


@pytest.fixture(autouse=True)
def _single_precision_afterwards() -> object:
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def examples() -> Examples:
    random = np.random.default_rng(0)
    return Examples(random.normal(size=(64, 28, 28)), random.integers(0, 10, 64))


def steps() -> list[tuple[np.ndarray, float]]:
    random = np.random.default_rng(1)
    rates = np.geomspace(1.0, 0.1, STEPS)
    return [(random.permutation(64)[:16], 0.01 * rate) for rate in rates]


@pytest.mark.parametrize("case", CASES)
def test_torch_and_keras_take_the_same_steps(case: str, tmp_path: Path) -> None:
    overrides = ["model=mlp", "model.hidden=[12,8]", "trainer.precision=float64", *case.split()]
    in_torch = TorchLearner(torch_model.build_model, mnist_config(tmp_path, *overrides))
    in_keras = KerasLearner(
        keras_model.build_model, mnist_config(tmp_path, "framework=keras", *overrides)
    )
    torch_to_keras(in_torch.model, in_keras.model)
    start = {name: value.copy() for name, value in in_torch.weights().items()}
    back = torch_model.build_model(mnist_config(tmp_path, *overrides).model).double()
    both = zip(
        in_torch.train(examples(), steps()), in_keras.train(examples(), steps()), strict=True
    )
    for step, (torch_result, keras_result) in enumerate(both):
        assert keras_result[0] == pytest.approx(torch_result[0], rel=1e-9)
        assert keras_result[1] == torch_result[1]
        keras_to_torch(in_keras.model, back)
        for name, value in in_torch.weights().items():
            other = back.state_dict()[name].numpy()
            scale = np.abs(value).max()
            assert np.abs(other - value).max() <= 1e-9 * scale, f"{name} after step {step + 1}"
    for name, value in in_torch.weights().items():
        assert np.abs(value - start[name]).max() > 1e-4 * np.abs(value).max(), f"{name} has moved"


@pytest.mark.parametrize(
    "case",
    [
        "model=cnn model.channels=[3,4] model.hidden=8 model.dropout=[0.0,0.0]",
        "model=fast_cnn model.channels=[3,4] model.hidden=8",
    ],
)
def test_convolutions_take_the_same_steps(case: str, tmp_path: Path) -> None:
    overrides = ["trainer.precision=float64", "optimizer=adam", *case.split()]
    in_torch = TorchLearner(torch_model.build_model, mnist_config(tmp_path, *overrides))
    in_keras = KerasLearner(
        keras_model.build_model, mnist_config(tmp_path, "framework=keras", *overrides)
    )
    torch_to_keras(in_torch.model, in_keras.model)
    start = {name: value.copy() for name, value in in_torch.weights().items()}
    back = torch_model.build_model(mnist_config(tmp_path, *overrides).model).double()
    first_steps = steps()[:5]
    torch_results = list(in_torch.train(examples(), first_steps))
    keras_results = list(in_keras.train(examples(), first_steps))
    np.testing.assert_allclose(torch_results, keras_results, rtol=1e-9)
    keras_to_torch(in_keras.model, back)
    for name, value in in_torch.model.named_parameters():
        values = value.detach().numpy()
        other = back.get_parameter(name).detach().numpy()
        assert np.abs(other - values).max() <= 1e-7 * np.abs(values).max(), name
        assert np.abs(values - start[name]).max() > 1e-3 * np.abs(values).max(), f"{name} has moved"


def test_keras_formula_is_kerass_own_and_another_one(tmp_path: Path) -> None:
    """With momentum the two agree until the learning rate changes (unit gradient)."""
    config = mnist_config(
        tmp_path, "framework=keras", "optimizer=momentum", "optimizer.formula=keras"
    )
    from shared.training.keras_optimizers import build_optimizer

    def travelled(formula: str) -> float:
        section = config.optimizer.model_copy(update={"formula": formula})
        optimizer, weight = build_optimizer(section), keras.Variable(0.0)
        for step in range(20):
            optimizer.learning_rate.assign(0.1 if step < 10 else 0.01)
            optimizer.apply([np.float32(1.0)], [weight])
        return float(weight)

    assert travelled("keras") == pytest.approx(-8.37, abs=0.01)
    assert travelled("torch") == pytest.approx(-4.93, abs=0.01)


@pytest.mark.parametrize("name", ["momentum", "rmsprop", "adagrad", "adam", "adamw"])
def test_formula_keras_builds_the_stock_optimizer(name: str, tmp_path: Path) -> None:
    from shared.training.keras_optimizers import build_optimizer

    config = mnist_config(
        tmp_path, "framework=keras", f"optimizer={name}", "optimizer.formula=keras"
    )
    optimizer = build_optimizer(config.optimizer)
    assert type(optimizer).__module__.startswith("keras.")
    assert float(optimizer.learning_rate) == pytest.approx(config.optimizer.lr)
