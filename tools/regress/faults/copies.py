"""A copy of the committed code with a fault in it."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

from shared.errors import ConfigError
from shared.runs.environment import ROOT
from tools.regress.faults.patches import Fault

# What is kept in data/ was made by this code: with a fault in it, it has to be made anew.
MAKES_DATA = "shared/data/"


def make(folder: Path, fault: Fault) -> None:
    """Write the committed code to `folder`, apply the patch, and give it data of its own.

    Raises:
        ConfigError: the patch does not apply.
    """
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder)  # what git has just packed
    apply(folder, fault)
    if any(file.startswith(MAKES_DATA) for file in fault.files):
        (folder / "data").mkdir()
    else:
        link(ROOT / "data", folder / "data")


def apply(folder: Path, fault: Fault, *options: str) -> None:
    """Let git apply the patch to the code in `folder`.

    Raises:
        ConfigError: it does not apply.
    """
    # In a folder inside of a repository git would take the paths for the repository's.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent)}
    result = subprocess.run(
        ["git", "apply", *options, str(fault.path)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise ConfigError(f"{fault.name}.patch does not apply: {result.stderr.strip()}")


def link(source: Path, target: Path) -> None:
    """Make a data folder with links to what is in another one: what is new is written here alone.

    Links to the files in it, not to the folders of the data sets: a faulty program that adds a file
    or writes one anew, by moving it into place, does not reach the other folder.
    """
    target.mkdir()
    for folder in filter(Path.is_dir, source.glob("*")):
        (target / folder.name).mkdir()
        for entry in folder.iterdir():
            if entry.suffix != ".lock":
                (target / folder.name / entry.name).symlink_to(entry.resolve())
