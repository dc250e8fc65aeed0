"""Every layer, loss and optimizer agrees with torch, Keras, finite differences and itself."""

import pytest

from shared import backprop
from tools.gradcheck.checks import check
from tools.gradcheck.entries import ENTRIES
from tools.gradcheck.names import NAMES
from tools.gradcheck.optimizers import CLIPPING, OPTIMIZERS, by_hand, by_torch


@pytest.mark.parametrize("name", NAMES)
def test_all_gradients_and_steps_agree(name: str) -> None:
    report = check(name)
    assert not report.failures, "\n".join(report.failures)
    least = {"torch": 10}
    if name in OPTIMIZERS:
        least |= {"Keras": 5}
    elif name in ENTRIES:
        least = dict.fromkeys(("torch", "Keras", "finite differences", "itself in float32"), 5)
    assert report.cases >= 10
    for reference, cases in least.items():
        assert report.compared[reference] >= cases, reference


def test_everything_in_the_package_is_checked() -> None:
    assert set(NAMES) == {*ENTRIES, *OPTIMIZERS, *CLIPPING}
    assert len(NAMES) == 35


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_weights_move_further_than_the_tolerance(name: str) -> None:
    options = {"lr": 0.1}
    (first, *_, last) = by_hand(backprop, name, options, 0, "torch")
    assert abs(last["w"] - first["w"]).max() > 1e-2
    assert by_torch(name, options, 0)[-1]["w"] == pytest.approx(last["w"], rel=1e-10)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adam"])
def test_the_formulas_of_torch_and_keras_differ(name: str) -> None:
    """If they did not, comparing each with its own framework would prove nothing."""
    options = {"lr": 0.1, "weight_decay": 0.1} | ({"momentum": 0.9} if name == "SGD" else {})
    of_torch, of_keras = (by_hand(backprop, name, options, 0, f)[-1]["w"] for f in ("torch", "keras"))
    assert abs(of_torch - of_keras).max() > 1e-4


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"lr": -1.0}, ["-1.0"]),
        ({"weight_decay": -0.1}, ["-0.1"]),
        ({"formula": "jax"}, ["torch or keras", "jax"]),
        ({"nesterov": True}, ["nesterov"]),
    ],
)
def test_wrong_optimizer_arguments_are_refused(arguments: dict[str, object], fragments: list[str]) -> None:
    with pytest.raises(ValueError, match="SGD") as caught:
        backprop.SGD({}, **arguments)  # type: ignore[arg-type]
    assert all(one in str(caught.value) for one in fragments)
