"""Arrays that take long to make, kept on disk for the next run."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.files import write_atomically

Arrays = dict[str, NDArray[Any]]


def cached_arrays(path: Path, make: Callable[[], Arrays], max_bytes: float = float("inf")) -> Arrays:
    """Return the result of `make`, from the file that an earlier call left at `path` if there is one.

    Args:
        path: an .npz file, whose name must tell what the result depends on. If it is damaged or cannot
            be written, a message says so, and the next call makes the arrays again.
        make: called if the file is missing or damaged.
        max_bytes: larger arrays are not written.
    """
    try:
        with np.load(path, allow_pickle=False) as file:  # the zip's own checksums detect damage
            return dict(file)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"{path}: damaged ({error}); making it again")
    arrays = make()
    if sum(array.nbytes for array in arrays.values()) <= max_bytes:
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content.getvalue())
        except OSError as error:
            print(f"{path}: cannot be written ({error.strerror}); continuing without the cache")
    return arrays
