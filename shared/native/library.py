"""Compiles the C code of this folder, once for each machine, and loads it."""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from shared.errors import ConfigError
from shared.files import write_atomically
from shared.processor import processor_flags

SOURCE = Path(__file__).with_name("conv_pool.c")
CACHE = Path(__file__).with_name("__pycache__")  # where Python keeps what it compiles; not in git
FLAGS = (
    *("-std=gnu11", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"),
    "-ffp-contract=fast",  # a product and its sum are one instruction, as in torch
    "-fno-trapping-math",  # nobody asks which comparison met a NaN
)


class NoCompiler(ConfigError):
    """The C code cannot be compiled or loaded here; the message says why, in a line or two."""


@functools.cache
def built() -> Path:
    """Return the compiled library, which takes half a second where there is none yet.

    It is kept for this source, these flags and a processor with these instructions. It is not
    loaded here, so that one who asks before torch is imported leaves it its own OpenMP.

    Raises:
        NoCompiler: there is no C compiler, or it fails.
    """
    told = [SOURCE.read_text(), *FLAGS, platform.platform(), *sorted(processor_flags())]
    digest = hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]
    place = CACHE / f"conv_pool-{digest}.so"
    if place.is_file():
        return place
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, place.name)
        _compile(made)
        try:
            place.parent.mkdir(exist_ok=True)
            write_atomically(place, made.read_bytes())
        except OSError:  # a checkout that cannot be written to: compiled again by each process
            place = Path(_of_this_process().name, place.name)
            shutil.copy(made, place)
    return place


@functools.cache
def library() -> ctypes.CDLL:
    """Return the compiled code, loaded.

    Raises:
        NoCompiler: it cannot be compiled or loaded.
    """
    path = built()
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NoCompiler(f"{path} cannot be loaded: {error}; delete it to try again") from error


def _compile(place: Path) -> None:
    command = shlex.split(os.environ.get("CC") or "cc")
    try:
        done = subprocess.run(
            [*command, *FLAGS, "-o", str(place), str(SOURCE)],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise NoCompiler(
            f"there is no C compiler {command[0]}: install gcc, or name one in the variable CC"
        ) from error
    if done.returncode != 0:
        said = next(iter(done.stderr.strip().splitlines()), f"status {done.returncode}")
        raise NoCompiler(f"the C compiler {command[0]} fails: {said}")


@functools.cache
def _of_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="conv_pool_")
