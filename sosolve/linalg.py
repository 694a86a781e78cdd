"""Dense factorisations of small arrays for every array library; failure is a value, never an exception.

A factorisation on a GPU does not raise, so nothing here does either: callers test what comes back.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.linalg
from array_api_compat import array_namespace, is_cupy_array

from .protocols import Array

#: Spacing of the double precision numbers at 1.
EPS = 2.0**-52


def namespace(a: Array) -> Any:
    """Return the array namespace of an array; NumPy's own at once, for a small fit asks dozens of times."""
    return np if type(a) is np.ndarray else array_namespace(a)


def spacing(a: Array) -> float:
    """Return the spacing of the numbers of an array at 1."""
    return EPS if type(a) is np.ndarray and a.dtype == np.float64 else float(array_namespace(a).finfo(a.dtype).eps)


def diagonal_of(H: Array) -> Any:
    """Return the diagonal of a matrix, shape (p,)."""
    return H.diagonal() if type(H) is np.ndarray else array_namespace(H).linalg.diagonal(H)


def dot(a: Array, b: Array) -> float:
    """Return the inner product of two arrays of shape (p,) as a Python float."""
    return float(a @ b)


def floats(*values: Any) -> tuple[float, ...]:
    """Return scalars (Python's, or arrays without a dimension) as Python floats; a device is waited for once."""
    there = [v for v in values if not isinstance(v, float)]  # NumPy's scalars are floats
    if len(there) < 2 or type(there[0]) is np.ndarray:
        return tuple(map(float, values))
    stacked = array_namespace(*there).stack(there)
    found = iter(stacked.tolist() if hasattr(stacked, "tolist") else map(float, stacked))
    return tuple(v if isinstance(v, float) else next(found) for v in values)


def norm(a: Array) -> float:
    """Return the Euclidean norm of an array of shape (p,), safe against overflow and underflow."""
    if type(a) is np.ndarray and a.dtype == np.float64 and a.ndim == 1 and a.shape[0]:
        return scipy.linalg.blas.dnrm2(a)  # scaled inside
    if not a.shape[0]:
        return 0.0
    xp = namespace(a)
    top = xp.max(xp.abs(a))
    scaled = a / xp.where(top > 0.0, top, xp.ones_like(top))
    top, square = floats(top, scaled @ scaled)
    return top * square**0.5 if 0.0 < top < np.inf else top


def dot_and_norms(a: Array, b: Array) -> tuple[float, float, float]:
    """Return a'b, |a| and |b| of two arrays of shape (p,); a device is waited for once."""
    if type(a) is np.ndarray:
        return dot(a, b), norm(a), norm(b)
    ab, aa, bb = floats(a @ b, a @ a, b @ b)
    if 1e-200 < aa < 1e200 and 1e-200 < bb < 1e200:
        return ab, aa**0.5, bb**0.5
    return ab, norm(a), norm(b)


def column_norms(A: np.ndarray) -> np.ndarray:
    """Return the Euclidean norms of the columns of A, shape (p,), safe against overflow and underflow of squares."""
    with np.errstate(all="ignore"):
        squares = np.add.reduce(A * A, axis=0)
    if ((squares > 1e-280) & (squares < 1e280)).all():
        return np.sqrt(squares)
    top = np.abs(A).max(axis=0, initial=0.0)
    unit = np.where((top > 0.0) & (top < np.inf), top, 1.0)
    return unit * np.sqrt(np.square(A / unit).sum(axis=0))


def max_abs(a: Array) -> float:
    """Return the largest absolute component of an array, NaN if one is NaN, 0 for an empty one."""
    if type(a) is np.ndarray:  # a fit of a curve takes 100 us in all: no detour over the namespace
        if a.dtype == np.float64 and a.ndim == 1 and a.shape[0]:
            total = scipy.linalg.blas.dasum(a)  # NaN where a component is: idamax would pass over it
            return abs(float(a[scipy.linalg.blas.idamax(a)])) if total == total else total
        return float(np.abs(a).max(initial=0.0))
    xp = array_namespace(a)
    return float(xp.max(xp.abs(a))) if a.shape[0] else 0.0


def cholesky(H: Array) -> Array | None:
    """Return the lower Cholesky factor L of H = L L', or None where H is not safely positive definite.

    "Safely" means that no pivot falls below p eps times the largest diagonal entry: beyond that the factor's
    directions of smallest curvature are rounding noise.

    Parameters
    ----------
    H : Array of shape (p, p)

    Returns
    -------
    Array of shape (p, p) or None
    """
    xp = namespace(H)
    if xp is np:
        L, info = scipy.linalg.lapack.dpotrf(H, lower=1, clean=1)
        pivots = L.diagonal().tolist()
        if info != 0 or not math.isfinite(sum(pivots)):
            return None  # LAPACK passes over NaN, and so does min
        smallest, top = min(pivots), max(diagonal_of(H).tolist())
    else:
        try:
            with _errors_of(H):
                L = xp.linalg.cholesky(H)
        except Exception as error:  # each library has its own exception for an indefinite matrix
            if "LinAlgError" in type(error).__name__:
                return None
            raise
        smallest, top = floats(xp.min(diagonal_of(L)), xp.max(diagonal_of(H)))
    if not (smallest > 0.0 and smallest * smallest > H.shape[0] * spacing(H) * top):
        return None
    return L


