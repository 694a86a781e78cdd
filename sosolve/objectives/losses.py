"""Losses: row-wise maths in sample space. A loss knows nothing of X, of parameters or of penalties.

`z` holds the linear predictors (or a curve's values): shape (n,) for one output, (n, K) for K. A loss of one
output needs `rows` alone, whose third result is then the second derivative; five lines make a new one, see
"Add a loss" in the documentation and `sosolve.testing.check_loss`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, cast

import numpy as np
from array_api_compat import array_namespace, device
from scipy.special import entr

from ..kernels import kernels_for
from ..kernels.losses import namespace
from ..protocols import Array
from . import square_roots

#: Probabilities that are weighted at a time: an eighth of a megabyte.
TOTALLED = 16_384
#: Outputs times probabilities up to which the blocks of a Hessian are formed together: a megabyte.
AT_ONCE = 131_072


class Loss:
    """Base of all losses; the defaults are right for any loss of one output.

    Attributes
    ----------
    n_outputs : int
        Columns of z; 1 means that z has shape (n,).
    exact : bool
        Whether the curvature is the true second derivative.
    fused : str
        Name of a kernel that yields value, gradient and curvature of a linear model in one pass; "" for none.
    fused_into : str
        Name of a kernel that takes, after the options, an array for the curvature, an offset or None, and whether to
        return z; "" for none.
    shared_dtype : str
        Of that array: single precision where the curvature keeps its relative accuracy when it is rounded.
    rowless : str
        Name of a kernel that yields value, sum of the curvatures and gradient and keeps no rows; "" for none.
    fused_mv : str
        Name of the kernel for its curvature products in one pass.
    is_invariant : bool
        Whether nothing changes when the same number is added to all columns of z.
    """

    n_outputs: int = 1
    exact: ClassVar[bool] = True
    fused: ClassVar[str] = ""
    fused_into: ClassVar[str] = ""
    shared_dtype: str = "float64"
    rowless: ClassVar[str] = ""
    fused_mv: ClassVar[str] = "normal_mv"
    is_invariant: bool = False

    def rows(self, y: Array, z: Array, w: Array) -> tuple[float, Array, Array]:
        """Return the weighted sum of the losses, its gradient and its curvature by rows.

        Parameters
        ----------
        y : Array of shape (n,)
            Targets.
        z : Array of shape (n,) or (n, K)
        w : Array of shape (n,) or (1,)
            Sample weights, to be multiplied into all three results.

        Returns
        -------
        float
            sum_i w_i l(y_i, z_i).
        Array, same shape as z
            w_i dl/dz_i.
        Array
            What `curv_mv` and `blocks` need; for one output w_i d2l/dz_i^2, >= 0, shape (n,).
        """
        raise NotImplementedError(f"{type(self).__name__} has no rows: define rows(y, z, w)")

    def rows_by(self, kernels: Any, y: Array, z: Array, w: Array) -> tuple[float, Array, Array]:
        """Return `rows` by the given kernels, where the loss has some of its own."""
        return self.rows(y, z, w)

    def options(self) -> tuple:
        """Return what the fused kernel takes after its arrays."""
        return ()

    def weights_for_mv(self, curv: Array, w: Array) -> tuple[Array, ...]:
        """Return the arrays that the fused curvature product takes after X."""
        return (curv,)

    def curv_mv(self, curv: Array, u: Array, w: Array) -> Array:
        """Return the curvature of the rows times u, same shape as z."""
        return curv * u

    def diag_rows(self, curv: Array, w: Array) -> Array:
        """Return the diagonal of the curvature of the rows, same shape as z."""
        return curv

    def total(self, curv: Array, w: Array) -> Array:
        """Return the curvature summed over the rows, shape (K, K)."""
        xp = array_namespace(curv)
        return xp.reshape(xp.sum(curv, dtype=xp.float64), (1, 1))

    def blocks(self, curv: Array, w: Array) -> Iterator[tuple[int, int, Array]]:
        """Yield (k, l, h): the (n,) weights of the block of the Hessian that couples outputs k <= l."""
        yield 0, 0, curv

    def root(self, curv: Array, w: Array) -> Array:
        """Return F of the rows, shape (n, m, K), with F' F their curvature, shape (K, K)."""
        return namespace(curv).sqrt(curv)[:, None, None]

    def drift(self, change: Array) -> float:
        """Return c >= 0 such that the curvature at z + change is at least exp(-c) times that at z; inf if unknown."""
        return math.inf


