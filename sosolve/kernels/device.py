"""The NVIDIA device: whether there is one, what to install where there is none, and the CUDA modules of the package."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

#: Folder of the CUDA sources.
SOURCES = Path(__file__).parent / "cuda"
#: Options of the compiler: the standard alone, so that the numbers stay those of IEEE arithmetic.
OPTIONS = ("--std=c++17",)

#: What a kernel takes for a null pointer: CuPy 13 turns None into another address (cupy/cupy, issue 9046).
NULL = np.uintp(0)

_owner: int | None = None  # the process that used the device first


def driver_version() -> int | None:
    """Return the CUDA version that the installed driver supports, such as 12040 for 12.4; None without a driver."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        found = ctypes.c_int(0)
        if driver.cuDriverGetVersion(ctypes.byref(found)) == 0 and found.value:
            return found.value
    return None


def extra_for(version: int | None) -> str:
    """Return the extra of this package for a driver of that CUDA version."""
    return "cuda13" if version is not None and version >= 13000 else "cuda12"


def _advice(version: int | None) -> str:
    extra = extra_for(version)
    return f'pip install "sosolve[{extra}]" (it brings cupy-{extra}x)'


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def require(caller: str) -> ModuleType:
    """Return CuPy with at least one device that it can use.

    Parameters
    ----------
    caller : str
        What needs it, for the message: "LogisticRegression(device='cuda')".

    Returns
    -------
    module
        `cupy`.

    Raises
    ------
    ImportError
        If CuPy is not installed or cannot be imported, or finds no compiler or libraries of CUDA.
    RuntimeError
        If there is no driver, one too old for this CuPy, or no device; or if this process was forked from one that
        had used the device.
    """
    global _owner
    if _owner is not None and _owner != os.getpid():
        raise RuntimeError(
            f"{caller} runs in process {os.getpid()}, forked from process {_owner}, which had used CUDA before; CUDA "
            "does not survive a fork: start workers by spawn or forkserver (joblib's loky does), or use device='cpu'"
        )
    version = driver_version()
    here = "no NVIDIA driver" if version is None else f"an NVIDIA driver for CUDA {_dotted(version)}"
    try:
        import cupy
    except ImportError as error:
        what = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
        first = "install the driver first, then " if version is None else ""
        raise ImportError(
            f"{caller} needs CuPy, which {what}; found {here}: {first}{_advice(version)}, or use device='cpu'"
        ) from error
    try:
        count, problem = cupy.cuda.runtime.getDeviceCount(), "cudaErrorNoDevice: no device is visible"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        count, problem = 0, str(error)
    if not count:
        built = cupy.cuda.runtime.runtimeGetVersion()
        cure = "install the NVIDIA driver, or look at CUDA_VISIBLE_DEVICES"
        if version is not None and version // 1000 < built // 1000:
            cure = f"update the driver, or remove that CuPy and {_advice(version)}"
        raise RuntimeError(
            f"{caller} needs a CUDA device; CuPy {cupy.__version__}, built for CUDA {_dotted(built)}, reports "
            f"{problem!r}; found {here}: {cure}, or use device='cpu'"
        )
    if _owner is None:
        _check_libraries(cupy, caller, here)
    _owner = os.getpid()
    return cupy


def _check_libraries(cupy: ModuleType, caller: str, here: str) -> None:
    """Load the compiler and the libraries of CUDA that kernels and products need: CuPy looks for them when used.

    Raises
    ------
    ImportError
        If one is missing, with what brings all of them.
    """
    try:
        cupy.cuda.nvrtc.getVersion()
        for name in ("cublas", "cusolver", "cusparse"):
            getattr(cupy.cuda, name)
    except Exception as error:  # each release of CuPy has another type for it
        package = f"cupy-cuda{cupy.cuda.runtime.runtimeGetVersion() // 1000}x"
        first = str(error).strip().partition("\n")[0]
        raise ImportError(
            f"{caller} needs the compiler and the libraries of CUDA (nvrtc, cublas, cusolver, cusparse), which CuPy "
            f'{cupy.__version__} cannot load ({first}); found {here}: pip install --upgrade "{package}[ctk]", which '
            "brings them, or install the CUDA toolkit, or use device='cpu'"
        ) from error


