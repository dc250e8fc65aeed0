"""optimizer.formula=keras selects Keras's own optimizers, whose steps differ from torch's.

test_trajectories.py shows that formula=torch means the same in all frameworks.
"""

from pathlib import Path

import keras
import numpy as np
import pytest

from shared.training.keras_optimizers import build_optimizer
from tests.helpers import mnist_config


def test_momentum_depends_on_the_formula_once_the_learning_rate_changes(tmp_path: Path) -> None:
    config = mnist_config(tmp_path, "framework=keras", "optimizer=momentum", "optimizer.formula=keras")

    def end(formula: str) -> float:
        section = config.optimizer.model_copy(update={"formula": formula})
        optimizer, weight = build_optimizer(section), keras.Variable(0.0)
        for step in range(20):
            optimizer.learning_rate.assign(0.1 if step < 10 else 0.01)
            optimizer.apply([np.float32(1.0)], [weight])
        return float(weight)

    assert end("keras") == pytest.approx(-8.37, abs=0.01)
    assert end("torch") == pytest.approx(-4.93, abs=0.01)


@pytest.mark.parametrize("name", ["momentum", "rmsprop", "adagrad", "adam", "adamw"])
def test_formula_keras_builds_an_optimizer_of_keras(name: str, tmp_path: Path) -> None:
    config = mnist_config(tmp_path, "framework=keras", f"optimizer={name}", "optimizer.formula=keras")
    optimizer = build_optimizer(config.optimizer)
    assert type(optimizer).__module__.startswith("keras.")
    assert float(optimizer.learning_rate) == pytest.approx(config.optimizer.lr)
