"""A dual point of a linear classifier, and the gap to it: a bound at any point, {eq}`dualitybound`.

The gradient rows at the minimum over the intercepts are dual feasible. They are formed a block of the rows after the
other, as often as they are needed, and summed up; of many classes they are larger than X, and even the predictors take
the place of the curvatures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from .._compat import to_host
from ..kernels import COMPILED_FROM, reference
from ..objectives.row_blocks import part

if TYPE_CHECKING:
    from .certificate import Facts

EPS = 2.0**-52
#: Squared pivot, relative to the mean of the diagonal, below which a matrix is treated as singular.
NEARLY_SINGULAR = 1e-10
#: Damped Newton steps in the intercepts alone, from anywhere.
MAX_SHIFTS = 60
#: Entries of X in a row for each output from which all predictors are kept in double precision.
DOUBLE_FROM = 20


def duality(facts: Facts, value: float) -> float:
    """Return the gap to the dual point of the margins with the best intercepts, {eq}`dualitybound`; inf without one.

    Where coefficients have an L1 penalty alone the point is shrunk until it is feasible.

    Parameters
    ----------
    facts : Facts
    value : float
        The objective at the point.

    Returns
    -------
    float
    """
    rows = _DualRows(facts)
    if not rows.balance():
        return math.inf
    pulled, entropy = rows.sums()
    q, _ = facts.split(pulled)
    separable = getattr(facts.problem.objective, "penalty", None)
    zeros = np.zeros_like(q)
    lasso = facts.split(separable.strengths)[0] if separable else zeros
    lower = zeros - math.inf if separable is None or separable.lower is None else facts.split(separable.lower)[0]
    upper = zeros + math.inf if separable is None or separable.upper is None else facts.split(separable.upper)[0]
    size = np.abs(q) + facts.error
    open_end = (facts.ridge == 0.0) & (np.where(q < 0.0, upper, -lower) == math.inf) & (size > lasso)
    shrunk = (1.0 - 8.0 * EPS) * float((lasso[open_end] / size[open_end]).min()) if open_end.any() else 1.0
    entropy = entropy if shrunk == 1.0 else rows.entropy(shrunk)
    conjugate = _conjugate(shrunk * np.where(q < 0.0, size, -size), facts.ridge, lasso, lower, upper)
    rounding = 16.0 * EPS * (abs(entropy) + abs(conjugate) + value) + float(facts.margin_error.max())
    return value + entropy + conjugate + rounding


def _conjugate(slope: np.ndarray, ridge: np.ndarray, lasso: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Return sum_j max over lower <= w <= upper of slope w - lasso |w| - ridge w^2 / 2."""
    beyond = np.sign(slope) * np.maximum(np.abs(slope) - lasso, 0.0)
    far = np.where(beyond == 0.0, 0.0, np.sign(beyond) * math.inf)
    w = np.clip(np.where(ridge > 0.0, beyond / np.where(ridge > 0.0, ridge, 1.0), far), lower, upper)
    if not np.isfinite(w).all():
        return math.inf
    return float((slope * w - lasso * np.abs(w) - 0.5 * ridge * w * w).sum())


class _DualRows:
    """The gradient rows at margins shifted by a constant for each output, whose sum `balance` makes zero."""

    def __init__(self, facts: Facts):
        self.facts, self.point = facts, facts.point.parts[0]
        self.term = term = self.point.term
        # any margins make a dual point, and the gap feels the square of their rounding
        rounded = term.shares_rows and not term.keeps_margins and term.entries < DOUBLE_FROM * facts.K
        self.margins = self.point.rounded_margins() if rounded else self.point.margins
        self.shift = np.zeros(facts.K)
        #: For the losses of a block: few of them are not worth a compilation.
        self.kernels = reference if facts.model.n_rows * facts.K < COMPILED_FROM else facts.model.kernels

    def blocks(self) -> Iterator[tuple[tuple[int, int] | None, Any, Any]]:
        """Yield ranges of the rows with their gradients and curvatures."""
        term = self.term
        shift = self.shift[0] if self.facts.K == 1 else self.facts.problem.array(self.shift)
        for rows, z in self.point.margins_by_rows(self.margins):
            _, r, curv = term.loss.rows_by(self.kernels, part(term.y, rows), z + shift, part(term.weights, rows))
            yield rows, r, curv

    def balance(self) -> bool:
        """Find the shift at the minimum over the intercepts, and return whether there is one.

        Classes without weight get scores so low that their probabilities are exactly 0.
        """
        facts, loss, xp = self.facts, self.term.loss, self.facts.model.xp
        live, g = facts.live, np.zeros(facts.K)
        if not live.all():
            far = max([float(xp.max(xp.abs(z))) for _, z in self.point.margins_by_rows(self.margins)])
            self.shift[~live] = -2000.0 - 2.0 * far
        if not facts.intercept:
            return True
        for _ in range(MAX_SHIFTS):
            g, S = np.zeros(facts.K), np.zeros((facts.K, facts.K))
            for rows, r, curv in self.blocks():
                g += to_host(xp.sum(r, axis=0)).reshape(facts.K)
                S += to_host(loss.total(curv, part(self.term.weights, rows)))
            if np.abs(g).max() <= 1e-15:
                return True
            step = _newton_step(S[np.ix_(live, live)], g[live], facts.free)
            if step is None:
                return False
            # the largest change of a difference of two scores bounds that of the curvature (Bach, 2010, proposition 1)
            self.shift[live] -= step / (1.0 + (np.ptp(step) if facts.K > 1 else abs(float(step[0]))))
        return bool(np.abs(g).max() <= 1e-12)

    def sums(self) -> tuple[Any, float]:
        """Return J' r, shape (p,), and the entropy of r."""
        pulled, entropy = None, 0.0
        for rows, r, _ in self.blocks():
            product = self.facts.model.backward(r, rows)
            pulled = product if pulled is None else pulled + product
            entropy += self._entropy(rows, r)
        return pulled, entropy

    def entropy(self, shrunk: float) -> float:
        """Return the entropy of a multiple of r."""
        return sum([self._entropy(rows, shrunk * r) for rows, r, _ in self.blocks()])

    def _entropy(self, rows: tuple[int, int] | None, r: Any) -> float:
        term = self.term
        found = term.loss.conjugate(part(term.y, rows), r, part(term.weights, rows))
        if term.offset is None:
            return found
        return found - float(self.facts.model.xp.sum(r * part(term.offset, rows)))


def _newton_step(S: np.ndarray, g: np.ndarray, free: bool) -> np.ndarray | None:
    """Return S^-1 g, or with the pseudoinverse where S is singular or nearly so; None where S is zero.

    `free` says that S is singular along (1, ..., 1) in any case. A factor is many times cheaper than eigenvalues where
    there are hundreds of classes.
    """
    size = float(np.trace(S))
    if not size > 0.0:
        return None
    lifted = S + size / len(S) ** 2 if free else S
    L, failed = scipy.linalg.lapack.dpotrf(lifted, lower=1)
    if not failed and np.diagonal(L).min() ** 2 > NEARLY_SINGULAR * size / len(S):
        return scipy.linalg.lapack.dpotrs(L, g, lower=1)[0]
    return np.linalg.pinv(S, rcond=1e-13, hermitian=True) @ g
