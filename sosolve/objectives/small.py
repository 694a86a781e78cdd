"""Small data: the standardised columns are written down once, so that each pass is plain matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.reference import finish_moments
from .basis import take_columns
from .models import LinearModel
from .row_blocks import part

#: Most entries of X of which a standardised copy is kept: 1 MB in float64, in the second-level cache.
COPIED = 131_072
#: Multiply-adds of a matrix product up to which OpenBLAS uses one thread.
ONE_THREAD = 262_144


class CopiedModel(LinearModel):
    """A linear model that keeps A = ((X - mean) / scale, 1), shape (n, d + 1), and multiplies by it.

    The same parameters, predictors and products as :class:`LinearModel`. With a few hundred rows the calls of array
    functions cost more than the arithmetic, and this needs a third of them.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    n_outputs : int, default=1
    fit_intercept : bool, default=True
    mean, scale, variance : ndarray of shape (d,), optional
        As for :class:`LinearModel`.
    """

    def __init__(self, X: Any, n_outputs: int = 1, fit_intercept: bool = True, mean=None, scale=None, variance=None):
        super().__init__(X, n_outputs, fit_intercept, mean, scale, variance)
        self.mean: Any
        n, d = X.shape
        self.A = np.empty((n, d + bool(fit_intercept)))
        columns = self.A[:, :d]
        np.subtract(X, self.mean, out=columns)
        columns /= self.scale
        if fit_intercept:
            self.A[:, d] = 1.0

    @staticmethod
    def _moments(X: Any, weights: Any, centre: bool) -> tuple[Any, Any, Any]:
        """Return mean, spread and reach of the columns, see `kernels.reference.moments`; fast where nothing odd is."""
        n, d = X.shape
        shift = X[0].astype(np.float64) if centre else np.zeros(d)
        deviation = X - shift
        top = np.maximum(deviation.max(axis=0), -deviation.min(axis=0))
        if weights.shape[0] != 1 or not bool(((top == 0.0) | ((top > 1e-140) & (top < 1e140))).all()):
            return LinearModel._moments(X, weights, centre)
        s = np.full(n, weights[0])
        first = s @ deviation
        deviation *= deviation
        return finish_moments(shift, np.ones(d), first, s @ deviation, top, centre)

    def restricted(self, index: Any) -> CopiedModel:
        """Return the model of some of the columns, see `LinearModel.restricted`."""
        columns = index[index < self.n_features]
        mean = self.mean[columns] if self.fit_intercept else None
        variance = None if self.variance is None else self.variance[columns]
        X = take_columns(self.X, columns)
        return CopiedModel(X, self.n_outputs, self.fit_intercept, mean, self.scale[columns], variance)

    def _weights(self, theta: Any) -> Any:
        """Return the parameters as the columns of A want them: (p,) for one output, else (K, d + 1)."""
        return theta if self.n_outputs == 1 else self._as_rows(theta)

    def _flat(self, g: Any) -> Any:
        """Return the flat vector of `_weights`."""
        return g if self.n_outputs == 1 else self._from_rows(g)

    def forward(self, theta: Any, rows: tuple[int, int] | None = None) -> Any:
        """Return z, shape (n,) or (n, K), or a range of its rows."""
        self._counted(rows)
        return part(self.A, rows) @ self._weights(theta).T

    def backward(self, r: Any, rows: tuple[int, int] | None = None) -> Any:
        """Return J' r, shape (p,), for rows r of the shape of z, or for a range of them."""
        self._counted(rows)
        return self._flat(r.T @ part(self.A, rows))

    def normal_mv(self, kernel: str, arrays: tuple[Any, ...], v: Any) -> Any:
        """Return J' H J v by the named fused kernel, whose arrays describe H."""
        self.counts.n_passes += 1
        if kernel != "softmax_normal_mv":
            g, _ = getattr(self.kernels, kernel)(self.A, *arrays, self._weights(v), 0.0)
            return self._flat(g)
        P, s = arrays
        U = self.A @ np.ascontiguousarray(self._weights(v).T)  # twice as fast as with the transposed view
        U -= np.sum(P * U, axis=1)[:, None]  # in the order of `softmax_curv_mv`: the trust region feels the rounding
        U *= P
        U *= s[:, None]
        return self._flat(U.T @ self.A)

    def fused(self, kernel: str, theta: Any, y: Any, weights: Any, options: tuple) -> tuple[float, Any, Any, Any]:
        """Return (value, z, curvature rows, gradient) by the named fused kernel."""
        self.counts.n_passes += 1
        value, z, curv, g, _ = getattr(self.kernels, kernel)(self.A, y, weights, self._weights(theta), 0.0, *options)
        return value, z, curv, self._flat(g)

    def gram(self, blocks: Any, rows: float = 1.0) -> Any:
        """Return sum over outputs of J' diag(h_kl) J, shape (p, p), from all rows: a sample would save nothing."""
        K = self.n_outputs
        if K == 1:
            self.counts.n_passes += 1
            ((_, _, h),) = blocks
            return self._weighted(h)
        d = self.n_features
        order = np.arange(K)[:, None] * d + np.arange(d)
        if self.fit_intercept:
            order = np.concatenate([order, K * d + np.arange(K)[:, None]], axis=1)
        H = np.empty((self.size, self.size))
        for k, other, h in blocks:
            self.counts.n_passes += 1
            G = self._weighted(h)
            H[np.ix_(order[k], order[other])] = G
            H[np.ix_(order[other], order[k])] = G
        return H

    def _weighted(self, h: Any) -> Any:
        """Return A' diag(h) A, in products that BLAS does on the calling thread: waking others costs more."""
        A, (n, p) = self.A, self.A.shape
        B = h[:, None] * A
        rows = ONE_THREAD // (p * p)
        if n <= rows or n > 4 * rows:
            return A.T @ B
        G = A[:rows].T @ B[:rows]
        for k in range(rows, n, rows):
            G += A[k : k + rows].T @ B[k : k + rows]
        return G

    def diagonal(self, h: Any) -> Any:
        """Return the diagonal of J' H J, shape (p,), from the diagonal h of H by rows, same shape as z; one pass."""
        self.counts.n_passes += 1
        h = h if h.ndim == 2 else h[:, None]
        return self._from_rows(h.T @ self.A**2)


def suits(X: Any) -> bool:
    """Return whether X is a small NumPy array of ordinary numbers, of which a copy is worth its memory."""
    if not isinstance(X, np.ndarray) or not 0 < X.size <= COPIED:
        return False
    return float(X.min()) > -4e307 and float(X.max()) < 4e307  # no difference of two entries overflows
