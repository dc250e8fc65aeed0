"""The planted faults, and copies of the committed code with one of them in it.

A TOML file for each part of the code that they change lists the faults:

    [learning_rate_tenth]
    sentence = "The learning rate is a tenth of the configured one."
    cases = ["mnist_cnn_torch"]             # of conf/regression; the fault is measured on these
    file = "shared/training/schedule.py"
    edits = [["self._config.optimizer.lr", "0.1 * self._config.optimizer.lr"]]

Each edit replaces the one place in the file where the first text stands by the second. When code is
rewritten, restate the edit so that it plants the same mistake. A measurement belongs to the sentence:
a fault that has become another one needs another sentence, and is then measured again.
"""

import io
import os
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigError
from shared.runs.environment import ROOT
from tools import cli

FOLDER = Path(__file__).parent
# Files in data/ were written by this code: with a fault in it they have to be prepared again.
PREPARES_DATA = "shared/data/"


@dataclass(frozen=True)
class Fault:
    """One planted fault, as in its TOML file."""

    name: str
    sentence: str
    cases: Sequence[str]
    file: str
    edits: Sequence[tuple[str, str]]

    def plant(self, folder: Path) -> None:
        """Change the code in `folder`.

        Raises:
            ConfigError: a text to be replaced does not occur exactly once.
        """
        file = folder / self.file
        code = file.read_text()
        for old, new in self.edits:
            if (count := code.count(old)) != 1:
                raise ConfigError(f"{self.name}: {old!r} should occur once in {self.file}, found {count}")
            code = code.replace(old, new)
        file.write_text(code)


def load_faults(names: Sequence[str] = ()) -> list[Fault]:
    """Return the faults of these names, by default all of them.

    Raises:
        ConfigError: there is no fault of that name.
    """
    known = {
        name: Fault(name, **entry)
        for file in FOLDER.glob("*.toml")
        for name, entry in tomllib.loads(file.read_text()).items()
    }
    for name in names:
        cli.check_choice("fault", name, sorted(known))
    return [known[name] for name in dict.fromkeys(names or sorted(known))]


def copy_code(folder: Path, fault: Fault) -> None:
    """Write the committed code to `folder`, plant the fault, and give it a data folder of its own.

    Raises:
        ConfigError: a text to be replaced does not occur exactly once.
    """
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder)  # what git has just packed
    fault.plant(folder)
    if fault.file.startswith(PREPARES_DATA) or not (ROOT / "data").is_dir():
        (folder / "data").mkdir()
    else:
        link_data(ROOT / "data", folder / "data")


def link_data(source: Path, target: Path) -> None:
    """Make a data folder of links to the files of another one.

    The folders themselves are new, so that a faulty program that adds a file, or moves a new one over
    a link, does not change the other folder.
    """
    shutil.copytree(source, target, copy_function=os.symlink, ignore=shutil.ignore_patterns("*.lock"))
