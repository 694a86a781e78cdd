"""What `sosolve.solvers.lean` must know of a callable: residuals, rough derivatives and exact ones.

Far out the derivatives of a callable are forward differences; the last ones are complex steps where they agree with
those, else central differences.

A call of a function of 100 points costs as much for NumPy's overhead as for its arithmetic. So p + 1 points of the
forward differences go into one call where that gives the same numbers as p + 1 calls: each parameter is then a column
of shape (p + 1, 1), and the values have the shape (p + 1, m). Whether a function takes this is tried once, at the start
of its first fit, against single calls. The last derivatives, and the residuals beside them, are always those of single
calls, so that a function whose rows depend on one another (a maximum over all values) costs steps but no digits.
"""

# ruff: noqa: B905 the checks of zip(strict=True) would take as long as these loops over a few parameters
from __future__ import annotations

import math
import types
import warnings
import weakref
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy import asarray, subtract

from ..objectives.derivatives import EPS, IMAGINARY_STEP, RELATIVE_STEP
from ..solvers.lean import SPARING, USUAL, Rows
from .curve_data import CurveData, sum_of_squares
from .lean import Slopes, level_of, products
from .remembered import is_in, remember

#: Largest gap between a column of exact and one of rough derivatives, relative to its length, that is agreement.
AGREEMENT = 1e-3
#: Largest gap between values of one call and of several, relative to the largest value.
SAME = 16.0 * EPS
#: Change of the model over a forward difference, relative to its size: three digits of a column must remain, and the
#: step of a parameter that is 0 has to be short.
LEAST_CHANGE, MOST_CHANGE = 1e4 * EPS, 1e-3
FORWARD, CENTRAL = RELATIVE_STEP["2-point"], RELATIVE_STEP["3-point"]
#: Values of one call up to which several points go into it: beyond, arithmetic is all that counts.
MOST_AT_ONCE = 8000
#: Points up to which the memory of a fit is kept for the next one.
MOST_KEPT = 10_000

