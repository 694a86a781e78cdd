"""Sparse matrices of CuPy as X: checked where they lie, with a stand-in for scikit-learn's checks of all else."""

from __future__ import annotations

from typing import Any

import scipy.sparse
from array_api_compat import array_namespace

from .._compat import to_host
from .placement import Placement


def is_there(X: Any) -> bool:
    """Return whether X is a sparse matrix of CuPy."""
    return type(X).__module__.partition(".")[0] == "cupyx" and hasattr(X, "tocsr")


def stand_in(X: Any) -> Any:
    """Return an empty CSR matrix of SciPy with the shape and the dtype of X."""
    return scipy.sparse.csr_matrix(X.shape, dtype=X.dtype if X.dtype.char in "fd" else float)


def placed_there(X: Any, caller: str) -> Placement:
    """Return the placement of a sparse matrix of CuPy: it stays, the results are NumPy arrays.

    Raises
    ------
    ValueError
        If it holds NaN, inf or complex numbers, or damaged index arrays.
    """
    X = X.tocsr()
    if X.dtype.char not in "fd":
        if X.dtype.kind == "c":
            raise ValueError(f"{caller} received complex data; expected real numbers: pass the real part")
        X = X.astype("d")
    xp, (n, d) = array_namespace(X.data), X.shape
    indices, indptr = X.indices, X.indptr
    sound = xp.all(indptr[1:] >= indptr[:-1]) & (indptr[0] == 0) & (indptr[-1] == X.data.shape[0])
    if indices.shape[0]:
        sound = sound & (xp.min(indices) >= 0) & (xp.max(indices) < d)
    finite = xp.all(xp.isfinite(X.data))
    sound, finite = xp.stack([sound, finite]).tolist()
    if not sound:
        raise ValueError(
            f"{caller} received a sparse X of shape {(n, d)} whose index arrays are damaged (indices outside 0 .. "
            f"{d - 1}, or row pointers that decrease); expected a valid CSR matrix: rebuild it, for instance from "
            "tocoo()"
        )
    if not finite:
        raise ValueError(f"{caller} received X that contains NaN or infinity; expected finite numbers: clean it first")
    if not X.has_canonical_format:  # squares of entries are not additive
        X = X.copy()
        X.sum_duplicates()
    where = X.data.device
    return Placement(X, xp, where, f"cuda:{where.id}", to_host)
