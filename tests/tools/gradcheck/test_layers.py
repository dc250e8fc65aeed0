"""Every layer against torch, Keras, finite differences and itself."""

import pytest

import shared.backprop
from tools.gradcheck.checks import check, names
from tools.gradcheck.entries import ENTRIES
from tools.gradcheck.names import NAMES
from tools.gradcheck.refusals import REFUSALS

BASES = {"Array", "Module", "NaNError", "Optimizer"}


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_all_backward_passes_agree(name: str) -> None:
    report = check(name)
    assert not report.failures, "\n".join(report.failures)
    assert report.cases >= 10
    for reference in ("torch", "Keras", "finite differences", "itself in float32"):
        assert report.compared[reference] >= 5, reference


def test_everything_the_package_offers_is_checked() -> None:
    assert set(shared.backprop.__all__) - BASES == set(NAMES)
    assert list(NAMES) == names()
    assert set(REFUSALS) == set(ENTRIES)