class LogisticLoss(Loss):
    """l = log(1 + exp(z)) - y z in nats, for y in {0, 1} (or between)."""

    fused = "logistic_linear"
    fused_into = "logistic_into"
    shared_dtype = "float32"  # a weight for each row: rounding it moves no row
    rowless = "logistic_gradient"

    def rows(self, y: Array, z: Array, w: Array) -> tuple[float, Array, Array]:
        """Return sum w l, w (sigmoid(z) - y), w sigmoid(z) (1 - sigmoid(z))."""
        return kernels_for(z).logistic_rows(y, z, w)

    def rows_by(self, kernels: Any, y: Array, z: Array, w: Array) -> tuple[float, Array, Array]:
        """Return `rows` by the given kernels."""
        return kernels.logistic_rows(y, z, w)

    def drift(self, change: Array) -> float:
        """Return max |change|: the logarithm of p (1 - p) has a slope of at most 1."""
        if type(change) is np.ndarray:
            return float(np.maximum.reduce(np.abs(change)))
        xp = array_namespace(change)
        return float(xp.max(xp.abs(change)))

    @staticmethod
    def ratio_drift(curv: Array, before: Array) -> float:
        """Return c >= 0 as `drift` does, from the curvatures themselves, NumPy's: log max before / curv.

        2e-7: rounding in single precision.
        """
        most, h, h0 = 1.0, cast(Any, curv), cast(Any, before)
        for start in range(0, h.shape[0], TOTALLED):
            after, old = h[start : start + TOTALLED], h0[start : start + TOTALLED]
            live = old > 0.0
            if not (after[live] > 0.0).all():
                return math.inf
            most = max(most, float((old[live] / after[live]).max(initial=0.0)))
        return math.log(most) + 2e-7

    def conjugate(self, y: Array, r: Array, w: Array) -> float:
        """Return sum w l*(r / w), the convex conjugate: sum w (u log u + (1 - u) log(1 - u)) with u = y + r / w.

        Infinite where a u lies outside [0, 1] by more than rounding.
        """
        xp = array_namespace(r)
        u = y + _shares(r, w)
        if float(xp.min(u)) < -1e-12 or float(xp.max(u)) > 1.0 + 1e-12:
            return math.inf
        return float(xp.sum(w * (_entropy(u) + _entropy(1.0 - u))))


class SquaredLoss(Loss):
    """l = (z - y)^2 / 2, in squared units of y."""

    fused = "squared_linear"

    def rows(self, y: Array, z: Array, w: Array) -> tuple[float, Array, Array]:
        """Return sum w l, w (z - y), w."""
        return kernels_for(z).squared_rows(y, z, w)

    def drift(self, change: Array) -> float:
        """Return 0: the curvature is constant."""
        return 0.0


