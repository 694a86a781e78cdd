"""Dense factorisations of small arrays for every array library; failure is a value, never an exception.

A factorisation on a GPU does not raise, so nothing here does either: callers test what comes back.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from array_api_compat import array_namespace, is_numpy_array

from .protocols import Array


def dot(a: Array, b: Array) -> float:
    """Return the inner product of two arrays of shape (p,) as a Python float."""
    return float(a @ b)


def norm(a: Array) -> float:
    """Return the Euclidean norm of an array of shape (p,), safe against overflow and underflow."""
    top = max_abs(a)
    if not (0.0 < top < np.inf):
        return top
    scaled = a / top
    return top * float(scaled @ scaled) ** 0.5


def max_abs(a: Array) -> float:
    """Return the largest absolute component of an array, NaN if one is NaN, 0 for an empty one."""
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
    xp = array_namespace(H)
    if is_numpy_array(H):
        L, info = scipy.linalg.lapack.dpotrf(H, lower=1, clean=1)
        if info != 0:
            return None
    else:
        try:
            L = xp.linalg.cholesky(H)
        except Exception as error:  # each library has its own exception for an indefinite matrix
            if "LinAlgError" in type(error).__name__:
                return None
            raise
    pivots = xp.linalg.diagonal(L)
    smallest, top = float(xp.min(pivots)), float(xp.max(xp.linalg.diagonal(H)))
    eps = float(xp.finfo(H.dtype).eps)
    if not (0.0 < smallest and smallest * smallest > H.shape[0] * eps * top):
        return None
    return L


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
    if is_numpy_array(L):
        return scipy.linalg.lapack.dpotrs(L, b, lower=1)[0]
    xp = array_namespace(L)
    y = xp.linalg.solve(L, b[:, None])
    return xp.linalg.solve(xp.matrix_transpose(L), y)[:, 0]
