"""The short way of `curve_fit`: what `sosolve.solvers.lean` must know of a callable, or of a formula.

Residuals and derivatives are the rows of one array, so that one product gives every sum. Far out the derivatives of a
callable are forward differences; the last ones are complex steps where they agree with those, else central
differences.
"""

# ruff: noqa: B905 the checks of zip(strict=True) would take as long as these loops over a few parameters
from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import asarray, subtract

from ..objectives.derivatives import EPS, IMAGINARY_STEP, RELATIVE_STEP
from ..solvers.lean import MOST_PARAMETERS, Lean, Rows
from .curve_data import THREADED, CurveData, sum_of_squares
from .failures import keep_best

#: Largest gap between a column of exact and one of rough derivatives, relative to its length, that is agreement.
AGREEMENT = 1e-3
#: Change of the model over a forward difference, relative to its size: three digits of a column must remain, and the
#: step of a parameter that is 0 has to be short.
LEAST_CHANGE, MOST_CHANGE = 1e4 * EPS, 1e-3
FORWARD, CENTRAL = RELATIVE_STEP["2-point"], RELATIVE_STEP["3-point"]

FLOAT64, COMPLEX128 = np.float64, np.complex128
FLOAT, COMPLEX = np.dtype(FLOAT64), np.dtype(COMPLEX128)
Found = tuple[Rows, list[float]]
Slopes = tuple[Rows, list[float], list[float] | None]
#: Functions that have taken complex numbers without a warning.
_quiet: weakref.WeakSet = weakref.WeakSet()


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
    at, cost = rows.residual(start)
    if not cost < math.inf:
        return None
    fit = Lean(rows.residual, rows.slopes, start, cost, rows.level)
    try:
        end = fit.minimise(at, rows.rough)
    except BaseException as error:
        keep_best(error, np.array(fit.theta), 0.5 * fit.cost)
        raise
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
        self.units = [1.0] * p
        self.now, self.spare = ((A, A[p:], A[None, :p], A[p]) for A in both)

    def residual(self, theta: list[float]) -> tuple[Any, float]:
        """Return the array of rows at theta, and the sum of squares."""
        A, V, J, r = self.spare
        self.run(*self.columns, *np.array(theta), V, J)
        r -= self.y
        if self.weights is not None:
            A *= self.weights
        return A, sum_of_squares(r)

    def slopes(self, A: np.ndarray, exact: bool, crossed: bool) -> Slopes:
        """Return the sums at the point that was evaluated last."""
        turned = products(self.now[2][0], A[-1]) if crossed else None
        self.now, self.spare = self.spare, self.now
        return A.dot(A.T).tolist(), self.units, turned