FLOAT64, COMPLEX128 = np.float64, np.complex128
FLOAT, COMPLEX = np.dtype(FLOAT64), np.dtype(COMPLEX128)
Found = tuple[Rows, list[float]]
#: Functions that have taken complex numbers without a warning.
_quiet: weakref.WeakSet = weakref.WeakSet()
#: Functions that do not take complex numbers.
_real: weakref.WeakSet = weakref.WeakSet()
#: Whether Python functions give the same values for several points at once.
_broad: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


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
        p, m = theta.shape[0], data.y.shape[0]
        self.shelf = _shelf(p, m)
        try:
            self.room = self.shelf.pop()
        except IndexError:
            self.room = Room(p, m), Room(p, m), Wide(p)
        self.now, self.spare, wide = self.room
        self.now.rough = self.spare.rough = None
        self.floors = [1e-4 * abs(value) or 1.0 for value in theta.tolist()]
        self.has_floors, self.scheme = False, "central" if is_in(_real, f) else "unknown"
        self.arguments: list = []  # of the point evaluated last, and what is known there
        self.values: np.ndarray | None = None
        self.found: Found | None = None
        self.cost, self.is_exact = math.nan, False
        self.wide, self.untried, self.limits = None, False, list(USUAL)
        if jac is None and type(f) is types.FunctionType and (p + 1) * m <= MOST_AT_ONCE and type(data.x) is np.ndarray:
            broad = _broad.get(f)
            self.wide, self.untried = (wide if broad else None), broad is None
            if broad is False:
                self.limits = list(SPARING)

    def close(self) -> None:
        """Leave the memory to the next fit of as many points."""
        if self.y.shape[0] <= MOST_KEPT:
            self.shelf.append(self.room)

    def residual(self, theta: list[float], exact: bool) -> tuple[Any, float]:
        """Return the point for `slopes`, and the sum of squares; NaN where the values are no real numbers."""
        self.found = self.values = None
        self.is_exact = exact and self.rough
        if self.is_exact:
            self.found = self.exact(theta)
            return theta, (self.found[0][-1][-1] if self.found else math.nan)
        if self.wide is not None and self.at_once(theta):
            return theta, self.cost
        self.arguments = list(np.array(theta))
        return theta, (sum_of_squares(self.spare.r) if self.has_values() else math.nan)

    def slopes(self, theta: list[float], exact: bool, crossed: bool) -> Slopes | None:
        """Return the sums at the point that was evaluated last."""
        turned = products(self.now.J, self.spare.r) if crossed else None
        found = self.found
        if self.jac is not None:
            J = asarray(self.jac(self.x, *self.arguments))
            if J.shape != self.spare.J.T.shape or J.dtype.kind not in "fiub":
                return None
            self.spare.J[:] = J.T
            found = self.sums(), [1.0] * len(theta)
        elif found is None or exact > self.is_exact:
            found = self.exact(theta) if exact else self.forward(theta)
        self.now, self.spare = self.spare, self.now
        return None if found is None else (*found, turned)

    def exact(self, theta: list[float]) -> Found | None:
        """Return the sums at a point with complex steps where those are the derivatives, else central differences."""
        self.arguments = list(np.array(theta))
        if self.scheme == "unknown":
            return self.first_exact(theta)
        return self.complex_steps(theta) if self.scheme == "complex" else self.central(theta)

    def first_exact(self, theta: list[float]) -> Found | None:
        """Return what `exact` does, after a look at which it is.

        A function that drops imaginary parts (abs, a cast, a comparison) is wrong by whole columns, or by the whole of
        some entries. It is compared with the last forward differences, a short step away, or else with those of this
        point.
        """
        rough, found = self.now.rough, self.complex_steps(theta)
        self.scheme = "central"
        if found is None:
            remember(_real, self.f)
            return self.central(theta)
        if rough is None or not agree(found, rough, self.spare.J, self.now.J, self.level):
            exact, again = self.spare.J.copy(), self.forward(theta)
            if again is None or not agree(found, again, exact, self.spare.J, self.level):
                return self.central(theta)
            self.spare.J[:] = exact
        self.scheme = "complex"
        return found

    def sums(self) -> Rows:
        """Return the products of all rows, those of the Jacobian still to be weighted."""
        if self.weights is not None:
            self.spare.J *= self.weights
        return self.spare.A.dot(self.spare.AT).tolist()

    def has_values(self) -> bool:
        """Return whether f gives real numbers at the point, after a single call where there was none."""
        if self.values is None:
            values = asarray(self.f(self.x, *self.arguments))
            if values.dtype is FLOAT and values.shape == self.y.shape:
                self.take(values)
        return self.values is not None

    def take(self, values: np.ndarray) -> None:
        """Note the values at the point, and the residuals."""
        self.values, r = values, self.spare.r
        subtract(values, self.y, r)
        if self.weights is not None:
            r *= self.weights

    def steps(self, theta: list[float]) -> list[float]:
        """Return what each parameter becomes in a forward difference."""
        moved = []
        for value, floor in zip(theta, self.floors):
            size = value if value >= 0.0 else -value
            moved.append(value + FORWARD * (size if size > floor else floor))
        return moved

    def at_once(self, theta: list[float]) -> bool:
        """Find residuals and forward differences in one call; return whether that goes."""
        moved, room = self.steps(theta), self.spare
        A = room.A
        values = self.wide.values(self.f, self.x, theta, moved, A.shape)
        if values is None:
            self.wide, _broad[self.f] = None, False
            return False
        last = values[-1]
        subtract(values, last, A)
        subtract(last, self.y, room.r)
        if self.weights is not None:
            A *= self.weights
        sums = A.dot(room.AT).tolist()
        self.cost = sums[-1][-1]
        self.found = self.checked(theta, sums, [1.0 / (high - value) for high, value in zip(moved, theta)])
        return True

    def forward(self, theta: list[float]) -> Found | None:
        """Return the sums with forward differences by single calls, None where rounding or a bend spoils one."""
        self.arguments = list(np.array(theta))
        if not self.has_values():
            return None
        f, x, values, arguments, moved = self.f, self.x, self.values, self.arguments, self.steps(theta)
        for j, (high, row) in enumerate(zip(moved, self.spare.J)):
            back, arguments[j] = arguments[j], FLOAT64(high)
            column = asarray(f(x, *arguments))
            arguments[j] = back
            if column.dtype is not FLOAT:
                return None
            subtract(column, values, row)
        if self.untried:
            self.try_at_once(theta, moved)
        return self.checked(theta, self.sums(), [1.0 / (high - value) for high, value in zip(moved, theta)])

    def try_at_once(self, theta: list[float], moved: list[float]) -> None:
        """Find out whether one call gives the values that the calls of `forward` have given."""
        J, single, same = self.spare.J, self.values, False
        wide = self.room[2]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            values = wide.values(self.f, self.x, theta, moved, self.spare.A.shape)
        if values is not None:
            most = SAME * float(np.abs(single).max())
            same = bool(
                (np.abs(values[:-1] - single - J) <= most).all() and (np.abs(values[-1] - single) <= most).all()
            )
        self.wide, self.untried = (wide if same else None), False
        _broad[self.f] = same
        if not same:
            self.limits[:] = SPARING

    def checked(self, theta: list[float], sums: Rows, units: list[float]) -> Found | None:
        """Return sums with forward differences, None where a column is rounding or a step was too long."""
        level = self.level + sums[-1][-1]
        low, high = LEAST_CHANGE * LEAST_CHANGE * level, MOST_CHANGE * MOST_CHANGE * level
        for k in range(len(units)):
            if not low < sums[k][k] < high:
                return None
        if not self.has_floors:  # a parameter near 0 takes its steps from what moves the model by its size
            for k, (value, unit) in enumerate(zip(theta, units)):
                reach = 0.1 * math.sqrt(level / sums[k][k]) / abs(unit)
                self.floors[k] = min(reach, 1e3 * max(abs(value), self.floors[k]))
            self.has_floors = True
        self.spare.rough = sums, units
        return sums, units

    def central(self, theta: list[float]) -> Found | None:
        """Return the sums with central differences."""
        if not self.has_values():
            return None
        f, x, arguments, units = self.f, self.x, self.arguments, []
        for j, (value, floor, row) in enumerate(zip(theta, self.floors, self.spare.J)):
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

    def complex_steps(self, theta: list[float]) -> Found | None:
        """Return the sums with complex steps, None where the model does not take complex numbers."""
        try:
            if self.scheme == "complex" or is_in(_quiet, self.f):
                return self.imaginary(theta)
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                found = self.imaginary(theta)
        except Exception:  # whatever a function raises on complex numbers: it is not made for them
            return None
        remember(_quiet, self.f)
        return found

    def imaginary(self, theta: list[float]) -> Found | None:
        """Return the sums with complex steps, None where what comes back is not complex."""
        f, x, arguments = self.f, self.x, self.arguments.copy()  # an exception may end this half-way
        for j, (value, row) in enumerate(zip(theta, self.spare.J)):
            back, arguments[j] = arguments[j], COMPLEX128(complex(value, IMAGINARY_STEP))
            column = asarray(f(x, *arguments))
            arguments[j] = back
            if column.dtype is not COMPLEX:
                return None
            row[:] = column.imag
        if self.values is None:
            self.take(column.real)
        return self.sums(), [1.0 / IMAGINARY_STEP] * len(theta)


