"""Optimizers and clipping against torch and Keras."""

import pytest

import shared.backprop
from tools.gradcheck.checks import check
from tools.gradcheck.optimizers import CLIPPING, OPTIMIZERS, by_hand, by_torch


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_take_the_same_steps(name: str) -> None:
    report = check(name)
    assert not report.failures, "\n".join(report.failures)
    assert report.compared["torch"] >= 20
    assert report.compared["Keras"] >= 5


@pytest.mark.parametrize("name", CLIPPING)
def test_clipping_is_torchs(name: str) -> None:
    report = check(name)
    assert not report.failures, "\n".join(report.failures)
    assert report.compared["torch"] >= 10


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_weights_move_further_than_the_tolerance(name: str) -> None:
    options = {"lr": 0.1}
    (first, *_, last) = by_hand(shared.backprop, name, options, 0, "torch")
    assert abs(last["w"] - first["w"]).max() > 1e-2
    assert by_torch(name, options, 0)[-1]["w"] == pytest.approx(last["w"], rel=1e-10)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adam"])
def test_the_two_formulas_differ(name: str) -> None:
    """Were they the same, comparing each with its own framework would show nothing."""
    options = {"lr": 0.1, "weight_decay": 0.1} | ({"momentum": 0.9} if name == "SGD" else {})
    in_torch, in_keras = (
        by_hand(shared.backprop, name, options, 0, formula)[-1]["w"] for formula in ("torch", "keras")
    )
    assert abs(in_torch - in_keras).max() > 1e-4


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"lr": -1.0}, ["SGD", "-1.0"]),
        ({"weight_decay": -0.1}, ["SGD", "-0.1"]),
        ({"formula": "jax"}, ["SGD", "torch or keras", "jax"]),
        ({"nesterov": True}, ["SGD", "nesterov"]),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], fragments: list[str]) -> None:
    with pytest.raises(ValueError, match="SGD") as caught:
        shared.backprop.SGD({}, **arguments)  # type: ignore[arg-type]
    assert all(one in str(caught.value) for one in fragments)
