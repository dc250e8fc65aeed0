"""Every layer, loss and optimizer agrees with torch, Keras, finite differences and itself."""

import pytest

from shared import backprop
from tools.gradcheck.__main__ import NAMES
from tools.gradcheck.checks import check
from tools.gradcheck.entries import ENTRIES, LayerEntry
from tools.gradcheck.optimizers import OptimizerEntry, by_hand

pytestmark = pytest.mark.usefixtures("keras_float64")


@pytest.mark.parametrize("name", NAMES)
def test_all_gradients_and_steps_agree(name: str) -> None:
    report = check(name)
    assert not report.failures, "\n".join(report.failures)
    references = ["torch"]
    if isinstance(ENTRIES[name], LayerEntry):
        references += ["Keras", "finite differences", "itself in float32"]
    elif isinstance(ENTRIES[name], OptimizerEntry):
        references += ["Keras"]
    assert report.cases >= 10
    for reference in references:
        assert report.compared[reference] >= (5 if len(references) > 1 else 10), reference


def test_everything_in_the_package_is_checked() -> None:
    assert set(NAMES) == set(ENTRIES)
    assert len(NAMES) == 37


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adam", "AdamW"])
def test_the_weights_move_and_the_formulas_of_torch_and_keras_differ(name: str) -> None:
    """If they did not, comparing each with its own framework would prove nothing."""
    options = {"lr": 0.1, "weight_decay": 0.1} | {"SGD": {"momentum": 0.9}, "AdamW": {"eps": 0.1}}.get(
        name, {}
    )
    of_torch, of_keras = (
        [step["w"] for step in by_hand(backprop, name, options, 0, f)] for f in ("torch", "keras")
    )
    assert abs(of_torch[-1] - of_torch[0]).max() > 1e-2
    assert abs(of_torch[-1] - of_keras[-1]).max() > 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1.0}, "SGD: .*-1.0"),
        ({"weight_decay": -0.1}, "SGD: .*-0.1"),
        ({"l1": -0.1}, "SGD: .*-0.1"),
        ({"formula": "jax"}, "SGD: .*torch or keras.*jax"),
        ({"nesterov": True}, "SGD: .*nesterov"),
    ],
)
def test_wrong_optimizer_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backprop.SGD({}, **arguments)  # type: ignore[arg-type]