def _errors_of(H: Array) -> Any:
    """Return a context in which CuPy raises for an indefinite matrix: left alone it returns half a factor."""
    if not is_cupy_array(H):
        return contextlib.nullcontext()
    import cupyx

    return cupyx.errstate(linalg="raise")


def cholesky_solve(L: Array, b: Array) -> Array:
    """Return x with L L' x = b.

    Parameters
    ----------
    L : Array of shape (p, p)
        Lower triangular.
    b : Array of shape (p,)

    Returns
    -------
    Array of shape (p,)
    """
    if type(L) is np.ndarray:
        return scipy.linalg.lapack.dpotrs(L, b, lower=1)[0]
    if is_cupy_array(L):
        from cupyx.scipy.linalg import solve_triangular

        # cuBLAS reads columns: of L itself CuPy would make a copy for each solve
        U: Any = namespace(L).matrix_transpose(L)
        y = solve_triangular(U, b, lower=False, trans=1)
        return solve_triangular(U, y, lower=False)
    xp = array_namespace(L)
    y = xp.linalg.solve(L, b[:, None])
    return xp.linalg.solve(xp.matrix_transpose(L), y)[:, 0]


@dataclass(frozen=True, slots=True)
class PivotedQR:
    """A P = Q R for a NumPy float64 array A of shape (m, p), with Q' applied to one right-hand side.

    Attributes
    ----------
    R : ndarray of shape (k, p)
        Upper triangular (trapezoidal for m < p), k = min(m, p), Fortran order.
    qb : ndarray of shape (k,)
        The first k components of Q' b.
    perm : ndarray of shape (p,)
        Column j of A P is column perm[j] of A.
    rank : int
        Leading pivots above max(m, p) eps times the norm of their own column: that measure does not change when
        a column is rescaled.
    """

    R: np.ndarray
    qb: np.ndarray
    perm: np.ndarray
    rank: int


def pivoted_qr(A: np.ndarray, b: np.ndarray) -> PivotedQR:
    """Return the QR factorisation with column pivoting of A, and Q' b.

    Parameters
    ----------
    A : ndarray of shape (m, p)
        float64 and finite; kept.
    b : ndarray of shape (m,)

    Returns
    -------
    PivotedQR

    References
    ----------
    Businger and Golub (1965); LAPACK's dgeqp3 and dormqr, called directly because SciPy's wrapper costs more than
    the work for a curve of 100 points.
    """
    m, p = A.shape
    packed, perm, tau, _, _ = scipy.linalg.lapack.dgeqp3(A)
    qb = scipy.linalg.lapack.dormqr("L", "T", packed[:, : min(m, p)], tau, b[:, None], 64)[0][: min(m, p), 0]
    R = packed[: min(m, p)] * _upper_mask(min(m, p), p)
    rank, floor = 0, max(m, p) * 2.3e-16
    for k, pivot in enumerate(R.diagonal().tolist()):
        if not abs(pivot) > floor * scipy.linalg.blas.dnrm2(R[: k + 1, k]):
            break
        rank = k + 1
    return PivotedQR(R, qb, perm - 1, rank)


@lru_cache(maxsize=64)
def _upper_mask(k: int, p: int) -> np.ndarray:
    """Return ones on and above the diagonal, shape (k, p): cheaper to multiply by than `np.triu` is to call."""
    return np.asfortranarray(np.triu(np.ones((k, p))))


def solve_upper(R: np.ndarray, b: np.ndarray, transpose: bool = False) -> np.ndarray:
    """Return x with R x = b, or R' x = b, for an upper triangular R of shape (k, k) with no zero on its diagonal.

    Parameters
    ----------
    R : ndarray of shape (k, k)
        Entries below the diagonal are not read.
    b : ndarray of shape (k,) or (k, q)
    transpose : bool, default=False

    Returns
    -------
    ndarray, same shape as b
    """
    # not dtrtrs: OpenBLAS runs it on all threads whatever the size, 400 us for a 3 x 3 matrix on a busy machine
    if b.ndim == 1:
        return scipy.linalg.blas.dtrsv(R, b, trans=1 if transpose else 0)
    return scipy.linalg.blas.dtrsm(1.0, R, b, trans_a=1 if transpose else 0)
