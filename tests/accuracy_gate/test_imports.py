"""The accuracy gate can be copied out of this repository."""

import sys
from pathlib import Path

import accuracy_gate
from tests.test_layout import imported_names

FILES = Path(accuracy_gate.__file__).parent.glob("*.py")


def test_the_gate_imports_only_numpy_and_the_standard_library() -> None:
    for file in FILES:
        packages = {name.partition(".")[0] for name in imported_names(file.read_text())}
        extra = {"pytest"} if file.name == "pytest_plugin.py" else set()
        assert packages <= {"accuracy_gate", "numpy", *extra, *sys.stdlib_module_names}, file
