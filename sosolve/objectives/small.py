"""Small data: the standardised columns are written down once, so that each pass is plain matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels.reference import finish_moments
from .basis import take_columns, widened, without_outliers
from .models import LinearModel
from .row_blocks import part

#: Most entries of X of which a standardised copy is kept: 1 MB in float64, in the second-level cache.
COPIED = 131_072


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
        self.scale: Any
        self._keep(np.empty((X.shape[1] + bool(fit_intercept), X.shape[0])), X.T)

    def _keep(self, rows: Any, columns: Any, origin: Any = 0.0) -> None:
        """Fill `rows`, shape (p, n), with the standardised columns, from those less their origin, and keep them."""
        d = self.n_features
        np.subtract(columns, (self.mean - origin)[:, None], out=rows[:d])
        rows[:d] /= self.scale[:, None]
        rows[d:] = 1.0
        self.rows, self.A = rows, rows.T

    @classmethod
    def standardised(
        cls, X: Any, weights: Any, strength: Any = 0.0, n_outputs: int = 1, fit_intercept: bool = True, moments=None
    ) -> LinearModel:
        """Return the model whose basis makes the curvature's diagonal about one, see `LinearModel.standardised`.

        The deviations from one row, of which the moments are formed, become the copy in place.
        """
        n, d = X.shape
        equal = weights.shape[0] == 1
        rows = np.empty((d + bool(fit_intercept), n))
        columns = rows[:d]
        shift = X[0 if equal else int(weights.argmax())].astype(np.float64) if fit_intercept else np.zeros(d)
        np.subtract(X.T, shift[:, None], out=columns)
        top = np.maximum(np.maximum.reduce(columns, axis=1), -np.minimum.reduce(columns, axis=1))
        ordinary = all(1e-140 < size < 1e140 or size == 0.0 for size in top.tolist())
        if moments is not None or not (ordinary and np.minimum.reduce(weights) > 0.0):
            return super().standardised(X, weights, strength, n_outputs, fit_intercept, moments)
        s = np.full(n, weights[0]) if equal else weights
        raw = finish_moments(shift, np.ones(d), columns @ s, (columns * columns) @ s, top, fit_intercept)
        mean, spread = without_outliers(X, weights, raw[0], raw[1], raw[2], fit_intercept)
        scale = widened(spread, strength)
        model = cls.__new__(cls)
        centre = mean if fit_intercept else None
        LinearModel.__init__(model, X, n_outputs, fit_intercept, centre, scale, (spread / scale) ** 2)
        model.raw_moments = raw
        if mean is raw[0]:
            model._keep(rows, columns, shift)
        else:  # deviations from an outlier have lost the digits of the others
            model._keep(rows, X.T)
        return model

    def restricted(self, index: Any) -> CopiedModel:
        """Return the model of some of the columns, see `LinearModel.restricted`."""
        columns = index[index < self.n_features]
        mean = self.mean[columns] if self.fit_intercept else None
        variance = None if self.variance is None else self.variance[columns]
        X = take_columns(self.X, columns)
        return CopiedModel(X, self.n_outputs, self.fit_intercept, mean, self.scale[columns], variance)

    def strengths(self, strength: Any) -> Any:
        """Return a ridge on the user's coefficients as strengths on the parameters, see `LinearModel.strengths`."""
        if not isinstance(strength, float):
            return super().strengths(strength)
        found, K = np.zeros(self.size), self.n_outputs
        found[: K * self.n_features].reshape(K, -1)[...] = (math.sqrt(strength) / self.scale) ** 2
        return found

    def _weights(self, theta: Any) -> Any:
        """Return the parameters as the columns of A want them: (p,) for one output, else (K, d + 1)."""
        if self.n_outputs == 1:
            return theta
        edge = self.n_outputs * self.n_features
        rows = np.empty((self.n_outputs, self.A.shape[1]))
        rows[:, : self.n_features] = theta[:edge].reshape(self.n_outputs, -1)
        rows[:, self.n_features :] = theta[edge:].reshape(self.n_outputs, -1)
        return rows

    def _flat(self, g: Any) -> Any:
        """Return the flat vector of `_weights`."""
        if self.n_outputs == 1:
            return g
        return np.concatenate([g[:, : self.n_features].reshape(-1), g[:, self.n_features :].reshape(-1)])

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
        if kernel == "normal_mv":
            return (arrays[0] * (self.A @ v)) @ self.A
        P, s = arrays
        U = self.A @ np.ascontiguousarray(self._weights(v).T)  # twice as fast as with the transposed view
        U -= np.sum(P * U, axis=1)[:, None]  # in the order of `softmax_curv_mv`: the trust region feels the rounding
        U *= P
        U *= s[:, None]
        return self._flat(U.T @ self.A)

    def fused(self, kernel: str, theta: Any, y: Any, weights: Any, options: tuple) -> tuple[float, Any, Any, Any]:
        """Return (value, z, curvature rows, gradient) by the named fused kernel."""
        self.counts.n_passes += 1
        value, z, curv, g, _ = getattr(self.kernels, kernel)(self.A, y, weights, self._weights(theta), None, *options)
        return value, z, curv, self._flat(g)

    def gram(self, blocks: Any, rows: float = 1.0) -> Any:
        """Return sum over outputs of J' diag(h_kl) J, shape (p, p), from all rows: a sample would save nothing."""
        K, blocks = self.n_outputs, list(blocks)
        self.counts.n_passes += len(blocks)
        if K == 1:
            return (self.rows * blocks[0][2]) @ self.A
        tiles = np.empty((K, K, self.A.shape[1], self.A.shape[1]))
        if len(blocks) * self.A.size <= COPIED:
            first, second, h = (list(part) for part in zip(*blocks, strict=True))
            G = (np.stack(h)[:, None, :] * self.rows) @ self.A
            tiles[first, second] = G
            tiles[second, first] = G
        else:
            for k, other, h in blocks:
                tiles[k, other] = tiles[other, k] = (self.rows * h) @ self.A
        place = self._flat(np.arange(self.size).reshape(K, -1))
        return tiles.transpose(0, 2, 1, 3).reshape(self.size, self.size)[place[:, None], place]

    def diagonal(self, h: Any) -> Any:
        """Return the diagonal of J' H J, shape (p,), from the diagonal h of H by rows, same shape as z; one pass."""
        self.counts.n_passes += 1
        h = h if h.ndim == 2 else h[:, None]
        return self._from_rows(h.T @ self.A**2)


def suits(X: Any) -> bool:
    """Return whether X is a small NumPy array of ordinary numbers, of which a copy is worth its memory."""
    if not isinstance(X, np.ndarray) or not 0 < X.size <= COPIED:
        return False
    low, high = float(np.minimum.reduce(X, axis=None)), float(np.maximum.reduce(X, axis=None))
    return low > -4e307 and high < 4e307  # no difference of two entries overflows
