"""The planted faults: patches/NAME.patch, a diff of the code with two lines above it.

    Fault: what is wrong, in a sentence
    Cases: mnist_cnn_torch

The cases, several with commas, are those of conf/regression that the fault is measured on.
"""

import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigError

FOLDER = Path(__file__).parent / "patches"
HEADER = re.compile(r"Fault: (.+)\nCases: (.+)\n\n(?=diff --git )")
CHANGED = re.compile(r"^diff --git a/(\S+) b/\1$", re.MULTILINE)


@dataclass(frozen=True)
class Fault:
    """One patch.

    Attributes:
        path: its file; `git apply` takes it as it is.
        sentence: what is wrong.
        cases: what it is measured on.
        files: what it changes, relative to the repository.
        sha256: of the two lines above and of the lines taken out and put in; where they stand may
            change.
    """

    path: Path
    sentence: str
    cases: tuple[str, ...]
    files: tuple[str, ...]
    sha256: str

    @property
    def name(self) -> str:
        """Return the file's name without its ending."""
        return self.path.stem


def read(path: Path) -> Fault:
    """Return the fault in a file.

    Raises:
        ConfigError: its header is not as above.
    """
    content = path.read_text()
    header = HEADER.match(content)
    if header is None:
        raise ConfigError(f"{path.name}: it must begin with the lines Fault: and Cases:")
    cases = tuple(name.strip() for name in header[2].split(","))
    decisive = [header[0], *re.findall(r"^[-+].*", content, re.MULTILINE)]
    digest = hashlib.sha256("\n".join(decisive).encode()).hexdigest()
    return Fault(path, header[1], cases, tuple(CHANGED.findall(content)), digest)


def chosen(names: Sequence[str], folder: Path = FOLDER) -> list[Fault]:
    """Return the faults of these names, all where there is none.

    Raises:
        ConfigError: there is no such fault.
    """
    known = sorted(path.stem for path in folder.glob("*.patch"))
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise ConfigError(f"unknown fault {name}: {meant}")
    return [read(folder / f"{name}.patch") for name in dict.fromkeys(names or known)]
