"""Where a fit runs: `device=` of an estimator, and the way of X there and of the results back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from array_api_compat import array_namespace, is_cupy_array, is_numpy_array, is_torch_array
from sklearn import get_config

from .._compat import effective_threads, to_host
from ..kernels import device
from ..kernels.streamed import BUFFER_BYTES, StreamedRows, to_device

DEVICES = ("auto", "cpu", "cuda")

#: Figures of "auto", from data sheets rather than measured: bytes a second that one processor thread reads, at most
#: that many threads' worth, over the bus, and on the device; seconds until the first kernel runs; and passes of a fit.
THREAD_RATE, MAX_THREADS, BUS_RATE, DEVICE_RATE, DEVICE_START, PASSES = 15e9, 12, 12e9, 1e12, 1.0, 16
#: Vectors of the length of the predictors that a fit holds at once.
ROW_VECTORS = 12
#: Share of the free memory that a fit may plan with, and bytes that a buffer for streaming must have at least.
SHARE, LEAST_BUFFER = 0.9, 2**20


@dataclass(frozen=True)
class Placement:
    """Where one fit runs.

    Attributes
    ----------
    X : array, CSR matrix or StreamedRows
        The data where the kernels find them.
    xp : module
        Array namespace of everything else.
    device : object
        What that namespace calls the device; None for NumPy.
    name : str
        "cpu", "cuda:0" or the like: the estimator's `device_`.
    home : callable
        Takes results back to where the user's X was.
    """

    X: Any
    xp: Any
    device: Any
    name: str
    home: Callable[[Any], Any]


def _same(a):
    return a


def on_host(X: Any, wanted: str | None, caller: str) -> Any:
    """Return X, y or weights as they are, or taken off their device where the processor is wanted.

    Raises
    ------
    TypeError
        If an array of CuPy arrives while scikit-learn's array-API dispatch is off.
    """
    if wanted == "cpu" and not isinstance(X, np.ndarray) and not scipy.sparse.issparse(X) and _on_cuda(X):
        return to_host(X.cpu() if is_torch_array(X) else X)
    if is_cupy_array(X) and not get_config()["array_api_dispatch"]:
        raise TypeError(
            f"{caller} received an array of CuPy while scikit-learn's array_api_dispatch is off; expected it on: "
            "call sklearn.set_config(array_api_dispatch=True) (and set SCIPY_ARRAY_API=1 before SciPy is imported), or "
            "pass device='cpu' to take X to the host"
        )
    return X


def _on_cuda(X: Any) -> bool:
    """Return whether an array lies on an NVIDIA device."""
    return is_cupy_array(X) or (is_torch_array(X) and X.device.type == "cuda")


def placed(X: Any, wanted: str | None, outputs: int, caller: str, xp: Any, where: Any) -> Placement:
    """Return where the fit of checked data runs.

    Parameters
    ----------
    X : array or CSR matrix
    wanted : {"auto", "cpu", "cuda"} or None
        None is where X is.
    outputs : int
        Columns of the predictors.
    caller : str
        For messages.
    xp, where : module, object
        Array namespace and device of X.

    Raises
    ------
    ImportError, RuntimeError
        If a device is wanted and there is none that can be used; see `kernels.device.require`.
    MemoryError
        If the data fit the device neither whole nor in blocks.
    """
    if not (isinstance(X, np.ndarray) or scipy.sparse.issparse(X)):
        return _where_it_is(X, xp, where, caller)
    if wanted == "cuda" or (wanted == "auto" and pays(X, outputs) and device.available()):
        device.require(f"{caller}(device={wanted!r})")
        there = _carried(X, outputs, caller)
        array = there.data if not is_cupy_array(there) else there
        return Placement(there, array_namespace(array), array.device, device.current(), to_host)
    return Placement(X, np, None, "cpu", _same)


def _where_it_is(X: Any, xp: Any, where: Any, caller: str) -> Placement:
    """Return the placement of an array of another library: PyTorch's on an NVIDIA device are shared with CuPy."""
    if is_cupy_array(X):
        device.require(caller)
        return Placement(X, array_namespace(X), X.device, f"cuda:{X.device.id}", _same)
    if _on_cuda(X) and device.available():
        theirs, there = array_namespace(X), device.adopted(X)
        return Placement(there, array_namespace(there), there.device, f"cuda:{there.device.id}", theirs.from_dlpack)
    return Placement(X, xp, where, str(where), _same)


def _carried(X: Any, outputs: int, caller: str) -> Any:
    """Return X on the device, or as rows that are streamed where it does not fit.

    Raises
    ------
    MemoryError
        If not even that is possible.
    """
    n = X.shape[0]
    free, total = device.memory()
    vectors = 8 * n * (outputs if outputs > 1 else 1) * ROW_VECTORS
    whole = vectors + (3 * (X.data.nbytes + X.indices.nbytes) if scipy.sparse.issparse(X) else X.nbytes)
    if scipy.sparse.issparse(X) and X.nnz >= 2**31:
        raise MemoryError(
            f"{caller} received a sparse X with {X.nnz} entries for a device; expected less than 2^31, which is what "
            "CuPy's indices count: take fewer rows, or use device='cpu'"
        )
    if whole <= SHARE * free:
        return device.sparse_to_device(X) if scipy.sparse.issparse(X) else to_device(X)
    buffers = int(SHARE * free - vectors) // 4
    if scipy.sparse.issparse(X) or buffers < max(LEAST_BUFFER, X.shape[1] * X.itemsize):
        kind = "a sparse X cannot be streamed" if scipy.sparse.issparse(X) else "not even blocks of its rows fit"
        gigabytes = [f"{size / 1e9:.3g} GB" for size in (whole, vectors, free, total)]
        raise MemoryError(
            f"{caller} received an X whose fit needs {gigabytes[0]}, {gigabytes[1]} of them for vectors over the rows, "
            f"for a device with {gigabytes[2]} free of {gigabytes[3]}; {kind}: free device memory, take fewer rows, or "
            "use device='cpu'"
        )
    return StreamedRows(X, min(buffers, BUFFER_BYTES))


def pays(X: Any, outputs: int) -> bool:
    """Return whether the transfer to a device and its start are cheaper than what its speed saves, by a rough model."""
    size = X.data.nbytes + X.indices.nbytes if scipy.sparse.issparse(X) else X.nbytes
    work = PASSES * size * max(1.0, outputs / 4.0)
    here = work / (THREAD_RATE * min(effective_threads(), MAX_THREADS))
    there = DEVICE_START + size / BUS_RATE + work / DEVICE_RATE
    return here > 1.5 * there


def guarded(X: Any, wanted: str | None, caller: str) -> Any:
    """Return the context of a fit: the device of X is the current one, and running out of its memory is told.

    Where nothing can be on a device the context does nothing.
    """
    entries = X.data if hasattr(X, "indptr") else X
    if is_cupy_array(entries):
        stack = contextlib.ExitStack()
        stack.enter_context(device.on_device_of(entries))
        stack.enter_context(device.freed_on_error(caller, 2 * entries.nbytes))
        return stack
    on_way = wanted in ("cuda", "auto") and (is_numpy_array(X) or scipy.sparse.issparse(X))
    return device.freed_on_error(caller, 2 * getattr(X, "nbytes", 0)) if on_way else contextlib.nullcontext()
