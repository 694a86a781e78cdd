"""Fewer rows than columns: the same problem in n variables instead of d."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse
from array_api_compat import array_namespace, device, is_array_api_obj

from .models import LinearModel

#: Most rows for which the n x n algebra, O(n^2 d) once, is cheaper than passes over X, and fewest columns for which
#: it is worth the trouble.
THIN_ROWS, THIN_COLUMNS = 1500, 500
#: Entries of X in a block of columns, at least 64 of them: two megabytes.
BLOCK = 262_144
#: Sum of squares over that about the means up to which X X' is centred after the product.
CANCELLED = 8.0
#: Largest ratio of column spreads for which the small columns survive in X X' (its rounding is eps times the square).
THIN_SPREAD = 1e5


class ThinModel(LinearModel):
    """A linear model under a uniform ridge, expressed in the row space of X.

    With X_c = X - 1 mean' and X_c X_c' = U S U', the ridge solution is w = X_c' U S^(-1/2) u, and
    z = X_c w + b = U S^(1/2) u + b with |w| = |u|. So the data become the n x r matrix L = U S^(1/2), the penalty
    keeps its strength, and any solver works on r <= n variables. X is read twice: for X_c X_c' and for w.

    Parameters
    ----------
    X : array of shape (n, d), or CSR
        n < d.
    weights : Array of shape (n,) or (1,)
        Sum to 1 over the rows.
    strength : float
        Ridge on w, > 0, the same for each coefficient.
    n_outputs : int
    fit_intercept : bool
    """

    def __init__(self, X: Any, weights: Any, strength: float, n_outputs: int, fit_intercept: bool):
        n, d = X.shape
        self.data = X
        self.xp = xp = array_namespace(weights)
        self.where = {"dtype": xp.float64, "device": device(weights)}
        spread = xp.broadcast_to(weights, (n,))
        self.centre = self._pulled(spread[:, None])[0, :] if fit_intercept else xp.zeros(d, **self.where)
        values, U = xp.linalg.eigh(self._row_gram())
        kept = values > max(float(values[-1]), 0.0) * n * float(xp.finfo(xp.float64).eps)
        rank = int(xp.sum(xp.astype(kept, xp.int64)))  # they ascend
        root, U = xp.sqrt(values[n - rank :]), U[:, n - rank :]
        self.back = U / root
        L: Any = xp.asarray(U * root)
        base = LinearModel.standardised(L, weights, strength, n_outputs, fit_intercept)
        super().__init__(L, n_outputs, fit_intercept, base.mean if fit_intercept else None, base.scale, base.variance)
        self.raw_moments = base.raw_moments
        #: Bound on the eigenvalues of X_c X_c' that were taken for rounding.
        self.dropped = max(float(values[-1]), 0.0) * n * float(xp.finfo(xp.float64).eps)
        self.counts.n_passes += 1

    def _column_blocks(self) -> Iterator[tuple[slice, Any]]:
        """Yield columns of a dense X in float64 with their range: no copy of X."""
        d = self.data.shape[1]
        width = max(64, BLOCK // self.data.shape[0])
        for start in range(0, d, width):
            part = slice(start, min(start + width, d))
            yield part, self.xp.astype(self.data[:, part], self.xp.float64, copy=False)

    def _pulled(self, a: Any) -> Any:
        """Return (X' a)', shape (K, d), for a of shape (n, K)."""
        if scipy.sparse.issparse(self.data):
            return (self.data.T @ a).T
        return self.xp.concat([self.xp.matrix_transpose(a) @ block for _, block in self._column_blocks()], axis=1)

    def rescaled(self, strength: Any) -> ThinModel:
        """Return the model of the same data and factor in the scale of another ridge, without a pass over X."""
        spread, scale = self._rescaled(strength)
        other = copy.copy(self)
        other.scale, other.variance = scale, (spread / scale) ** 2
        return other

    def of_rows(self, rows: Any, weights: Any, strength: Any) -> ThinModel:
        """Return the standardised model of some of the rows of the factor: nothing is decomposed again.

        Under the ridge the coefficients of these rows lie in the row space of all.
        """
        base = LinearModel.standardised(self.X[rows], weights, strength, self.n_outputs, self.fit_intercept)
        other = copy.copy(self)
        for name in ("X", "n_rows", "mean", "scale", "variance", "raw_moments", "counts"):
            setattr(other, name, getattr(base, name))
        return other

    def _row_gram(self) -> Any:
        """Return X_c X_c', shape (n, n), in float64."""
        X, centre, n = self.data, self.centre, self.data.shape[0]
        if scipy.sparse.issparse(X):
            X = X.astype(np.float64)
            product = (X @ X.T).toarray()
            cross = X @ centre
            return product - cross[:, None] - cross[None, :] + centre @ centre
        whole = X if X.dtype == self.xp.float64 else None  # no copy, one product
        G = self.xp.zeros((n, n), **self.where) if whole is None else whole @ whole.T
        cross = self.xp.zeros(n, **self.where)
        for part, block in self._column_blocks():
            cross += block @ centre[part]
            G = G + block @ block.T if whole is None else G
        raw = float(self.xp.linalg.trace(G))
        G -= cross[:, None]
        G -= cross[None, :]
        G += centre @ centre
        if raw <= CANCELLED * float(self.xp.linalg.trace(G)):
            return G
        G = self.xp.zeros((n, n), **self.where)
        for part, block in self._column_blocks():
            centred = block - centre[part]
            G += centred @ centred.T
            del centred  # before there is another
        return G

    def coefficients(self, theta: Any) -> tuple[Any, Any]:
        """Return (coef, intercept) in the user's units, shapes (K, d) and (K,); reads X once."""
        u, b = super().coefficients(theta)
        a = u @ self.back.T
        coef = self._pulled(a.T) - self.xp.sum(a, axis=1)[:, None] * self.centre
        return coef, b - coef @ self.centre

    def theta(self, coef: Any, intercept: Any) -> Any:
        """Return the parameters of the projection of the coefficients on the row space of X."""
        if scipy.sparse.issparse(self.data):
            z = self.data @ coef.T
        else:
            z = sum(block @ coef[:, part].T for part, block in self._column_blocks())
        centred = z - coef @ self.centre
        return super().theta(centred.T @ self.back, intercept + coef @ self.centre)

    def _raw(self, theta: Any) -> tuple[Any, Any]:
        u, b = super().coefficients(theta)
        return (u[0, :], b[0]) if self.n_outputs == 1 else (u, b)


def pays(X: Any, strength: float) -> bool:
    """Return whether the n x n algebra is right and cheaper for this X: n < d, a ridge, columns of similar units."""
    n, d = X.shape
    if not (n < d and n <= THIN_ROWS and d >= THIN_COLUMNS and strength > 0.0):
        return False
    if not (scipy.sparse.issparse(X) or is_array_api_obj(X)):  # sparse or streamed on a device
        return False
    xp = np if scipy.sparse.issparse(X) else array_namespace(X)
    if scipy.sparse.issparse(X):
        highest, lowest = X.max(axis=0).toarray().ravel(), X.min(axis=0).toarray().ravel()
    else:
        highest, lowest = xp.max(X, axis=0), xp.min(X, axis=0)
    tops = xp.maximum(highest, -lowest)
    top, bottom = float(xp.max(tops)), float(xp.min(xp.where(tops > 0.0, tops, xp.max(tops))))
    return 0.0 < top < min(THIN_SPREAD * bottom, 1e100)
