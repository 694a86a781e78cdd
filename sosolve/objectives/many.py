"""The logistic loss of one linear model at many parameter vectors at once: a pass over X serves them all."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import COMPILED_FROM
from ..kernels.columns import logistic_columns
from .basis import sample_blocks
from .data_term import DataTerm
from .losses import LogisticLoss
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
        self.A = None
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


def suits(term: DataTerm) -> bool:
    """Return whether the term is a logistic loss of few columns in memory: then `many_of` takes it."""
    model = term.model
    plain = isinstance(term.loss, LogisticLoss) and isinstance(getattr(model, "X", None), np.ndarray)
    if not (plain and 0 < model.size <= SIZE):
        return False
    if model.n_rows < FEWEST_EACH * model.size or isinstance(model, ThinModel):
        return False
    return _entries(model) <= WRITTEN or ROWS_EACH * model.size <= SHARE * model.n_rows


def many_of(term: DataTerm) -> tuple[Many, Many]:
    """Return the term at many parameter vectors, and that of a sample of the rows: the same where there are few."""
    every = Many(term)
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
