"""Kernels: arrays in, arrays out, no objects. One set of names, one module for each way of running them."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np

from . import reference
from .streamed import StreamedRows

#: Stored entries of X below which plain array code is used: a fit of that size is over before the compiled
#: kernels are read from their cache (about 0.2 s a process).
COMPILED_FROM = 500_000


def kernels_for(X) -> ModuleType:
    """Return the module of kernels for an array.

    Parameters
    ----------
    X : array or scipy.sparse CSR
        The data, or rows in sample space.

    Returns
    -------
    module
        For float32 and float64: `numba_cpu` for large NumPy arrays and CSR matrices of SciPy, `cupy_gpu` for those of
        CuPy, `cupy_stream` for `StreamedRows`. Else `reference`.
    """
    if isinstance(X, StreamedRows):
        from . import cupy_stream

        return cupy_stream
    entries = X.data if hasattr(X, "indptr") else X
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(entries, cupy.ndarray):
        if entries.dtype.char not in "fd":
            return reference
        from . import cupy_gpu

        return cupy_gpu
    plain = isinstance(entries, np.ndarray) and entries.dtype.char in "fd"
    if plain and reference.cost_of(X) >= COMPILED_FROM:
        from . import numba_cpu

        return numba_cpu
    return reference
