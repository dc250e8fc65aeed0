"""Copies of `shared.backprop` in memory, with changes; the files are only read."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import shared.backprop

PACKAGE = Path(shared.backprop.__file__).parent
COPY = "backprop_copy"
FILES = (  # each imports only those before it
    "threads.py",
    "module.py",
    "activations.py",
    "linear.py",
    "attention.py",
    "conv.py",
    "losses.py",
    "norm.py",
    "optimizers.py",
    "recurrent.py",
    "__init__.py",
)


def source(file: str) -> str:
    """Return the text of a file of the package."""
    return (PACKAGE / file).read_text()


@cache
def compiled(file: str, text: str) -> CodeType:
    """Compile a file of a copy: its imports name the copy."""
    return compile(text.replace("shared.backprop", COPY), f"{COPY}/{file}", "exec")


@contextmanager
def copy_of_backprop(changes: Mapping[str, str]) -> Iterator[Any]:
    """Give a copy of the package in which some files have other texts.

    Args:
        changes: the new text of each file that is changed.
    """
    unknown = changes.keys() - set(FILES)
    if unknown:
        raise ValueError(f"no such file in {PACKAGE.name}: {sorted(unknown)}")
    names = {file: COPY if file == "__init__.py" else f"{COPY}.{file[:-3]}" for file in FILES}
    modules = {file: ModuleType(name) for file, name in names.items()}
    package = modules["__init__.py"]
    package.__path__ = []
    sys.modules[COPY] = package
    try:
        for file in FILES:
            sys.modules[names[file]] = modules[file]
            exec(compiled(file, changes.get(file, source(file))), modules[file].__dict__)
        yield package
    finally:
        for name in names.values():
            sys.modules.pop(name, None)
