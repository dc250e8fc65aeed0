"""The architecture: every package has a floor, imports point down, and all applications look alike."""

import ast
import fnmatch
import functools
import graphlib
import importlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.config_errors import literals
from tests.helpers import ROOT

# Every package, and every module of shared/, with its floor. It imports from its own floor and below.
FLOORS = {
    "accuracy_gate": 0,
    "shared": 0,
    "shared.backprop": 0,
    "shared.console": 0,
    "shared.errors": 0,
    "shared.nested": 0,
    "shared.charts": 1,
    "shared.compose": 1,
    "shared.config": 1,
    "shared.config_errors": 1,
    "shared.data": 1,
    "shared.distributed": 1,
    "shared.extras": 1,
    "shared.files": 1,
    "shared.input_file": 1,
    "shared.output_file": 1,
    "shared.rank_errors": 1,
    "shared.sqlite": 1,
    "shared.tables": 1,
    "shared.torch_distributed": 1,
    "shared.application": 2,
    "shared.cli": 2,
    "shared.digit_prediction": 2,
    "shared.help": 2,
    "shared.parity": 2,
    "shared.preflight": 2,
    "shared.runs": 2,
    "shared.training": 2,
    "apps": 3,
    "apps.api": 4,
    "apps.*": 3,
    "tools": 4,
    "tools.*": 4,
    "lessons": 5,
    "tests": 5,
}
APART = {0, 3}  # floors whose packages do not import each other
FRAMEWORKS = {"torch": "torch", "torchvision": "torch", "keras": "keras", "tensorflow": "keras"}
KNOW_BOTH = ("lessons/", "shared/parity/", "tools/gradcheck/", "tests/")
KNOW_NONE = ("shared/backprop/", "shared/data/")
NO_SOURCES = {"data", "outputs"}
APP_FILES = {
    "config.py": {"Config"},
    "data.py": {"load_data", "split"},
    "train.py": {"train", "build_learner", "write_charts"},
    "predict.py": {"APPLICATION"},
    "__main__.py": set(),
    "README.md": set(),
}
MODEL_FILES = {f"{framework}_model.py": {"build_model"} for framework in ("torch", "keras", "numpy")}


@functools.cache
def parse(source: str) -> ast.Module:
    return ast.parse(source)


