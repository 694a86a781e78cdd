"""The short way of `curve_fit`, and what `sosolve.solvers.lean` must know of a formula.

Residuals and derivatives are the rows of one array, so that one product gives every sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..solvers.lean import MOST_PARAMETERS, USUAL, Lean, Rows
from .curve_data import THREADED, CurveData, sum_of_squares
from .failures import keep_best

Slopes = tuple[Rows, list[float], list[float] | None]


def lean_fit(rows: Any, theta: np.ndarray, absolute_sigma: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Return parameters and covariance, or None where the full solver must find them.

    Floating-point warnings are the caller's.

    Parameters
    ----------
    rows : CallableRows or FormulaRows
    theta : ndarray of shape (p,)
    absolute_sigma : bool

    Raises
    ------
    BaseException
        Whatever the model raises, with the best point so far.
    """
    m, start = rows.y.shape[0], theta.tolist()
    at, cost = rows.residual(start, False)
    if not cost < math.inf:
        return None
    fit = Lean(rows.residual, rows.slopes, start, cost, rows.level, rows.limits)
    try:
        end = fit.minimise(at, rows.rough)
    except BaseException as error:
        keep_best(error, np.array(fit.theta), 0.5 * fit.cost)
        raise
    rows.close()
    if end is None:
        return None
    pcov = np.array(end.inverse)
    return np.array(end.theta), pcov if absolute_sigma else pcov * (end.cost / (m - len(start)))


def is_lean(data: CurveData, size: int) -> bool:
    """Return whether data and parameters are such that a short way may exist."""
    return size <= MOST_PARAMETERS and data.y.ndim == 1 and data.y.shape[0] > size and data.factor is None


class FormulaRows:
    """Residuals and sums of a formula, from one evaluation of values and derivatives.

    Parameters
    ----------
    formula : Formula
    data : CurveData
        x of shape (m,) or (m, d).
    """

    rough = False

    def __init__(self, formula: Any, data: CurveData):
        self.run, self.columns = formula.rows(data.x)
        self.y, self.weights = data.y, data.weights
        m, p = data.y.shape[0], formula.size
        self.level = level_of(data)
        both = np.zeros((2, p + 1, m))
        self.units, self.limits = [1.0] * p, list(USUAL)
        self.now, self.spare = ((A, A.T, A[p:], A[None, :p], A[p]) for A in both)
        self.sums: Rows = []

    def residual(self, theta: list[float], exact: bool) -> tuple[Any, float]:
        """Return the array of rows at theta, and the sum of squares."""
        A, AT, V, J, r = self.spare
        self.run(*self.columns, *np.array(theta), V, J)
        r -= self.y
        if self.weights is not None:
            A *= self.weights
        self.sums = A.dot(AT).tolist()
        return A, self.sums[-1][-1]

    def close(self) -> None:
        """Do nothing: the memory goes with the fit."""

    def slopes(self, A: np.ndarray, exact: bool, crossed: bool) -> Slopes:
        """Return the sums at the point that was evaluated last."""
        turned = products(self.now[3][0], A[-1]) if crossed else None
        self.now, self.spare = self.spare, self.now
        return self.sums, self.units, turned


def level_of(data: CurveData) -> float:
    """Return y'y in units of sigma."""
    return sum_of_squares(data.y if data.weights is None else data.y * data.weights)


def products(rows: np.ndarray, r: np.ndarray) -> list[float]:
    """Return rows @ r for rows of shape (p, m)."""
    return (rows.dot(r) if r.shape[0] < THREADED else np.einsum("ij,j->i", rows, r)).tolist()
