"""The checks find what they are for: faults planted in copies of the package."""

from collections import Counter
from pathlib import Path

import pytest

import shared.backprop
from tools.gradcheck.checks import first_failure
from tools.gradcheck.copies import COPY, FILES, PACKAGE, copy_of_backprop, source
from tools.gradcheck.faults import FAULTS, Fault, caught, names_it
from tools.gradcheck.names import NAMES


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.identity)
def test_a_planted_fault_is_found(fault: Fault) -> None:
    assert source(fault.file).count(fault.old) == 1
    messages = caught(fault)
    assert messages, "not found"
    assert names_it(fault, messages), f"no message names {fault.quantity}: {messages}"


@pytest.mark.slow  # test_layers.py holds the original itself against everything
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_in_a_copy_without_a_fault(name: str) -> None:
    with copy_of_backprop({}) as library:
        assert library.__name__ == COPY
        assert first_failure(name, library) == []


def test_faults_are_spread_over_all_files_and_layers() -> None:
    files = Counter(fault.file for fault in FAULTS)
    assert set(files) == set(FILES) - {"__init__.py"}
    threads = files.pop("threads.py")  # a few lines, without a formula
    assert threads >= 2
    assert min(files.values()) >= 8
    assert {fault.layer for fault in FAULTS} == set(NAMES)
    assert len({fault.identity for fault in FAULTS}) == len(FAULTS)


def test_a_copy_is_another_package_and_the_files_stay_as_they_are() -> None:
    assert set(FILES) == {path.name for path in Path(PACKAGE).glob("*.py")}
    before = {file: source(file) for file in FILES}
    with copy_of_backprop({"linear.py": source("linear.py").replace("dy @", "dy + 0 @")}) as copy:
        assert copy.Linear is not shared.backprop.Linear
        assert copy.Linear.__module__ == f"{COPY}.linear"
        assert issubclass(copy.Linear, copy.Module)
        assert not issubclass(copy.Linear, shared.backprop.Module)
    assert {file: source(file) for file in FILES} == before