@functools.cache
def imported_names(source: str) -> set[str]:
    """Return what a file imports, at its top or later; a module or a name in one."""
    found = set()
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            found |= {f"{start}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            first = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
            found |= {str(first.value)} if isinstance(first, ast.Constant) else set()
    return found


class Tree:
    """The Python files of a repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        entries = [path for path in root.iterdir() if path.name[0] != "." and path.name not in NO_SOURCES]
        paths = [path for entry in entries for path in (entry, *entry.rglob("*.py")) if path.suffix == ".py"]
        self.sources = {path.relative_to(root).as_posix(): path.read_text() for path in paths}
        self.apps = sorted({file.split("/")[1] for file in self.sources if re.match("apps/.*/", file)})
        self.packages = {package_of(file) for file in self.sources}

    def imported_packages(self, file: str) -> set[str]:
        """Return the packages of this repository that a file imports, without its own."""
        names = (".".join(name.rstrip(".").split(".")[:2]) for name in imported_names(self.sources[file]))
        found = {name if name in self.packages else name.partition(".")[0] for name in names}
        return (found & {*self.packages, "apps", "shared", "tools"}) - {package_of(file)}


def package_of(file: str) -> str:
    """Return the package of a file: shared.runs for shared/runs/reader.py."""
    parts = file.removesuffix(".py").removesuffix("/__init__").split("/")
    return ".".join(parts[: 2 if parts[0] in ("apps", "shared", "tools") else 1])


def floor_of(package: str) -> int | None:
    return next((floor for name, floor in FLOORS.items() if fnmatch.fnmatchcase(package, name)), None)


def unlisted(tree: Tree) -> Iterator[str]:
    for package in tree.packages:
        if floor_of(package) is None:
            yield f"{package} has no floor in FLOORS"


def wrong_imports(tree: Tree) -> Iterator[str]:
    for file, source in tree.sources.items():
        own = floor_of(package_of(file))
        if any(name.startswith(".") for name in imported_names(source)):
            yield f"{file} has a relative import, which hides the floor"
        for package in tree.imported_packages(file):
            floor = floor_of(package)
            if own is None or floor is None:
                continue
            if floor > own or (floor == own and own in APART):
                yield f"{file} imports {package}"


def circles(tree: Tree) -> Iterator[str]:
    graph: dict[str, set[str]] = {}
    for file in tree.sources:
        graph.setdefault(package_of(file), set()).update(tree.imported_packages(file))
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"circle: {' imports '.join(reversed(error.args[1]))}"


def programs_in_tests(tree: Tree) -> Iterator[str]:
    for file, source in tree.sources.items():
        if not file.startswith("tests/") or file == "tests/forks.py":
            continue
        tests = (ast.unparse(node.test) for node in parse(source).body if isinstance(node, ast.If))
        if file.endswith("__main__.py") or any("__name__" in test for test in tests):
            yield f"{file} is a program: it belongs in tools/"


def hidden_frameworks(tree: Tree) -> Iterator[str]:
    for file, source in tree.sources.items():
        known = {FRAMEWORKS.get(name.partition(".")[0]) for name in imported_names(source)} - {None}
        name = file.rpartition("/")[2]
        if file.startswith(KNOW_BOTH):
            continue
        if len(known) == 2 or (known and file.startswith(KNOW_NONE)):
            yield f"{file} imports {' and '.join(sorted(map(str, known)))}"
        for framework in known:
            if not name.startswith(f"{framework}_"):
                yield f"{file} imports {framework} and its name does not start with {framework}_"


def unlike_apps(tree: Tree) -> Iterator[str]:
    for app in tree.apps:
        folder = tree.root / "apps" / app
        models = {file: names for file, names in MODEL_FILES.items() if (folder / file).exists()}
        if not models:
            yield f"apps/{app} has no model: one or more of {', '.join(MODEL_FILES)}"
        if not (tree.root / "conf" / f"{app}.yaml").exists():
            yield f"conf/{app}.yaml is missing"
        for file, names in (APP_FILES | models).items():
            if not (folder / file).exists():
                yield f"apps/{app}/{file} is missing"
            elif missing := names - top_level_names(folder / file):
                yield f"apps/{app}/{file} has no {', '.join(sorted(missing))}"


def top_level_names(path: Path) -> set[str]:
    """Return the names that a module defines, or imports from another of its package."""
    found: set[str] = set()
    for node in parse(path.read_text()).body if path.suffix == ".py" else []:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {ast.unparse(target) for target in node.targets}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"apps.{path.parent.name}."):
            found |= {alias.name for alias in node.names}
    return found


RULES: list[Callable[[Tree], Iterator[str]]] = [
    unlisted,
    wrong_imports,
    circles,
    programs_in_tests,
    hidden_frameworks,
    unlike_apps,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps_the_rule(rule: Callable[[Tree], Iterator[str]]) -> None:
    assert list(rule(Tree(ROOT))) == []


@pytest.mark.parametrize("app", Tree(ROOT).apps)
def test_an_app_allows_the_frameworks_it_has(app: str) -> None:
    field = importlib.import_module(f"apps.{app}.config").Config.model_fields["framework"]
    files = {path.name.removesuffix("_model.py") for path in (ROOT / "apps" / app).glob("*_model.py")}
    assert set(literals(field.annotation)) == files


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for name in ("accuracy_gate", "apps", "conf", "shared", "tests", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize(
    ("rule", "file", "text", "problem"),
    [
        (unlisted, "scripts/clean.py", "", "scripts has no floor"),
        (unlisted, "shared/helpers.py", "", "shared.helpers has no floor"),
        (unlisted, "shared/text/words.py", "", "shared.text has no floor"),
        (wrong_imports, "accuracy_gate/plan.py", "import shared.errors", "imports shared.errors"),
        (wrong_imports, "shared/backprop/conv.py", "from shared import files", "imports shared.files"),
        (wrong_imports, "shared/data/mnist.py", "def f():\n  from shared.runs import reader", "shared.runs"),
        (wrong_imports, "shared/config.py", "import shared.cli", "imports shared.cli"),
        (wrong_imports, "shared/help.py", "import apps.xor.config", "imports apps.xor"),
        (wrong_imports, "shared/cli.py", "import_module(f'apps.{app}.train')", "imports apps"),
        (wrong_imports, "shared/runs/reader.py", "from tools import cli", "imports tools.cli"),
        (wrong_imports, "apps/xor/data.py", "from apps.mnist_cnn import data", "imports apps.mnist_cnn"),
        (wrong_imports, "apps/xor/data.py", "from tools.cli import run", "imports tools.cli"),
        (wrong_imports, "tools/cli.py", "from tests import helpers", "imports tests"),
        (wrong_imports, "apps/xor/data.py", "from . import config", "has a relative import"),
        (circles, "shared/runs/reader.py", "def f():\n  import shared.training.loop", "circle: "),
        (circles, "tools/cli.py", "from tools import evaluate", "circle: "),
        (programs_in_tests, "tests/tools/__main__.py", "", "is a program"),
        (programs_in_tests, "tests/helpers.py", "if __name__ == '__main__':\n  pass", "is a program"),
        (hidden_frameworks, "apps/xor/data.py", "import torch.nn", "does not start with torch_"),
        (hidden_frameworks, "shared/cli.py", "def f():\n  import keras", "does not start with keras_"),
        (hidden_frameworks, "tools/report/collect.py", "from torch import nn", "does not start with torch_"),
        (hidden_frameworks, "apps/xor/torch_model.py", "import tensorflow", "imports keras and torch"),
        (hidden_frameworks, "shared/data/torch_mnist.py", "import torch", "imports torch"),
        (unlike_apps, "apps/xor/README.md", None, "apps/xor/README.md is missing"),
        (unlike_apps, "conf/xor.yaml", None, "conf/xor.yaml is missing"),
        (unlike_apps, "apps/xor/train.py", None, "apps/xor/train.py is missing"),
        (unlike_apps, "apps/new/config.py", "", "apps/new has no model"),
        (unlike_apps, "apps/new/torch_model.py", "", "apps/new/torch_model.py has no build_model"),
    ],
)
def test_a_rule_notices_a_planted_fault(
    rule: Callable[[Tree], Iterator[str]], file: str, text: str | None, problem: str, copy: Path
) -> None:
    path = copy / file
    before = path.read_text() if path.exists() else None
    assert list(rule(Tree(copy))) == []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink()
        else:
            path.write_text(f"{before or ''}\n{text}\n")
        assert any(problem in line for line in rule(Tree(copy)))
    finally:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_text(before)
