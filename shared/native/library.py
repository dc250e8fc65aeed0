"""Compiles the C code of this folder, once for each machine, and loads it."""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
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
LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


class NoCompiler(ConfigError):
    """The C code cannot be compiled or loaded here; the message says why, in a line or two."""


def built() -> Path:
    """Return the compiled library, which takes a second where there is none yet.

    It is kept for this source, this compiler and a processor with these instructions. It is not
    loaded in this process, so that torch, imported later, brings its own OpenMP.

    Raises:
        NoCompiler: there is no C compiler, or it fails, or what it makes cannot be loaded.
    """
    found = _built_or_why_not()
    if isinstance(found, Path):
        return found
    raise NoCompiler(found)


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
        raise NoCompiler(f"{path} cannot be loaded: {error}") from error


@functools.cache
def _built_or_why_not() -> Path | str:
    try:
        command = shlex.split(os.environ.get("CC") or "cc")
    except ValueError as error:
        return f"the variable CC is no command: {error}"
    program = shutil.which(command[0]) if command else None
    if program is None:
        name = command[0] if command else "in the variable CC"
        return f"there is no C compiler {name}: install gcc, or name one in the variable CC"
    changed = os.stat(program).st_mtime_ns
    told = [SOURCE.read_text(), *command, program, str(changed), *FLAGS, platform.machine()]
    told += [*platform.libc_ver(), *sorted(processor_flags())]
    name = f"conv_pool-{_digest(chr(0).join(told).encode())}"
    try:
        for kept in CACHE.glob(f"{name}-*.so"):
            if kept.stem == f"{name}-{_digest(kept.read_bytes())}":
                return kept
            kept.unlink(missing_ok=True)  # a damaged one could end the process without a word
        return _compiled([program, *command[1:]], name)
    except OSError as error:
        return f"C code cannot be compiled: {error}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _compiled(command: list[str], name: str) -> Path | str:
    """Return where the library is, in the cache if that can be written, or why there is none."""
    program, made = command[0], Path(_folder_of_this_process().name, name)
    done = subprocess.run(
        [*command, *FLAGS, "-o", str(made), str(SOURCE)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        said = next((line for line in lines if "error" in line.lower()), lines[-1])
        return f"the C compiler {program} fails: {said}"
    try:
        content = made.read_bytes()
        place = CACHE / f"{name}-{_digest(content)}.so"
        place.parent.mkdir(exist_ok=True)
        write_atomically(place, content)
    except OSError:  # a checkout that cannot be written to: each process compiles it again
        place = made
    loaded = subprocess.run([sys.executable, "-c", LOAD, str(place)], capture_output=True, text=True)
    if loaded.returncode != 0:
        if place != made:
            place.unlink(missing_ok=True)
        said = next(iter(reversed(loaded.stderr.strip().splitlines())), str(loaded.returncode))
        return f"what the C compiler {program} makes cannot be loaded: {said}"
    return place


@functools.cache
def _folder_of_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="conv_pool_")  # removed when the process ends
