"""What counts as a difference, and how it is reported."""

from dataclasses import replace

import numpy as np
import pytest

import shared.backprop
from tools.gradcheck.comparison import (
    Case,
    Difference,
    by_hand,
    difference,
    differences,
    finite_differences,
    side_effects,
)
from tools.gradcheck.entries import ENTRIES

OPTIONS = {"lead": [4], "inputs": 3, "outputs": 2, "bias": True}


def linear() -> Case:
    return ENTRIES["Linear"].case(shared.backprop, OPTIONS, 0)


def compared(given: object, expected: object) -> Difference:
    return difference("Layer", "dx", np.asarray(given), np.asarray(expected), "torch", 1e-9)


def test_differences_are_relative_to_the_largest_number() -> None:
    one = compared([1.0, 10.0, 100.0], [1.0, 10.05, 100.0])
    assert one.value == pytest.approx(5e-4)
    assert one.failed
    assert str(one) == "Layer: dx differs from torch by 5.0e-04 (allowed 1e-09)"
    assert not compared([1.0, 1e-12], [1.0, 0.0]).failed


@pytest.mark.parametrize(
    ("given", "expected"),
    [([np.nan], [1.0]), ([1.0], [np.nan]), ([1e-11], [0.0]), ([1.0, 1.0], [1.0]), ([0.0], [1e-11])],
)
def test_nan_shapes_and_zeros_fail(given: list[float], expected: list[float]) -> None:
    assert compared(given, expected).failed


def test_zero_is_zero_up_to_rounding() -> None:
    assert not compared([1e-13], [0.0]).failed


def test_missing_and_extra_gradients_are_reported() -> None:
    case = linear()
    own = by_hand(case)
    del own.gradients["bias"]
    failed = [str(one) for one in finite_differences(case, own) if one.failed]
    assert len(failed) == 1
    assert failed[0].startswith("Linear: dbias")
    reference = by_hand(case)
    (missing,) = [one for one in differences("Linear", own, reference, "torch", 1e-9) if one.failed]
    assert str(missing) == "Linear: dbias is missing; torch has it"
    (extra,) = [one for one in differences("Linear", reference, own, "torch", 1e-9) if one.failed]
    assert str(extra) == "Linear: dbias exists, but torch has no such gradient"


@pytest.mark.parametrize("finite", ["complex", "central"])
def test_finite_differences_see_a_wrong_gradient(finite: str) -> None:
    case = replace(linear(), finite=finite)
    own = by_hand(case)
    assert not [one for one in finite_differences(case, own) if one.failed]
    own.gradients["weight"] = own.gradients["weight"] * 1.0005
    failed = [str(one) for one in finite_differences(case, own) if one.failed]
    assert len(failed) == 1
    assert failed[0].startswith("Linear: dweight differs from finite differences by ")


def test_side_effects_are_seen() -> None:
    class Rude(shared.backprop.Linear):
        def backward(self, dy: shared.backprop.Array) -> shared.backprop.Array:
            dx = super().backward(dy)
            dy += 1
            return dx

    case = replace(linear(), make=lambda dtype: Rude(3, 2, dtype=dtype))
    failed = [str(one) for one in side_effects(case) if one.failed]
    assert "Linear: gradient of y was modified in place" in failed
    assert not [one for one in side_effects(linear()) if one.failed]