class CallableRows:
    """Residuals and sums of f(x, *theta) - y.

    Parameters
    ----------
    f : callable
    data : CurveData
        y of shape (m,).
    theta : ndarray of shape (p,)
        The start.
    jac : callable or None
        The Jacobian of f, shape (m, p).
    """

    def __init__(self, f: Callable, data: CurveData, theta: np.ndarray, jac: Callable | None):
        self.f, self.jac, self.x, self.y, self.weights = f, jac, data.x, data.y, data.weights
        self.rough = jac is None
        self.level = level_of(data)
        self.A = np.zeros((theta.shape[0] + 1, data.y.shape[0]))
        self.AT, self.J, self.r, self.rows = self.A.T, self.A[:-1], self.A[-1], list(self.A[:-1])
        self.rough_sums: Found | None = None  # with the last forward differences
        self.floors = [1e-4 * abs(value) or 1.0 for value in theta.tolist()]
        self.scheme = "unknown"

    def residual(self, theta: list[float]) -> tuple[Any, float]:
        """Return the point for `slopes`, and the sum of squares; NaN where the values are no real numbers."""
        arguments = list(np.array(theta))
        values, r = asarray(self.f(self.x, *arguments)), self.r
        if values.dtype is not FLOAT or values.shape != r.shape:
            return None, math.nan
        subtract(values, self.y, r)
        if self.weights is not None:
            r *= self.weights
        return (theta, arguments, values), sum_of_squares(r)

    def slopes(self, at: Any, exact: bool, crossed: bool) -> Slopes | None:
        """Return the sums at the point that was evaluated last."""
        turned = products(self.J, self.r) if crossed else None
        if self.jac is not None:
            J = asarray(self.jac(self.x, *at[1]))
            if J.shape != self.J.T.shape or J.dtype.kind not in "fiub":
                return None
            self.J[:] = J.T
            return self.sums(), [1.0] * len(at[0]), turned
        if not exact:
            found = self.forward(at)
        elif self.scheme == "unknown":
            found = self.first_exact(at)
        else:
            found = self.complex_steps(at) if self.scheme == "complex" else self.central(at)
        return None if found is None else (*found, turned)

    def first_exact(self, at: Any) -> Found | None:
        """Return the sums with complex steps where those are the derivatives, else with central differences.

        A function that drops imaginary parts (abs, a cast, a comparison) is wrong by whole columns, or by the whole of
        some entries. The columns are those of the forward differences of the point before, a short step away, or else
        of this point.
        """
        before, rough = self.J.copy(), self.rough_sums
        found = self.complex_steps(at)
        self.scheme = "central"
        if found is None:
            return self.central(at)
        if rough is None or not agree(found, rough, self.J, before):
            exact, again = self.J.copy(), self.forward(at)
            if again is None or not agree(found, again, exact, self.J):
                return self.central(at)
            self.J[:] = exact
        self.scheme = "complex"
        return found

    def sums(self) -> Rows:
        """Return the products of all rows, those of the Jacobian still to be weighted."""
        if self.weights is not None:
            self.J *= self.weights
        return self.A.dot(self.AT).tolist()

    def forward(self, at: Any) -> Found | None:
        """Return the sums with forward differences, None where rounding or a bend spoils one."""
        theta, arguments, values = at
        f, x, floors, units, j = self.f, self.x, self.floors, [], 0
        for row in self.rows:
            value, back, floor = theta[j], arguments[j], floors[j]
            size = value if value >= 0.0 else -value
            moved = value + FORWARD * (size if size > floor else floor)
            arguments[j] = FLOAT64(moved)
            column = asarray(f(x, *arguments))
            arguments[j] = back
            if column.dtype is not FLOAT:
                return None
            subtract(column, values, row)
            units.append(1.0 / (moved - value))
            j += 1
        sums = self.sums()
        level = self.level + sums[-1][-1]
        low, high = LEAST_CHANGE * LEAST_CHANGE * level, MOST_CHANGE * MOST_CHANGE * level
        for k in range(j):
            if not low < sums[k][k] < high:
                return None
        if self.rough_sums is None:  # a parameter near 0 takes its steps from what moves the model by its size
            for k, (value, unit) in enumerate(zip(theta, units)):
                reach = 0.1 * math.sqrt(level / sums[k][k]) / abs(unit)
                floors[k] = min(reach, 1e3 * max(abs(value), floors[k]))
        self.rough_sums = sums, units
        return sums, units

    def central(self, at: Any) -> Found | None:
        """Return the sums with central differences."""
        theta, arguments, _ = at
        f, x, units = self.f, self.x, []
        for j, (value, floor, row) in enumerate(zip(theta, self.floors, self.rows)):
            size = CENTRAL * max(value, -value, floor)
            high, low, back = value + size, value - size, arguments[j]
            arguments[j] = FLOAT64(high)
            above = asarray(f(x, *arguments))
            arguments[j] = FLOAT64(low)
            below = asarray(f(x, *arguments))
            arguments[j] = back
            if above.dtype is not FLOAT or below.dtype is not FLOAT:
                return None
            subtract(above, below, row)
            units.append(1.0 / (high - low))
        return self.sums(), units

    def complex_steps(self, at: Any) -> Found | None:
        """Return the sums with complex steps, None where the model does not take complex numbers."""
        try:
            if self.scheme == "complex" or is_quiet(self.f):
                return self.imaginary(at)
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                found = self.imaginary(at)
        except Exception:  # whatever a function raises on complex numbers: it is not made for them
            return None
        remember(self.f)
        return found

    def imaginary(self, at: Any) -> Found | None:
        """Return the sums with complex steps, None where what comes back is not complex."""
        theta, arguments = at[0], at[1].copy()  # an exception may end this half-way
        f, x = self.f, self.x
        for j, (value, row) in enumerate(zip(theta, self.rows)):
            back, arguments[j] = arguments[j], COMPLEX128(complex(value, IMAGINARY_STEP))
            column = asarray(f(x, *arguments))
            arguments[j] = back
            if column.dtype is not COMPLEX:
                return None
            row[:] = column.imag
        return self.sums(), [1.0 / IMAGINARY_STEP] * len(theta)


def level_of(data: CurveData) -> float:
    """Return y'y in units of sigma."""
    return sum_of_squares(data.y if data.weights is None else data.y * data.weights)


def products(rows: np.ndarray, r: np.ndarray) -> list[float]:
    """Return rows @ r for rows of shape (p, m)."""
    return (rows.dot(r) if r.shape[0] < THREADED else np.einsum("ij,j->i", rows, r)).tolist()


def agree(found: Found, rough: Found, J: np.ndarray, K: np.ndarray) -> bool:
    """Return whether columns are the same to three digits of their lengths, given their sums and the rows behind them.

    |a - b|^2 is read off a'a, b'b and a'b: it is looked at where it is 1e-6 of them.
    """
    (sums, units), (others, steps) = found, rough
    for k, between in enumerate(np.einsum("ij,ij->i", J, K).tolist()):
        q, v = units[k], steps[k]
        square = sums[k][k] * q * q
        if not square + others[k][k] * v * v - 2.0 * between * q * v <= AGREEMENT * AGREEMENT * square:
            return False
    return True


def is_quiet(f: Callable) -> bool:
    """Return whether f has taken complex numbers without a warning before."""
    try:
        return f in _quiet
    except TypeError:  # no weak references to it, or no hash
        return False


def remember(f: Callable) -> None:
    """Note that f has taken complex numbers without a warning."""
    try:
        _quiet.add(f)
    except TypeError:
        return
