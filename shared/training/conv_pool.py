"""The compiled kernel for a convolution followed by 2x2 max pooling (conv_pool.c).

The gradient that comes back through max pooling is zero at three positions of four; the kernel skips
them. It is compiled once with the machine's C compiler, in about a second, and cached. Arrays are
float32, or bfloat16 as its bits (uint16), because NumPy has no such type.
"""

import ctypes
import functools
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from shared import distributed
from shared.config import AppConfig, Pooling
from shared.errors import ConfigError
from shared.files import sha256_of
from shared.runs.environment import PACKAGES, processor_flags
from shared.training.frameworks import undisturbed_import

SOURCE = Path(__file__).with_suffix(".c")
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # no GPU if none of these exists
CACHE = Path(__file__).with_name("__pycache__")  # where Python caches compiled code; not in git
Array = NDArray[Any]
Sizes = ctypes.c_int64 * 9  # the numbers of the struct in conv_pool.c, in its order
FLAGS = (
    *("-std=gnu11", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"),
    "-ffp-contract=fast",  # fused multiply-add, as in torch
    "-fno-trapping-math",  # comparisons with NaN need not raise a flag
)


def resolve_pooling(config: AppConfig) -> Pooling:
    """Return what `model.pooling` means: `auto` is sparse on a CPU where that is faster and can be compiled.

    Raises:
        ConfigError: it is `sparse`, and the kernel does not compute that or cannot be compiled.
    """
    trainer, model = config.trainer, cast(Any, config.model)
    possible = (
        config.framework != "numpy"
        and trainer.precision != "float64"
        and trainer.device in ("auto", "cpu")
        and not trainer.compile
        and getattr(model, "pool", "max") == "max"
    )
    if model.pooling == "sparse" and not possible:
        raise ConfigError(
            "model.pooling=sparse needs framework=torch or keras, float32 or bfloat16, a CPU, "
            "max pooling and trainer.compile=false; model.pooling=plain works everywhere"
        )
    if model.pooling == "auto" and not (possible and config.framework in model.SPARSE_CAN_PAY):
        return "plain"
    if model.pooling == "auto" and config.framework == "torch" and any(map(os.path.exists, GPUS)):
        with undisturbed_import():
            from shared.training.torch_learner import device_of

        if device_of(trainer).type != "cpu":
            return "plain"
    try:
        kernel = kernel_path()
        return "sparse" if model.pooling == "sparse" else faster_pooling(config, kernel)
    except NoCompiler as error:
        if model.pooling == "sparse":
            raise
        distributed.print_once(
            f"note: {error}; training takes longer without the compiled kernel (to hide this note, "
            "set model.pooling=plain)"
        )
        return "plain"


def faster_pooling(config: AppConfig, kernel: Path) -> Pooling:
    """Return which pooling is faster, as measured once for a kernel, version, network and precision."""
    versions = [f"{name}-{version(name)}" for name in PACKAGES[config.framework]]
    words = [kernel.stem, "faster", *versions, cast(Any, config.model).name, config.trainer.precision]
    record = CACHE / "-".join(words)
    if not record.exists():
        from shared.training.pooling_speed import measure  # once for each machine

        return measure(config, record)
    return cast(Pooling, record.read_text())


class NoCompiler(ConfigError):
    """The kernel cannot be compiled or loaded here; the message says why in a line or two."""


def max_pool(y: Array, threads: int, channels_last: bool = False) -> tuple[Array, Array]:
    """Return the maxima of 2x2 windows, and at which of its four positions each one is.

    Args:
        y: (N, H, W, K), float32 or bits of bfloat16, contiguous. A last odd row or column is ignored.
        threads: number of threads that share the images.
        channels_last: the order of the maxima.

    Returns:
        Maxima (N, K, H // 2, W // 2), or (N, H // 2, W // 2, K) if channels_last, of y's dtype; positions
        (N, K, H // 2, W // 2), uint8, 0 to 3 by rows. Of equal numbers the first counts, NaN before all.
    """
    images, height, width, filters = y.shape
    sizes = Sizes(images, height, width, 0, filters, 1, 1, y.dtype == np.uint16, channels_last)
    where = np.empty((images, filters, height // 2, width // 2), np.uint8)
    pooled = np.empty(where.transpose(0, 2, 3, 1).shape if channels_last else where.shape, y.dtype)
    if library().pool(sizes, *map(_pointer, (y, pooled)), _pointer(where, "uint8"), threads):
        raise MemoryError("not enough memory for max pooling")
    return pooled, where


def gradients(
    x: Array, weight: Array, dy: Array, where: Array, threads: int, channels_last: bool = False
) -> tuple[Array, Array, Array]:
    """Return dX, dW and db of a convolution (no padding, stride 1) followed by 2x2 max pooling.

    Args:
        x: (N, H, W, C), float32 or bits of bfloat16, contiguous.
        weight: (K, R, S, C), float32.
        dy: (N, K, P, Q), or (N, P, Q, K) if channels_last: the gradient of the maxima, of x's dtype.
        where: (N, K, P, Q), uint8, the positions that `max_pool` returned.
        threads: number of threads that share the images; the result does not depend on it.
        channels_last: the order of dy.

    Returns:
        dX of x's shape and dtype; dW (K, R, S, C) and db (K,) in float32.
    """
    images, height, width, channels = x.shape
    filters, rows, columns, _ = weight.shape
    windows = (height - rows + 1) // 2, (width - columns + 1) // 2
    pooled = (images, *windows, filters) if channels_last else (images, filters, *windows)
    if not (dy.shape == pooled and where.shape == (images, filters, *windows) and dy.dtype == x.dtype):
        raise ValueError(
            f"expected gradients {pooled} in {x.dtype}, given {dy.shape} {dy.dtype}, {where.shape}"
        )
    sizes = Sizes(*x.shape, filters, rows, columns, x.dtype == np.uint16, channels_last)
    length = columns * channels
    constant = functools.partial(ctypes.c_int64.in_dll, library())
    lanes, images_per_block = constant("lanes").value, constant("images_per_block").value
    run = -(-length // lanes) * lanes
    padded = np.zeros((rows, filters, run), np.float32)
    padded[:, :, :length] = weight.transpose(1, 0, 2, 3).reshape(rows, filters, length)
    blocks = -(-images // images_per_block)
    dw, db = np.zeros((blocks, filters, rows, run), np.float32), np.zeros((blocks, filters), np.float32)
    dx = np.empty_like(x)
    given, found = map(_pointer, (x, padded, dy)), map(_pointer, (dx, dw, db))
    if library().backward(sizes, *given, _pointer(where, "uint8"), *found, threads):
        raise MemoryError("not enough memory for the gradients of a convolution")
    return dx, dw.sum(0)[:, :, :length].reshape(weight.shape), db.sum(0)


def _pointer(array: Array, *dtypes: str) -> ctypes.c_void_p:
    if array.dtype not in (dtypes or (np.float32, np.uint16)) or not array.flags.c_contiguous:
        raise ValueError(
            f"expected contiguous {' or '.join(dtypes) or 'float32 or bits of bfloat16'}, given {array.dtype}"
        )
    return ctypes.c_void_p(array.ctypes.data)


@functools.cache
def library() -> ctypes.CDLL:
    """Return the loaded kernel.

    Raises:
        NoCompiler: it cannot be compiled or loaded.
    """
    path = kernel_path()
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NoCompiler(f"{path} cannot be loaded: {error}") from error


@functools.cache
def kernel_path() -> Path:
    """Compile the kernel if it is not cached for this source, command and processor; return its path.

    It is not loaded in this process, so that torch, imported later, uses its own OpenMP.

    Raises:
        NoCompiler: there is no C compiler, it fails, or its result cannot be loaded.
    """
    command = os.environ.get("CC") or "cc"
    key = [SOURCE.read_text(), command, *FLAGS]
    key += [platform.machine(), *platform.libc_ver(), *sorted(processor_flags())]
    stem = f"conv_pool-{sha256_of(chr(0).join(key).encode())[:16]}"
    try:
        for cached in CACHE.glob(f"{stem}-*.so"):
            if cached.stem == f"{stem}-{sha256_of(cached)[:16]}":
                return cached
            cached.unlink(missing_ok=True)  # loading a damaged library could crash the process
        from shared.training.conv_pool_compiler import compile_kernel  # once for each machine

        return compile_kernel(command, SOURCE, CACHE, stem)
    except OSError as error:
        raise NoCompiler(f"C code cannot be compiled: {error}") from error
