"""Fewer rows than columns: the same problem in n variables instead of d."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from .models import LinearModel

#: Most rows for which the n x n algebra, O(n^2 d) once, is cheaper than passes over X, and fewest columns for which
#: it is worth the trouble.
THIN_ROWS, THIN_COLUMNS = 1500, 500
#: Largest ratio of column spreads for which the small columns survive in X X' (its rounding is eps times the square).
THIN_SPREAD = 1e5


class ThinModel(LinearModel):
    """A linear model under a uniform ridge, expressed in the row space of X.

    With X_c = X - 1 mean' and X_c X_c' = U S U', the ridge solution is w = X_c' U S^(-1/2) u, and
    z = X_c w + b = U S^(1/2) u + b with |w| = |u|. So the data become the n x r matrix L = U S^(1/2), the penalty
    keeps its strength, and any solver works on r <= n variables. X is read twice: for X_c X_c' and for w.

    Parameters
    ----------
    X : ndarray of shape (n, d) or CSR
        n < d.
    weights : ndarray of shape (n,) or (1,)
        Sum to 1 over the rows.
    strength : float
        Ridge on w, > 0, the same for each coefficient.
    n_outputs : int
    fit_intercept : bool
    """

    def __init__(self, X: Any, weights: Any, strength: float, n_outputs: int, fit_intercept: bool):
        n, d = X.shape
        self.data = X
        spread = np.broadcast_to(weights, (n,))
        self.centre = np.asarray(X.T @ spread).ravel() if fit_intercept else np.zeros(d)
        values, U = np.linalg.eigh(self._row_gram())
        kept = values > max(values[-1], 0.0) * n * np.finfo(np.float64).eps
        root = np.sqrt(values[kept])
        self.back = U[:, kept] / root
        L: Any = np.ascontiguousarray(U[:, kept] * root)
        base = LinearModel.standardised(L, weights, strength, n_outputs, fit_intercept)
        super().__init__(L, n_outputs, fit_intercept, base.mean if fit_intercept else None, base.scale, base.variance)
        self.counts.n_passes += 1

    def _row_gram(self) -> np.ndarray:
        """Return X_c X_c', shape (n, n), in float64."""
        X, centre = self.data, self.centre
        if scipy.sparse.issparse(X):
            X = X.astype(np.float64)
            product = (X @ X.T).toarray()
            cross = np.asarray(X @ centre)
            return product - cross[:, None] - cross[None, :] + centre @ centre
        G = np.zeros((X.shape[0], X.shape[0]))
        for start in range(0, X.shape[1], 2048):  # columns by blocks: no centred copy of X
            block = X[:, start : start + 2048] - centre[start : start + 2048]
            G += block @ block.T
        return G

    def coefficients(self, theta: Any) -> tuple[Any, Any]:
        """Return (coef, intercept) in the user's units, shapes (K, d) and (K,); reads X once."""
        u, b = super().coefficients(theta)
        a = u @ self.back.T
        coef = np.asarray((self.data.T @ a.T).T) - a.sum(axis=1)[:, None] * self.centre
        return coef, b - coef @ self.centre

    def theta(self, coef: Any, intercept: Any) -> Any:
        """Return the parameters of the projection of the coefficients on the row space of X."""
        centred = np.asarray(self.data @ coef.T) - coef @ self.centre
        return super().theta(centred.T @ self.back, intercept + coef @ self.centre)

    def _raw(self, theta: Any) -> tuple[Any, Any]:
        u, b = super().coefficients(theta)
        return (u[0, :], b[0]) if self.n_outputs == 1 else (u, b)


def pays(X: Any, strength: float) -> bool:
    """Return whether the n x n algebra is right and cheaper for this X: n < d, a ridge, columns of similar units."""
    n, d = X.shape
    if not (n < d and n <= THIN_ROWS and d >= THIN_COLUMNS and strength > 0.0):
        return False
    highest, lowest = X.max(axis=0), X.min(axis=0)
    if scipy.sparse.issparse(X):
        highest, lowest = highest.toarray().ravel(), lowest.toarray().ravel()
    tops = np.maximum(highest, -lowest)
    used = tops[tops > 0.0]
    return bool(len(used)) and float(used.max()) < THIN_SPREAD * float(used.min()) and float(used.max()) < 1e100
