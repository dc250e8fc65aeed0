"""Plant mistakes in copies of `shared/backprop`, each of which a check must find."""

import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

import shared.backprop
from tools.gradcheck.checks import check

PACKAGE = Path(shared.backprop.__file__).parent
COPY = "backprop_copy"


class Fault(NamedTuple):
    """A mistake in a file of the package: `old`, which occurs once, becomes `new`.

    The check of `layer` must find it, with a message that starts with the layer and `quantity`.
    """

    file: str
    layer: str
    quantity: str
    mistake: str
    old: str
    new: str

    @property
    def title(self) -> str:
        return f"{self.layer}: {self.mistake}"


def read_faults() -> list[Fault]:
    """Return the faults in faults.txt, which explains its format."""
    text = Path(__file__).with_name("faults.txt").read_text()
    faults = []
    for block in re.split(r"\n\n+", text.strip())[1:]:
        head, *changes = block.split("\n")
        code = ("\n".join(line[2:] for line in changes if line[0] == sign) for sign in "-+")
        faults.append(Fault(*head.split(" | "), *code))
    return faults


FAULTS = read_faults()


def find(fault: Fault) -> list[str]:
    """Return the messages of the layer's check on a copy with the fault; none if it is missed."""
    text = source(fault.file)
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.file} contains {text.count(fault.old)} times: {fault.old}")
    changes = {fault.file: text.replace(fault.old, fault.new)}
    with copy_of_backprop(changes) as library, np.errstate(all="ignore"):
        return check(fault.layer, library, ["torch"], shrink=False).failures


def is_caught(fault: Fault, messages: list[str]) -> bool:
    """Return whether a message names the layer and the quantity."""
    return any(f"{fault.layer}: {fault.quantity}" in one for one in messages)


def source(file: str) -> str:
    """Return the text of a file of the package."""
    return (PACKAGE / file).read_text()


@cache
def compiled(name: str, text: str) -> CodeType:
    """Compile a module of a copy, whose imports name the copy."""
    return compile(text.replace("shared.backprop", COPY), name, "exec")


class CopyFinder(MetaPathFinder, InspectLoader):
    """Finds and loads the modules of a copy in memory; `changes` are the texts of changed files."""

    def __init__(self, changes: Mapping[str, str]) -> None:
        self.changes = changes

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return spec_from_loader(name, self) if name.partition(".")[0] == COPY else None

    def is_package(self, name: str) -> bool:
        return name == COPY

    def get_source(self, name: str) -> str:
        file = f"{name.partition('.')[2] or '__init__'}.py"
        return self.changes.get(file, source(file))

    def get_code(self, name: str) -> CodeType:
        return compiled(name, self.get_source(name))


@contextmanager
def copy_of_backprop(changes: Mapping[str, str]) -> Iterator[Any]:
    """Import a copy of the package in which some files have other texts; no file is written."""
    finder = CopyFinder(changes)
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module(COPY)
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == COPY]:
            del sys.modules[name]