@lru_cache(maxsize=8)
def _shelf(p: int, m: int) -> list:
    """Return the list of memory that no fit of m points uses: as many pieces as threads were fitting at once."""
    return []


class Room:
    """Room for the rows of J, shape (p, m), and r, shape (m,), in one array A; and the sums of forward differences."""

    __slots__ = ("A", "AT", "J", "r", "rough")

    def __init__(self, p: int, m: int):
        self.A = np.empty((p + 1, m))
        self.AT, self.J, self.r = self.A.T, self.A[:p], self.A[p]
        self.rough: Found | None = None


class Wide:
    """Several points of a function in one call: p with a parameter moved, the last one as it is."""

    __slots__ = ("columns", "diagonal", "points")

    def __init__(self, p: int):
        points = np.empty((p, p + 1))
        self.points, self.diagonal, self.columns = points.T, points.ravel()[:: p + 2], list(points[:, :, None])

    def values(self, f: Callable, x: np.ndarray, theta: list, moved: list, shape: tuple) -> np.ndarray | None:
        """Return the values, shape (p + 1, m); None where f does not give such."""
        self.points[:] = theta
        self.diagonal[:] = moved
        try:
            values = f(x, *self.columns)
        except Exception:  # whatever a function raises on arrays: it is not made for them
            return None
        return values if type(values) is np.ndarray and values.dtype is FLOAT and values.shape == shape else None


def agree(found: Found, rough: Found, J: np.ndarray, K: np.ndarray, level: float) -> bool:
    """Return whether columns are the same to three digits of their lengths, given their sums and the rows behind them.

    Where the residuals have not the same length, to two digits of that of y, they are not those of one function.

    |a - b|^2 is read off a'a, b'b and a'b: it is looked at where it is 1e-6 of them.
    """
    (sums, units), (others, steps) = found, rough
    if not abs(math.sqrt(sums[-1][-1]) - math.sqrt(others[-1][-1])) <= 1e-2 * math.sqrt(level):
        return False
    for k, between in enumerate(np.einsum("ij,ij->i", J, K).tolist()):
        q, v = units[k], steps[k]
        square = sums[k][k] * q * q
        if not square + others[k][k] * v * v - 2.0 * between * q * v <= AGREEMENT * AGREEMENT * square:
            return False
    return True
