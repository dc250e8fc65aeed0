"""What counts as a difference, and how it is reported."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

import shared.backprop
import tools.gradcheck.layers  # noqa: F401  (registers Linear)
from tools.gradcheck.comparison import (
    Case,
    Difference,
    by_hand,
    difference,
    differences,
    finite_differences,
    side_effects,
)
from tools.gradcheck.entries import ENTRIES, LayerEntry


def linear() -> Case:
    entry = ENTRIES["Linear"]
    assert isinstance(entry, LayerEntry)
    return entry.case(shared.backprop, {"lead": [4], "inputs": 3, "outputs": 2, "bias": True}, 0)


def compare(given: object, expected: object) -> Difference:
    return difference("dx", np.asarray(given), np.asarray(expected), "torch", 1e-9)


def test_differences_are_relative_to_the_largest_number() -> None:
    one = compare([1.0, 10.0, 100.0], [1.0, 10.05, 100.0])
    assert one.value == pytest.approx(5e-4)
    assert str(one) == "dx differs from torch by 5.0e-04 (allowed 1e-09)"


@pytest.mark.parametrize(
    ("given", "expected", "failed"),
    [
        ([1.0, 1e-12], [1.0, 0.0], False),
        ([1e-13], [0.0], False),  # zero up to rounding
        ([np.nan], [1.0], True),
        ([1.0], [np.nan], True),
        ([1e-11], [0.0], True),
        ([1.0, 1.0], [1.0], True),
        ([0.0], [1e-11], True),
    ],
)
def test_nan_shapes_and_zeros_fail(given: list[float], expected: list[float], failed: bool) -> None:
    assert compare(given, expected).failed == failed


def failures(found: Iterable[Difference]) -> list[str]:
    return [str(one) for one in found if one.failed]


def test_missing_and_extra_gradients_are_reported() -> None:
    case = linear()
    reference = by_hand(case)
    own = {name: value for name, value in reference.items() if name != "dbias"}
    (missing,) = failures(differences(own, reference, "torch", 1e-9))
    assert missing == "dbias is missing; torch has it"
    (extra,) = failures(differences(reference, own, "torch", 1e-9))
    assert extra == "dbias exists, but torch has no such gradient"
    (failure,) = failures(finite_differences(case, own))
    assert failure.startswith("dbias")


@pytest.mark.parametrize("finite", ["complex", "central"])
def test_finite_differences_see_a_wrong_gradient(finite: str) -> None:
    case = replace(linear(), finite=finite)
    own = by_hand(case)
    assert not failures(finite_differences(case, own))
    own["dweight"] *= 1.0005
    (failure,) = failures(finite_differences(case, own))
    assert failure.startswith("dweight differs from finite differences by ")


def test_side_effects_are_seen() -> None:
    class Rude(shared.backprop.Linear):
        def backward(self, dy: shared.backprop.Array) -> shared.backprop.Array:
            dx = super().backward(dy)
            dy += 1
            return dx

    case = replace(linear(), make=lambda dtype: Rude(3, 2, dtype=dtype))
    assert "gradient of y was modified in place" in failures(side_effects(case))
    assert not failures(side_effects(linear()))