def available() -> bool:
    """Return whether CuPy and a device it can use are there; asks without an exception."""
    try:
        require("available")
    except (ImportError, RuntimeError):
        return False
    return True


def source(name: str, model: str = "", **constants: str | int) -> str:
    """Return one text for the compiler: the constants, the headers and the kernels.

    CuPy keys its cache of compiled kernels by this text; a header that was only named in it could change unseen.

    Parameters
    ----------
    name : str
        A file of `cuda/`, without ".cu".
    model : str, default=""
        Generated functions that the file calls.
    **constants
        Whole numbers become `constexpr int`, texts the name of a type.
    """
    lines = [
        f"using {key} = {value};" if isinstance(value, str) else f"constexpr int {key} = {int(value)};"
        for key, value in constants.items()
    ]
    seen: set[str] = set()

    def included(match: re.Match) -> str:
        header = match[1]
        if header in seen:
            return ""
        seen.add(header)
        return expanded((SOURCES / header).read_text(encoding="utf-8"))

    def expanded(text: str) -> str:
        return re.sub(r'^#include "([^"]+)"$', included, text, flags=re.MULTILINE)

    return "\n".join([*lines, model, expanded((SOURCES / f"{name}.cu").read_text(encoding="utf-8"))])


@functools.lru_cache(maxsize=256)
def _compiled(text: str):
    import cupy

    return cupy.RawModule(code=text, options=OPTIONS)


@functools.lru_cache(maxsize=1024)
def kernel(name: str, function: str, model: str = "", **constants: str | int):
    """Return one kernel, compiled for the current device when it is first launched.

    Parameters
    ----------
    name : str
        A file of `cuda/`, without ".cu".
    function : str
        The kernel in it.
    model, **constants
        As for `source`.

    Returns
    -------
    callable
        (grid, block, arguments, shared_mem=0), where an argument None is a null pointer.
    """
    raw = _compiled(source(name, model, **constants)).get_function(function)

    def launch(grid, block, arguments, *, shared_mem: int = 0) -> None:
        raw(grid, block, tuple(NULL if a is None else a for a in arguments), shared_mem=shared_mem)

    return launch


def memory() -> tuple[int, int]:
    """Return the bytes that can be had on the current device (free, or idle in CuPy's pool) and its total."""
    import cupy

    free, total = cupy.cuda.runtime.memGetInfo()
    pool = cupy.get_default_memory_pool()
    return free + pool.total_bytes() - pool.used_bytes(), total


@contextlib.contextmanager
def freed_on_error(caller: str, needed: int) -> Iterator[None]:
    """Give back the device's memory where the block runs out of it, and say how much was needed and free.

    Parameters
    ----------
    caller : str
        What ran, for the message.
    needed : int
        Bytes estimated.

    Raises
    ------
    MemoryError
        In place of CuPy's own error, which is one too.
    """
    try:
        yield
    except MemoryError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        text = str(error)
    else:
        return
    import cupy

    # outside the handler: the exception's traceback held the arrays of the failed fit
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()
    free, total = memory()
    raise MemoryError(
        f"{caller} ran out of memory on the device ({text}); it needs about {needed / 1e9:.3g} GB and {free / 1e9:.3g} "
        f"of {total / 1e9:.3g} GB are free now: free device arrays, pass X as a NumPy array with device='cuda' (it is "
        "streamed where it does not fit), take float32, or use device='cpu'"
    )


def sparse_to_device(X):
    """Return a copy of SciPy's CSR matrix as CuPy's."""
    from cupyx.scipy.sparse import csr_matrix

    return csr_matrix(X)


def adopted(X):
    """Return an array on an NVIDIA device as CuPy's, sharing its memory through DLPack."""
    import cupy

    return cupy.from_dlpack(X)


def current() -> str:
    """Return the name of the current device, "cuda:0"."""
    import cupy

    return f"cuda:{cupy.cuda.runtime.getDevice()}"


@contextlib.contextmanager
def on_device_of(X) -> Iterator[None]:
    """Make the device of an array of CuPy the current one."""
    with X.device:
        yield
