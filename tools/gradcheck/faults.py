"""Plant mistakes in copies of `shared/backprop`, each of which a check must find."""

import importlib
import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import shared
from shared import backprop

PACKAGE = Path(backprop.__file__).parent


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
    from tools.gradcheck.checks import check  # imports torch and TensorFlow, which tools.check does not need

    with np.errstate(all="ignore"):
        return check(fault.layer, plant(fault), ["torch"], shrink=False).failures


def plant(fault: Fault) -> Any:
    """Return a copy of the package with the fault."""
    path = PACKAGE / fault.file
    text = path.read_text()
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.file} contains {text.count(fault.old)} times: {fault.old}")
    return import_copy(path, text.replace(fault.old, fault.new))


def is_caught(fault: Fault, messages: list[str]) -> bool:
    """Return whether a message names the layer and the quantity."""
    return any(f"{fault.layer}: {fault.quantity}" in one for one in messages)


def import_copy(file: Path, text: str) -> Any:
    """Import the package once more, with another text of one of its files; no file is written."""

    def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
        changed = Path(loader.get_filename(name)) == file
        return compile(text, file, "exec") if changed else original(loader, name)

    original = SourceFileLoader.get_code
    with mock.patch.dict(sys.modules), mock.patch.object(SourceFileLoader, "get_code", get_code):
        for name in [name for name in sys.modules if name.startswith(backprop.__name__)]:
            del sys.modules[name]
        copy = importlib.import_module(backprop.__name__)
    shared.backprop = backprop  # an import also sets the attribute of the package above
    return copy
