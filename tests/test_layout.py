"""The architecture: imports point down, and only shared/parity knows both frameworks."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT

FRAMEWORKS = {"torch", "torchvision", "tensorflow", "keras"}
GROUND_FLOOR = (
    "shared.backprop",
    "shared.data",
    "accuracy_gate",
    "shared.compose",
    "shared.config",
    "shared.errors",
    "shared.files",
    "shared.native",
    "shared.nested",
    "shared.runs.environment",
)
MIDDLE_FLOOR = ("shared.training", "shared.parity", "shared.runs", "shared.cli", "shared.application")
APP_FILES = {
    "__main__.py",
    "config.py",
    "train.py",
    "predict.py",
    "torch_model.py",
    "keras_model.py",
    "numpy_model.py",
    "README.md",
}

SOURCES = sorted([*ROOT.glob("shared/**/*.py"), *ROOT.glob("apps/**/*.py")])


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of every module that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def within(name: str, floors: tuple[str, ...]) -> bool:
    return any(name == floor or name.startswith(f"{floor}.") for floor in floors)


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_imports_point_down(path: Path) -> None:
    own = module(path)
    for name in imported(path):
        if own.startswith("shared"):
            assert not name.startswith("apps"), f"{own} imports {name}"
        if within(own, GROUND_FLOOR):
            assert not within(name, MIDDLE_FLOOR), f"{own} imports {name}"
            assert name.partition(".")[0] not in FRAMEWORKS, f"{own} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_a_file_knows_one_framework_at_most(path: Path) -> None:
    known = {name.partition(".")[0] for name in imported(path)} & FRAMEWORKS
    torch, keras = known & {"torch", "torchvision"}, known & {"tensorflow", "keras"}
    if not module(path).startswith("shared.parity"):
        assert not (torch and keras)
    file = path.name
    if torch and not within(module(path), ("shared.parity",)):
        assert file.startswith("torch_"), f"{file} imports torch and does not say so in its name"
    if keras and not within(module(path), ("shared.parity",)):
        assert file.startswith("keras_"), f"{file} imports Keras and does not say so in its name"


@pytest.mark.parametrize(
    "app", [path.parent for path in ROOT.glob("apps/*/__main__.py")], ids=lambda path: path.name
)
def test_every_app_has_the_same_files_and_functions(app: Path) -> None:
    missing = APP_FILES - {path.name for path in app.iterdir()}
    assert not missing
    assert (ROOT / "conf" / f"{app.name}.yaml").is_file()
    functions = {"train": "train"} | {f"{name}_model": "build_model" for name in ("torch", "keras", "numpy")}
    for file, function in functions.items():
        tree = ast.parse((app / f"{file}.py").read_text())
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in defined