class SoftmaxLoss(Loss):
    """l = log(sum_k exp(z_k)) - z_y in nats, for classes y in 0 .. n_classes - 1.

    Parameters
    ----------
    n_classes : int
        >= 2.
    reference : bool, default=False
        The last class is the reference: its z is 0 and has no column, so that z has n_classes - 1 columns.

    Raises
    ------
    ValueError
        If there are fewer than two classes, or two with a reference.
    """

    fused = "softmax_linear"
    fused_into = "softmax_into"
    fused_mv = "softmax_normal_mv"

    def __init__(self, n_classes: int, reference: bool = False):
        if n_classes < 2:
            raise ValueError(
                f"received n_classes={n_classes}; softmax compares at least 2 classes: pass the number of classes"
            )
        if n_classes == 2 and reference:
            raise ValueError(
                "received n_classes=2 with reference=True; one column of z is the logistic loss: use LogisticLoss()"
            )
        self.n_classes, self.reference = n_classes, reference
        self.n_outputs = n_classes - 1 if reference else n_classes
        self.is_invariant = not reference
        # The curvature of a row is sum_kl P_k P_l (e_k - e_l)(e_k - e_l)' / 2; P of a reference is 1 minus the others.
        self.shared_dtype = "float64" if reference else "float32"

    def rows(self, y: Array, z: Array, w: Array) -> tuple[float, Array, Array]:
        """Return sum w l, w (P - onehot(y)), P."""
        return kernels_for(z).softmax_rows(y, z, w, self.reference)

    def rows_by(self, kernels: Any, y: Array, z: Array, w: Array) -> tuple[float, Array, Array]:
        """Return `rows` by the given kernels."""
        return kernels.softmax_rows(y, z, w, self.reference)

    def conjugate(self, y: Array, r: Array, w: Array) -> float:
        """Return sum w l*(r / w), the convex conjugate: sum w sum_k u_k log u_k with u = onehot(y) + r / w.

        Infinite where a u_k lies outside [0, 1] by more than rounding.
        """
        xp = array_namespace(r)
        columns = xp.arange(self.n_outputs, dtype=y.dtype, device=device(y))
        u = xp.astype(y[:, None] == columns[None, :], r.dtype) + _shares(r, w[:, None])
        if float(xp.min(u)) < -1e-12 or float(xp.max(u)) > 1.0 + 1e-12:
            return math.inf
        entropy = xp.sum(_entropy(u), axis=1)
        if self.reference:
            entropy = entropy + _entropy(1.0 - xp.sum(u, axis=1))
        return float(xp.sum(w * entropy))

    def options(self) -> tuple:
        """Return the flag of the reference class."""
        return (self.reference,)

    def weights_for_mv(self, curv: Array, w: Array) -> tuple[Array, ...]:
        """Return (P, w)."""
        return curv, w

    def curv_mv(self, curv: Array, u: Array, w: Array) -> Array:
        """Return w (P u - P (P . u)) by rows."""
        return kernels_for(curv).softmax_curv_mv(curv, w, u)

    def diag_rows(self, curv: Array, w: Array) -> Array:
        """Return w P (1 - P), shape (n, K)."""
        if type(curv) is not np.ndarray or curv.shape[0] * self.n_outputs <= TOTALLED:
            return self._diag_rows(curv, w)
        found, rows = np.empty(curv.shape), max(1, TOTALLED // self.n_outputs)
        for start in range(0, curv.shape[0], rows):
            part = slice(start, start + rows)
            found[part] = self._diag_rows(curv[part], w if w.shape[0] == 1 else w[part])
        return found

    def _diag_rows(self, curv: Array, w: Array) -> Array:
        if not self.reference:
            curv = _wide(curv)
            return w[:, None] * (curv * (array_namespace(curv).sum(curv, axis=1)[:, None] - curv))
        return w[:, None] * (curv * (1.0 - curv))

    def total(self, curv: Array, w: Array) -> Array:
        """Return diag(sum w P) - P' diag(w) P, shape (K, K)."""
        xp, n = array_namespace(curv), curv.shape[0]
        eye = xp.eye(self.n_outputs, dtype=xp.float64, device=device(curv))
        rows = max(1, TOTALLED // self.n_outputs) if type(curv) is np.ndarray else n
        total = 0.0 * eye
        for start in range(0, n, rows):
            P = _wide(curv[start : start + rows, :])
            weighted = (w if w.shape[0] == 1 else w[start : start + rows])[:, None] * P
            rounded = curv.dtype != xp.float64 and not self.reference  # the sum of a row is 1 in double precision only
            whole = weighted * xp.sum(P, axis=1)[:, None] if rounded else weighted
            total = total + xp.sum(whole, axis=0)[:, None] * eye - xp.matrix_transpose(weighted) @ P
        return total

    def drift(self, change: Array) -> float:
        """Return the largest spread of a row's changes (zero for a reference): |u'H(u; e)u| <= (max e - min e) u'Hu."""
        if type(change) is np.ndarray and not self.reference:
            return float((np.maximum.reduce(change, axis=1) - np.minimum.reduce(change, axis=1)).max())
        xp = array_namespace(change)
        high, low = xp.max(change, axis=1), xp.min(change, axis=1)
        if self.reference:
            zeros = xp.zeros_like(high)
            high, low = xp.maximum(high, zeros), xp.minimum(low, zeros)
        return float(xp.max(high - low))

    def root(self, curv: Array, w: Array) -> Array:
        """Return F of the rows, shape (n, classes, K), with F' F = w (diag(P) - P P')."""
        return square_roots.of_softmax(curv, w, self.reference)

    def blocks(self, curv: Array, w: Array) -> Iterator[tuple[int, int, Array]]:
        """Yield w P_k (1 - P_k) on the diagonal and -w P_k P_l off it: one sign each."""
        if type(curv) is np.ndarray and self.n_outputs * curv.size <= AT_ONCE:
            yield from self._blocks_at_once(curv.T.astype(np.float64, copy=False), w)
            return
        for k in range(self.n_outputs):
            own = _wide(curv[:, k])
            others = 1.0 - own
            if not self.reference:  # as a sum: near P = 1 far outliers need its relative accuracy
                xp = array_namespace(curv)
                others = xp.sum(curv[:, :k], axis=1, dtype=w.dtype) + xp.sum(curv[:, k + 1 :], axis=1, dtype=w.dtype)
            yield k, k, w * (own * others)
            for other in range(k + 1, self.n_outputs):
                yield k, other, -w * (own * curv[:, other])

    def _blocks_at_once(self, P: np.ndarray, w: np.ndarray) -> Iterator[tuple[int, int, Array]]:
        """Yield `blocks` of small data, P of shape (K, n), in a few calls."""
        first, second = np.triu_indices(self.n_outputs)
        others = P[second]
        own = np.flatnonzero(first == second)
        if self.reference:
            others[own] = P - 1.0
        else:  # as a sum: near P = 1 far outliers need its relative accuracy
            others[own] = (np.eye(self.n_outputs) - 1.0) @ P
        others *= P[first]
        others *= -w
        yield from zip(first.tolist(), second.tolist(), others, strict=True)


def _wide(P: Array) -> Array:
    """Return probabilities in double precision."""
    xp = array_namespace(P)
    return xp.astype(P, xp.float64, copy=False)


def _shares(r: Array, w: Array) -> Array:
    """Return r / w, 0 where w is."""
    xp = array_namespace(r)
    return r / xp.where(w > 0.0, w, xp.ones_like(w))


def _entropy(u: Array) -> Array:
    """Return u log u, 0 where u is not positive."""
    if type(u) is np.ndarray:
        return -entr(np.maximum(u, 0.0))
    xp = array_namespace(u)
    return xp.where(u > 0.0, u * xp.log(xp.where(u > 0.0, u, xp.ones_like(u))), xp.zeros_like(u))
