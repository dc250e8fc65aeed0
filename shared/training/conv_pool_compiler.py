"""Compiles the kernel in conv_pool.c, once for each machine."""

import functools
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from shared.files import sha256_of, write_atomically
from shared.training.conv_pool import FLAGS, NoCompiler

LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


def compile_kernel(command: str, source: Path, cache: Path, stem: str) -> Path:
    """Return the path of the compiled kernel, in the cache if that is writable.

    Args:
        command: the compiler and its options, as in the environment variable CC.
        source: the C file.
        cache: a folder, which is created.
        stem: of the library's name; its digest follows.

    Raises:
        NoCompiler: there is no compiler, it fails, or its result cannot be loaded.
        OSError: the compiler cannot be started.
    """
    try:
        name, *options = shlex.split(command) or [""]
    except ValueError as error:
        raise NoCompiler(f"the environment variable CC is not a command: {error}") from error
    compiler = shutil.which(name)
    if compiler is None:
        name = name or "in the environment variable CC"
        raise NoCompiler(
            f"there is no C compiler {name}: install gcc, or name one in the environment variable CC"
        )
    path = Path(_temporary_folder().name, stem)
    words = [compiler, *options, *FLAGS, "-o", str(path), str(source)]
    result = subprocess.run(words, capture_output=True, text=True, errors="replace")
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise NoCompiler(f"the C compiler {compiler} fails: {reason}")
    loaded = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True)
    if loaded.returncode != 0:
        reason = (loaded.stderr.strip().splitlines() or [str(loaded.returncode)])[-1]
        raise NoCompiler(f"the library that the C compiler {compiler} made cannot be loaded: {reason}")
    content = path.read_bytes()
    cached = cache / f"{stem}-{sha256_of(content)[:16]}.so"
    try:
        cached.parent.mkdir(exist_ok=True)
        write_atomically(cached, content)
    except OSError:  # a read-only checkout: each process compiles again
        return path
    return cached


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="conv_pool_")  # removed when the process ends
