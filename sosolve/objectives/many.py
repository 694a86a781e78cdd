"""The loss of one linear classifier at many parameter vectors at once: a pass over X serves them all."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import COMPILED_FROM
from ..kernels.columns import logistic_columns
from .basis import lifted, sample_blocks
from .data_term import DataTerm
from .losses import LogisticLoss, SoftmaxLoss
from .small import CopiedModel
from .thin import ThinModel

#: Entries of X up to which all rows are written down in the standardised basis.
WRITTEN = COMPILED_FROM
#: Rows for each parameter in the sample that curvatures are estimated from, where there are more rows than that.
ROWS_EACH = 100
#: Rows for each parameter at least: with fewer the classes may well be separated, and each C asks for many curvatures.
FEWEST_EACH = 5
#: Largest share of the rows that the sample may be, and most parameters.
SHARE, SIZE = 0.2, 256
#: Most parameters of a softmax: from 250 on a Hessian costs what a fit of the loop does.
SOFTMAX_SIZE = 200


class Many:
    """sum_i s_i l(y_i, z_i) at the rows of a matrix of parameters.

    Parameters
    ----------
    term : DataTerm
        One for which `suits` is true.
    rows : list of (start, stop), optional
        Ranges of the rows to take, weighted like all; all of them where None.
    """

    def __init__(self, term: DataTerm, rows: list[tuple[int, int]] | None = None):
        self.model: Any = term.model
        offset = np.zeros(1) if term.offset is None else term.offset
        self.y, self.s, self.offset = (_taken(a, rows) for a in (term.y, term.weights, offset))
        if rows is not None:
            self.s = self.s / (self.s.sum() if self.s.shape[0] > 1 else self.s[0] * self.y.shape[0])
        self.A: Any = None
        if isinstance(self.model, CopiedModel):
            self.A = self.model.A
        elif rows is not None or _entries(self.model) <= WRITTEN:
            self.A = _standardised(self.model, _taken(self.model.X, rows))

    def at(self, theta: Any) -> tuple[Any, Any]:
        """Return values, shape (q,), and gradients, shape (q, p), for parameters of shape (q, p); one pass."""
        model, d = self.model, self.model.n_features
        model.counts.n_passes += 1
        if self.A is not None:
            return logistic_columns(self.A, self.y, self.s, self.offset, theta, np.zeros(len(theta)))[:2]
        W = theta[:, :d] / model.scale
        b = -(W @ model.mean) + (theta[:, d] if model.fit_intercept else 0.0)
        values, G, totals = model.kernels.logistic_columns(model.X, self.y, self.s, self.offset, W, b)
        G = (G - totals[:, None] * model.mean) / model.scale
        return values, np.hstack([G, totals[:, None]]) if model.fit_intercept else G

    def curvature(self, theta: Any) -> Any:
        """Return the Hessian at one parameter vector, shape (p, p); only where the rows are written down."""
        self.model.counts.n_passes += 1
        z = self.A @ theta + self.offset
        e = np.exp(-np.abs(z))
        h = self.s * (e / (1.0 + e) ** 2)
        B = np.sqrt(h)[:, None] * self.A
        return B.T @ B


class ManySoftmax(Many):
    """The same of softmax, for small data: all outputs of all parameter vectors are columns of one product.

    Parameters
    ----------
    term : DataTerm
        One for which `suits` is true.
    """

    def __init__(self, term: DataTerm):
        super().__init__(term)
        K, d = self.model.n_outputs, self.model.n_features
        order = np.arange(K)[:, None] * d + np.arange(d)
        if self.model.fit_intercept:
            order = np.concatenate([order, K * d + np.arange(K)[:, None]], axis=1)
        self.order = order.ravel()  # parameter of each entry of (K, d + 1)
        self.codes = self.y.astype(np.intp)

    def _shares(self, theta: Any) -> tuple[Any, Any]:
        """Return the losses by rows, shape (n, q), and the probabilities, shape (n, q, K)."""
        K, n = self.model.n_outputs, self.A.shape[0]
        W = theta[:, self.order].reshape(-1, self.A.shape[1])
        z = (self.A @ W.T).reshape(n, len(theta), K)
        if self.offset.ndim == 2:
            z += self.offset[:, None, :]
        z -= z.max(axis=2, keepdims=True)
        true = np.take_along_axis(z, self.codes[:, None, None], axis=2)[:, :, 0]
        np.exp(z, out=z)
        total = z.sum(axis=2)
        z /= total[:, :, None]
        return np.log(total) - true, z

    def at(self, theta: Any) -> tuple[Any, Any]:
        """Return values, shape (q,), and gradients, shape (q, p), for parameters of shape (q, p); one pass."""
        self.model.counts.n_passes += 1
        losses, R = self._shares(theta)
        n, q, K = R.shape
        s = np.broadcast_to(self.s, (n,))
        R[np.arange(n), :, self.codes] -= 1.0
        R *= s[:, None, None]
        G = np.empty((q, self.model.size))
        G[:, self.order] = (R.reshape(n, q * K).T @ self.A).reshape(q, -1)
        return s @ losses, G

    def curvature(self, theta: Any) -> Any:
        """Return the Hessian at one parameter vector, with curvature along the same change of all outputs."""
        self.model.counts.n_passes += 1
        P = self._shares(theta[None])[1][:, 0]
        n, K = P.shape
        m = self.A.shape[1]
        s = np.broadcast_to(self.s, (n,))
        B = (np.sqrt(s)[:, None, None] * P[:, :, None] * self.A[:, None, :]).reshape(n, K * m)
        H = -(B.T @ B)
        for k in range(K):
            part = slice(k * m, (k + 1) * m)
            root = np.sqrt(s * P[:, k])[:, None] * self.A
            H[part, part] += root.T @ root
        ordered = np.empty_like(H)
        ordered[np.ix_(self.order, self.order)] = H
        return lifted(ordered, K, self.model.n_features)


def suits(term: DataTerm) -> bool:
    """Return whether the term is a logistic loss of few columns in memory, or softmax: then `many_of` takes it."""
    model = term.model
    if isinstance(term.loss, SoftmaxLoss):
        many_rows = model.n_rows * model.n_outputs >= FEWEST_EACH * model.size
        return isinstance(model, CopiedModel) and term.loss.is_invariant and model.size <= SOFTMAX_SIZE and many_rows
    plain = isinstance(term.loss, LogisticLoss) and isinstance(getattr(model, "X", None), np.ndarray)
    if not (plain and 0 < model.size <= SIZE):
        return False
    if model.n_rows < FEWEST_EACH * model.size or isinstance(model, ThinModel):
        return False
    return _entries(model) <= WRITTEN or ROWS_EACH * model.size <= SHARE * model.n_rows


def many_of(term: DataTerm) -> tuple[Many, Many]:
    """Return the term at many parameter vectors, and that of a sample of the rows: the same where there are few."""
    every = ManySoftmax(term) if isinstance(term.loss, SoftmaxLoss) else Many(term)
    if every.A is not None:
        return every, every
    n = term.model.n_rows
    return every, Many(term, sample_blocks(n, ROWS_EACH * term.model.size / n))


def _entries(model: Any) -> int:
    return model.n_rows * model.n_features


def _taken(a: Any, rows: list[tuple[int, int]] | None) -> Any:
    """Return the rows of an array; itself where it is the same for all, or all are wanted."""
    if rows is None or a.shape[0] == 1:
        return a
    return np.concatenate([a[start:stop] for start, stop in rows])


def _standardised(model: Any, X: Any) -> Any:
    """Return ((X - mean) / scale, 1)."""
    A = np.empty((X.shape[0], model.size))
    columns = A[:, : model.n_features]
    np.subtract(X, model.mean, out=columns)
    columns /= model.scale
    A[:, model.n_features :] = 1.0
    return A
