"""Preconditioners v -> M^-1 v built from a `Curvature`: M resembles H and is cheap to invert."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace, device

from ..linalg import cholesky, cholesky_solve
from ..protocols import Array, Curvature

Preconditioner = Callable[[Array], Array]


class Jacobi:
    """M = diag(H), with 1 in place of entries that are not positive.

    There is no floor relative to the largest entry: each parameter has units of its own, and the curvature of a
    column with one far outlier is rightly many orders of magnitude below that of the intercept.

    Parameters
    ----------
    diagonal : Array of shape (p,)
    """

    def __init__(self, diagonal: Array):
        xp = array_namespace(diagonal)
        self._inverse = 1.0 / xp.where(diagonal > 0.0, diagonal, xp.ones_like(diagonal))

    def __call__(self, v: Array) -> Array:
        """Return M^-1 v."""
        return self._inverse * v


class Cholesky:
    """M = H estimated from a sample of row blocks, plus the smallest multiple of its diagonal that is safe.

    Parameters
    ----------
    L : Array of shape (p, p)
        Lower Cholesky factor of the scaled matrix.
    scale : Array of shape (p,)
        M = diag(1 / scale) L L' diag(1 / scale).
    """

    def __init__(self, L: Array, scale: Array):
        self._L, self._scale = L, scale

    def __call__(self, v: Array) -> Array:
        """Return M^-1 v."""
        return self._scale * cholesky_solve(self._L, self._scale * v)


def make_preconditioner(
    kind: str, curvature: Curvature, rows: float, size: int = 0, dense_size: float = math.inf
) -> Preconditioner | None:
    """Return the preconditioner of one kind, None for "none".

    Parameters
    ----------
    kind : {"none", "rough", "kronecker", "strong", "jacobi", "cholesky"}
        "rough" is what the curvature offers without a pass over the data, "kronecker" what it offers from a sample of
        the rows; "strong" is "kronecker" where there is one, else "cholesky" up to `dense_size` parameters.
        Whatever cannot be had falls back to "jacobi".
    curvature : Curvature
    rows : float
        Fraction of the rows to sample, in (0, 1].
    size : int, default=0
        p, the number of parameters.
    dense_size : float, default=inf
        Most parameters for which "strong" may factorise a p x p matrix.

    Returns
    -------
    callable or None
    """
    if kind == "none":
        return None
    if kind in ("rough", "kronecker", "strong"):
        make = getattr(curvature, "rough_inverse", None)
        found: Any = make(0.0 if kind == "rough" else rows) if make else None
        if found is not None:
            return found
    if kind == "cholesky" or (kind == "strong" and size <= dense_size and getattr(curvature, "dense", None)):
        found = _sampled_cholesky(curvature.dense(rows), rows)
        if found is not None:
            return found
    return Jacobi(curvature.diag())


def _sampled_cholesky(H: Array, rows: float) -> Cholesky | None:
    """Return the preconditioner from a sampled matrix, None where it has no safe factor."""
    xp = array_namespace(H)
    diagonal = xp.linalg.diagonal(H)
    if not (float(xp.min(diagonal)) > 0.0 and bool(xp.all(xp.isfinite(diagonal)))):
        return None
    scale = 1.0 / xp.sqrt(diagonal)
    scaled = H * scale[:, None] * scale[None, :]
    # 1e-3: directions that the sample misses keep a thousandth of their own diagonal, so that M^-1 never blows noise
    # up by more than that.
    eye = xp.eye(H.shape[0], dtype=H.dtype, device=device(H))
    L = cholesky(scaled + 1e-3 * (1.0 - rows) * eye)
    return None if L is None else Cholesky(L, scale)


KINDS = ("auto", "none", "jacobi", "kronecker", "cholesky")
