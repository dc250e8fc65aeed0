"""The checks find mistakes that are planted in copies of the package."""

import sys
from collections import Counter

import pytest

import shared
from shared import backprop
from shared.backprop import linear
from tools.gradcheck.__main__ import NAMES
from tools.gradcheck.checks import check
from tools.gradcheck.faults import FAULTS, PACKAGE, Fault, find, import_copy, is_caught

LINEAR = PACKAGE / "linear.py"

pytestmark = pytest.mark.usefixtures("keras_float64")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.title)
def test_a_planted_fault_is_found(fault: Fault) -> None:
    messages = find(fault)
    assert is_caught(fault, messages), f"no message names {fault.quantity}: {messages}"


@pytest.mark.slow  # test_checks.py checks the original
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_in_a_copy_without_a_fault(name: str) -> None:
    copy = import_copy(LINEAR, LINEAR.read_text())
    assert check(name, copy, ["torch"]).failures == []


def test_a_fault_whose_code_has_changed_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"linear.py contains 0 times: dy % W"):
        find(FAULTS[0]._replace(file="linear.py", old="dy % W"))


def test_faults_are_spread_over_all_files_and_layers() -> None:
    files = Counter(fault.file for fault in FAULTS)
    assert set(files) == {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert files.pop("threads.py") >= 2  # a few lines without a formula
    assert min(files.values()) >= 8
    assert {fault.layer for fault in FAULTS} == set(NAMES)
    assert len({fault.title for fault in FAULTS}) == len(FAULTS)


def test_a_copy_is_another_package_and_the_original_stays() -> None:
    copy = import_copy(
        LINEAR, LINEAR.read_text().replace("class Linear(", "CHANGED = True\n\n\nclass Linear(")
    )
    assert sys.modules[copy.Linear.__module__] is linear
    assert issubclass(copy.Linear, copy.Module)
    assert not issubclass(copy.Linear, backprop.Module)
    assert copy.linear.CHANGED
    assert not hasattr(linear, "CHANGED")
    assert shared.backprop is backprop
