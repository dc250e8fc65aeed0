"""Every layer, loss and optimizer agrees with torch, Keras, finite differences and itself."""

import pytest

from shared import backprop
from tools.gradcheck.checks import check, check_refusals
from tools.gradcheck.entries import ENTRIES
from tools.gradcheck.names import NAMES
from tools.gradcheck.optimizers import CLIPPING, OPTIMIZERS, by_hand, by_torch

PENALTIES = {"l1_penalty", "l2_penalty"}


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_all_backward_passes_agree(name: str) -> None:
    report = check(name)
    assert not report.failures, "\n".join(report.failures)
    assert report.cases >= 10
    for reference in ("torch", "Keras", "finite differences", "itself in float32"):
        assert report.compared[reference] >= 5, reference


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_take_the_same_steps(name: str) -> None:
    report = check(name)
    assert not report.failures, "\n".join(report.failures)
    assert report.compared["torch"] >= 20
    assert report.compared["Keras"] >= 5


@pytest.mark.parametrize("name", CLIPPING)
def test_clipping_agrees_with_torch(name: str) -> None:
    report = check(name)
    assert not report.failures, "\n".join(report.failures)
    assert report.compared["torch"] >= 10


def test_everything_in_the_package_is_checked() -> None:
    assert set(NAMES) == {*ENTRIES, *OPTIMIZERS, *CLIPPING}
    assert len(NAMES) == 35


@pytest.mark.parametrize("name", sorted(ENTRIES.keys() - PENALTIES))
def test_every_layer_has_refusals(name: str) -> None:
    count, problems = check_refusals(name, backprop)
    assert count >= 5
    assert problems == []


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
