"""Models: from parameters to the predictors z. The intercept lives here and nowhere else."""

from __future__ import annotations

from types import ModuleType
from typing import Any, cast

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from ..kernels import kernels_for
from ..protocols import Array, Counts
from .basis import sample_blocks, sampled_sum, take_columns, widened, without_outliers
from .linear_map import LinearMap
from .rough import Kronecker, from_gram, from_variance

#: Most columns for which a dense d x d matrix serves as a preconditioner.
ROUGH_SIZE = 512


class LinearModel:
    """z = X w + b, with parameters in a standardised basis.

    The flat parameter vector holds v = w scale, K rows of d, and then (with an intercept) c = b + w . mean, K
    numbers: z = ((X - mean) / scale) v + c without ever forming that matrix. Equivalent to the user's basis for
    any mean and scale; a ridge of strength alpha on w becomes alpha / scale^2 on v.

    Parameters
    ----------
    X : array of shape (n, d), or scipy.sparse CSR
        float32 or float64; never copied, never changed.
    n_outputs : int, default=1
        K. One output gives z the shape (n,).
    fit_intercept : bool, default=True
    mean, scale : Array of shape (d,), optional
        float64; 0 and 1 where None. Without an intercept the mean must be None.
    variance : Array of shape (d,), optional
        Mean square of the columns in the basis, where known: saves passes when only a rough diagonal is wanted.

    Attributes
    ----------
    size : int
        K (d + 1), or K d without an intercept.
    counts : Counts
        Passes over X.
    raw_moments : tuple of Array, or None
        Mean, spread and reach of the columns of X, as `kernels.reference.moments` returns them, where known; with a
        basis from a sample twice the spread there and 1e100.
    """

    raw_moments: tuple[Array, Array, Array] | None = None

    def __init__(
        self,
        X: Array,
        n_outputs: int = 1,
        fit_intercept: bool = True,
        mean: Array | None = None,
        scale: Array | None = None,
        variance: Array | None = None,
    ):
        self.X, self.n_outputs, self.fit_intercept = X, n_outputs, fit_intercept
        self.n_rows, self.n_features = X.shape
        self.kernels: ModuleType = kernels_for(X)
        data: Any = X if is_array_api_obj(X) else cast(Any, X).data  # CSR, and rows that are streamed
        self.xp = xp = array_namespace(data)
        where = {"dtype": xp.float64, "device": device(data)}
        self.mean = xp.zeros(self.n_features, **where) if mean is None else mean
        self.scale = xp.ones(self.n_features, **where) if scale is None else scale
        self.variance = variance
        self.size = n_outputs * (self.n_features + bool(fit_intercept))
        self.counts = Counts()

    @classmethod
    def standardised(
        cls,
        X: Array,
        weights: Array,
        strength: Array | float = 0.0,
        n_outputs: int = 1,
        fit_intercept: bool = True,
        moments: tuple[Array, Array] | None = None,
    ) -> LinearModel:
        """Return the model whose basis makes the curvature's diagonal about one.

        scale^2 = var(x) + strength: the standard deviation of the column (root mean square without an intercept),
        widened by its ridge so that a column whose ridge outweighs its data stays representable. Constant columns
        without a ridge get scale 1.

        Parameters
        ----------
        X : array of shape (n, d), or CSR
        weights : Array of shape (n,) or (1,)
            Sum to 1 over the rows.
        strength : float or Array of shape (d,)
            Ridge in the units of the user's coefficients.
        n_outputs, fit_intercept
            As for the class.
        moments : tuple of Array, shapes (d,), optional
            Mean and deviation of the columns, as `moments_of_sample` estimates them: they save a pass over X, and the
            basis is equivalent for any centre and scale.
        """
        if moments is None:
            mean, spread, reach = raw = cls._moments(X, weights, bool(fit_intercept))
            if is_array_api_obj(X):
                mean, spread = without_outliers(X, weights, mean, spread, reach, bool(fit_intercept))
        else:
            # Bounds for those who need them: twice the estimated deviation, and a reach that nothing exceeds.
            mean, spread = moments
            raw = (mean, 2.0 * spread, 0.0 * spread + 1e100)
        scale = widened(spread, strength)
        model = cls(X, n_outputs, fit_intercept, mean if fit_intercept else None, scale, (spread / scale) ** 2)
        model.raw_moments = raw
        return model

    @property
    def follows_bulk(self) -> bool:
        """Whether the basis is that of the bulk of the rows in some column, see `without_outliers`."""
        if self.raw_moments is None or self.variance is None or self.raw_moments[0] is self.mean:
            return False
        bulk = self.scale * self.xp.sqrt(self.variance)
        return bool(self.xp.any((self.raw_moments[1] > 100.0 * bulk) & (bulk > 0.0)))

    @staticmethod
    def _moments(X: Array, weights: Array, centre: bool) -> tuple[Array, Array, Array]:
        """Return mean, spread and reach of the columns, see `kernels.reference.moments`."""
        return kernels_for(X).moments(X, weights, centre)

    def rescaled(self, strength: Array | float) -> LinearModel:
        """Return the model of the same data and centre in the scale of another ridge, without a pass over X.

        Parameters
        ----------
        strength : float or Array of shape (d,)
            As for `standardised`, which this model must come from.
        """
        spread, scale = self._rescaled(strength)
        mean = self.mean if self.fit_intercept else None
        model = type(self)(self.X, self.n_outputs, self.fit_intercept, mean, scale, (spread / scale) ** 2)
        model.raw_moments = self.raw_moments
        return model

    def _rescaled(self, strength: Array | float) -> tuple[Any, Any]:
        """Return the spread of the columns and their scale under another ridge."""
        spread = self.xp.sqrt(self.variance) * self.scale
        return spread, widened(spread, strength)

    def of_rows(self, rows: Any, weights: Array, strength: Array | float) -> LinearModel:
        """Return the standardised model of some of the rows.

        Parameters
        ----------
        rows : Array of int, shape (m,)
        weights : Array of shape (m,) or (1,)
            Sum to 1 over these rows.
        strength : float or Array of shape (d,)
        """
        return type(self).standardised(self.X[rows], weights, strength, self.n_outputs, self.fit_intercept)

    def units(self) -> Array:
        """Return the factors, shape (p,), from w and c = b + w . mean to the parameters."""
        rows = self.xp.broadcast_to(self.scale[None, :], (self.n_outputs, self.n_features))
        return self._join(rows, self.xp.ones(self.n_outputs, dtype=self.scale.dtype, device=device(self.scale)))

    # ------------------------------------------------------------------ bases

    def _split(self, theta: Array) -> tuple[Array, Array]:
        """Return v as (K, d) and c as (K,), c = 0 without an intercept."""
        K, d = self.n_outputs, self.n_features
        v = self.xp.reshape(theta[: K * d], (K, d))
        c = theta[K * d :] if self.fit_intercept else self.xp.zeros(K, dtype=theta.dtype, device=device(theta))
        return v, c

    def _join(self, v: Array, c: Array) -> Array:
        """Return the flat vector of v, (K, d), and c, (K,)."""
        flat = self.xp.reshape(v, (-1,))
        return self.xp.concat([flat, c]) if self.fit_intercept else flat

    def coefficients(self, theta: Array) -> tuple[Array, Array]:
        """Return (coef, intercept) in the user's units, shapes (K, d) and (K,)."""
        v, c = self._split(theta)
        coef = v / self.scale
        return coef, c - coef @ self.mean

    def theta(self, coef: Array, intercept: Array) -> Array:
        """Return the flat parameters of coefficients in the user's units: the inverse of `coefficients`."""
        return self._join(coef * self.scale, intercept + coef @ self.mean)

    def strengths(self, strength: Array | float) -> Array:
        """Return a ridge on the user's coefficients as strengths on the parameters, shape (p,); 0 on intercepts."""
        xp = self.xp
        ridge = (xp.sqrt(strength + xp.zeros_like(self.scale)) / self.scale) ** 2
        rows = xp.broadcast_to(ridge[None, :], (self.n_outputs, self.n_features))
        return self._join(rows, xp.zeros(self.n_outputs, dtype=ridge.dtype, device=device(ridge)))

    def closure(self, wanted: Array) -> Array:
        """Return the wanted parameters, booleans of shape (p,), all outputs of their columns, and the intercepts."""
        xp = self.xp
        columns, _ = self._split(wanted)
        rows = xp.broadcast_to(xp.any(columns, axis=0)[None, :], columns.shape)
        return self._join(rows, xp.ones(self.n_outputs, dtype=xp.bool))

    def restricted(self, index: Array) -> LinearModel:
        """Return the model of some of the columns, the coefficients of the others being zero.

        Parameters
        ----------
        index : int Array
            Increasing, of parameters closed under `closure`.
        """
        columns = index[index < self.n_features]
        X = take_columns(self.X, columns)
        mean = self.mean[columns] if self.fit_intercept else None
        variance = None if self.variance is None else self.variance[columns]
        model = LinearModel(X, self.n_outputs, self.fit_intercept, mean, self.scale[columns], variance)
        if hasattr(X, "indptr"):
            model.kernels = self.kernels  # compiled ones are there already, and products of sparse matrices slow
        return model

    def _raw(self, theta: Array) -> tuple[Array, Array]:
        """Return what the kernels take: (w, b), of shapes (d,) and () for one output."""
        coef, intercept = self.coefficients(theta)
        return (coef[0, :], intercept[0]) if self.n_outputs == 1 else (coef, intercept)

    def _pull_back(self, g: Array, total: Array) -> Array:
        """Return the gradient by the parameters from (X'r, sum r)."""
        K = self.n_outputs
        g = self.xp.reshape(g, (K, self.n_features))
        total = self.xp.reshape(self.xp.asarray(total), (K,))
        if type(g) is np.ndarray:  # fresh from a kernel: with a million parameters temporaries cost more than a pass
            g -= total[:, None] * self.mean[None, :]
            g /= self.scale
            return self._join(g, total)
        return self._join((g - total[:, None] * self.mean[None, :]) / self.scale, total)

    # ------------------------------------------------------------------ products, one pass each

    def at(self, theta: Array) -> LinearMap:
        """Return the model at one parameter vector."""
        return LinearMap(self, theta)

    def forward(self, theta: Array, rows: tuple[int, int] | None = None) -> Array:
        """Return z, shape (n,) or (n, K), or a range of its rows; linear in theta: it serves for directions too."""
        return self.kernels.linear(self.X, *self._raw(theta), *self._counted(rows))

    def backward(self, r: Array, rows: tuple[int, int] | None = None) -> Array:
        """Return J' r, shape (p,), for rows r of the shape of z, or for a range of them."""
        return self._pull_back(*self.kernels.transposed(self.X, r, *self._counted(rows)))

    def _counted(self, rows: tuple[int, int] | None) -> tuple:
        """Return what a kernel takes for a range of the rows; the range that begins with the first row counts."""
        self.counts.n_passes += rows is None or rows[0] == 0
        return () if rows is None else (rows,)

    def normal_mv(self, kernel: str, arrays: tuple[Array, ...], v: Array) -> Array:
        """Return J' H J v by the named fused kernel, whose arrays describe H."""
        self.counts.n_passes += 1
        return self._pull_back(*getattr(self.kernels, kernel)(self.X, *arrays, *self._raw(v)))

    def fused(
        self, kernel: str, theta: Array, y: Array, weights: Array, options: tuple
    ) -> tuple[float, Array, Array, Array]:
        """Return (value, z, curvature rows, gradient) by the named fused kernel."""
        self.counts.n_passes += 1
        found = getattr(self.kernels, kernel)(self.X, y, weights, *self._raw(theta), *options)
        value, z, curv, g, total = found
        return value, z, curv, self._pull_back(g, total)

    def rowless(self, kernel: str, theta: Array, y: Array, weights: Array, *options: Any) -> tuple[float, Any, Array]:
        """Return (value, sum of the curvatures, gradient) by the named kernel, which keeps nothing of size n."""
        self.counts.n_passes += 1
        value, total_h, g, total = getattr(self.kernels, kernel)(self.X, y, weights, *self._raw(theta), *options)
        return value, total_h, self._pull_back(g, total)

    # ------------------------------------------------------------------ matrices

    def gram(self, blocks, rows: float = 1.0) -> Array:
        """Return sum over outputs of J' diag(h_kl) J, shape (p, p).

        Parameters
        ----------
        blocks : iterable of (k, l, h)
            As `Loss.blocks` yields them, k <= l.
        rows : float, default=1
            Fraction of the rows to estimate it from: evenly spread blocks, one drawn at random (fixed seed) from
            each stratum, scaled so that sum(h) is kept.
        """
        xp, K = self.xp, self.n_outputs
        sample = sample_blocks(self.n_rows, rows)
        gram = self.kernels.gram if sample is None else getattr(self.kernels, "sampled_gram", self.kernels.gram)
        tiles: list[list[Any]] = [[None] * K for _ in range(K)]
        edges: dict[tuple[int, int], Array] = {}
        corners: dict[tuple[int, int], Array] = {}
        for k, other, h in blocks:
            self.counts.n_passes += sample is None
            G, g = gram(self.X, h, self.mean, self.scale, sample)
            total = xp.sum(h, dtype=xp.float64)
            if sample is not None:
                seen = sampled_sum(h, sample)
                factor = float(total) / seen if seen else 1.0
                G, g = factor * G, factor * g
            tiles[k][other] = tiles[other][k] = G
            edges[k, other] = edges[other, k] = g
            corners[k, other] = corners[other, k] = total
        H = tiles[0][0] if K == 1 else xp.concat([xp.concat(row, axis=1) for row in tiles], axis=0)
        if not self.fit_intercept:
            return H
        edge = xp.concat([xp.stack([edges[k, m] for m in range(K)], axis=1) for k in range(K)], axis=0)
        corner = xp.stack([xp.stack([corners[k, m] for m in range(K)]) for k in range(K)])
        top = xp.concat([H, edge], axis=1)
        return xp.concat([top, xp.concat([xp.matrix_transpose(edge), corner], axis=1)], axis=0)

    def diagonal(self, h: Array) -> Array:
        """Return the diagonal of J' H J, shape (p,), from the diagonal h of H by rows, same shape as z; one pass."""
        self.counts.n_passes += 1
        h = h if h.ndim == 2 else h[:, None]
        squares, totals = self.kernels.diagonal(self.X, h, self.mean, self.scale)
        return self._join(squares, totals)

    def rough_inverse(self, S: Array, weights: Array, rows: float, ridge: Array | None) -> Kronecker | None:
        """Return the inverse of S (x) G + diag(ridge), see `rough`.

        Parameters
        ----------
        S : Array of shape (K, K)
            Curvature of the loss summed over the rows.
        weights : Array of shape (n,) or (1,)
            Sum to 1 over the rows.
        rows : float
            Fraction of the rows to estimate G from; 0 takes the variances of the columns alone.
        ridge : Array of shape (p,) or None
            Averaged over the outputs.

        Returns
        -------
        Kronecker or None
            None where the variances are unknown, a dense G would be too large, or there is one output (then the matrix
            itself is no dearer).
        """
        xp, K = self.xp, self.n_outputs
        if self.variance is None or (rows > 0.0 and (K == 1 or self.n_features > ROUGH_SIZE)):
            return None
        none = xp.zeros(self.size, dtype=self.scale.dtype, device=device(self.scale))
        mean_ridge = xp.sum(self._as_rows(none if ridge is None else ridge), axis=0) / K
        if rows > 0.0:
            s = xp.broadcast_to(weights, (self.n_rows,))
            sample = sample_blocks(self.n_rows, rows)
            self.counts.n_passes += sample is None
            G, _ = self.kernels.gram(self.X, s, self.mean, self.scale, sample)
            if sample is not None:
                G = G / max(sampled_sum(s, sample), 1e-300)
            if self.fit_intercept:
                G = xp.concat([G, xp.zeros((G.shape[0], 1), dtype=G.dtype, device=device(G))], axis=1)
                last = xp.eye(G.shape[1], dtype=G.dtype, device=device(G))[-1:, :]
                G = xp.concat([G, last], axis=0)
            T, delta = from_gram(G, mean_ridge)
        else:
            one = xp.ones(1, dtype=self.scale.dtype, device=device(self.scale))
            variance = xp.concat([self.variance, one]) if self.fit_intercept else self.variance
            T, delta = from_variance(variance, mean_ridge)
        return Kronecker(S, T, delta, self._as_rows, self._from_rows)

    def _as_rows(self, theta: Array) -> Array:
        """Return flat parameters as (K, d), or (K, d + 1) with the intercepts last."""
        v, c = self._split(theta)
        return self.xp.concat([v, c[:, None]], axis=1) if self.fit_intercept else v

    def _from_rows(self, rows: Array) -> Array:
        """Return the flat parameters of `_as_rows`."""
        d = self.n_features
        return self._join(rows[:, :d], rows[:, d]) if self.fit_intercept else self._join(rows, rows[:, 0])
