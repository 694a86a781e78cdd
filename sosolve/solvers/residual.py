"""What solvers of least-squares problems share: their settings, their three tests, and the measure of stationarity."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..history import Result, Status
from ..linalg import column_norms, norm
from ..protocols import Objective
from .base import Callback, Solver
from .bounds import Box

EPS = float(np.finfo(np.float64).eps)
#: Largest cosine between r and a column of J at which ftol and xtol may end a fit: elsewhere the point is not
#: stationary and a short step only means a narrow valley.
STATIONARY = 1e-4


#: Residuals above it are divided by a unit at first: their squares leave the range of doubles.
OVERFLOW = 1e150
#: Units that are tried one after the other: in one of them residuals shrink by 15 digits at least, or no further.
MAX_UNITS = 30


class Stationarity(NamedTuple):
    """What is known of a point before its first step.

    Attributes
    ----------
    norms : ndarray of shape (p,)
        Column norms of J.
    cosine : float
        Largest |cos| between r and a column of J among the free parameters.
    free : ndarray of shape (p,) or None
        Parameters that may move; None where there are no bounds.
    """

    norms: np.ndarray
    cosine: float
    free: np.ndarray | None


def stationarity(point: Any, box: Box | None) -> Stationarity:
    """Return the column norms, the largest cosine of r with a column of J, and the free parameters of a point.

    A residual at the rounding level of the parameters, |J_j'r| / ||J_j|| <= 2 eps sum_k ||J_k|| |theta_k|, is as
    good as 0: its direction is noise. Of a dense Jacobian each row has a level of its own, so that a single huge
    derivative, as that of a root at 0, drowns no other row.
    """
    return stationarity_with(column_norms(point.jac), point, box)


def stationarity_with(norms: np.ndarray, point: Any, box: Box | None) -> Stationarity:
    """Return what `stationarity` returns, for these column norms of J."""
    r, g = point.residual, point.grad
    free = None if box is None else box.free(point.theta, g)
    parts = np.abs(g) / np.where(norms > 0.0, norms, 1.0)
    if free is not None:
        parts = np.where(free, parts, 0.0)
    top = float(parts.max(initial=0.0))
    if top == 0.0 or (top <= 2.0 * EPS * float(norms @ np.abs(point.theta)) and _is_rounding(parts, norms, point)):
        return Stationarity(norms, 0.0, free)
    # sqrt(2 f) is ||r||; under a robust loss it is not inflated, as ||r|| is, by the 1 / root of the outliers' weights
    size = math.sqrt(2.0 * point.value)
    return Stationarity(norms, top / (size if 0.0 < size < math.inf else norm(r)), free)


def _is_rounding(parts: np.ndarray, norms: np.ndarray, point: Any) -> bool:
    """Return whether each |J_j'r| / ||J_j|| is within 2 eps sqrt(p) |J_j|'|J| |theta| / ||J_j||; True if not dense."""
    if not isinstance(point.jac, np.ndarray):
        return True
    J = np.abs(point.jac)
    level = (J @ np.abs(point.theta)) @ J / np.where(norms > 0.0, norms, 1.0)
    return bool((parts <= 2.0 * EPS * math.sqrt(parts.size) * level).all())


def _largest(point: Any) -> float:
    """Return the largest absolute residual or derivative of a point."""
    return max(float(np.abs(a).max(initial=0.0)) for a in (point.raw_residual, point.raw_jac))


def _is_below(limit: float, record: Any, point: Any) -> bool:
    """Return whether residuals and derivatives have come below a limit: a callback."""
    return _largest(point) < limit


@dataclass(kw_only=True)
class ResidualSolver(Solver):
    """Settings shared by the solvers that see residuals and their Jacobian.

    Minimises 1/2 ||r(theta)||^2 within a box. NumPy float64 only; fewer residuals than parameters are allowed, the
    steps are then the shortest that solve the linearised problem.

    Parameters
    ----------
    tol : float, optional
        Value of ftol, xtol and gtol at once, where given.
    ftol : float or None, default=1e-15
        Converged where the actual and the predicted relative reduction of the objective are both within ftol: a
        step of sqrt(ftol) standard errors. None is off.
    xtol : float or None, default=1e-12
        Converged where the trust radius is within xtol ||D theta||. None is off.
    max_iter : int, optional
        Iterations, >= 0; 2000 where None.
    gtol : float or None, default=1e-12
        Converged where the largest cosine between r and a column of J is within gtol: free of scale. None is off.
    lower, upper : float or array-like of shape (p,), optional
        Box that no iterate leaves; the final point may lie exactly on a bound.

    References
    ----------
    Moré (1978), section 2.3, for the three tests. Deviation: ftol and xtol end a fit as converged only at a point
    whose largest cosine is below 1e-4. The default of ftol is far below MINPACK's: from 1e-13 to 1e-15 costs 2 %
    more Jacobians on the NIST problems and lifts the worst of 54 runs from 5.7 to 6.6 digits.
    """

    needs: ClassVar[tuple[str, ...]] = ("residual", "jac")
    default_max_iter: ClassVar[int] = 2000
    own_tests: ClassVar[bool] = True
    ftol: float | None = 1e-15  # type: ignore[assignment]
    xtol: float | None = 1e-12  # type: ignore[assignment]
    gtol: float | None = 1e-12
    lower: Any = None
    upper: Any = None

    def tolerances(self) -> tuple[float, float, float]:
        """Return ftol, xtol and gtol; -1 for one that is off."""
        if self.tol is not None:
            return self.tol, self.tol, self.tol
        return tuple(-1.0 if t is None else t for t in (self.ftol, self.xtol, self.gtol))  # type: ignore[return-value]

    def box(self, size: int) -> Box | None:
        """Return the bounds, None where nothing is bounded."""
        return Box.of(self.lower, self.upper, size)

    def minimize(self, objective: Objective, theta0: Any, callback: Callback | None = None) -> Result:
        """Return the minimiser of a least-squares objective, see `Solver.minimize`.

        Raises
        ------
        ValueError
            If a setting is outside its range, theta0 has the wrong shape or lies outside the bounds.
        TypeError
            If the objective has no residuals.
        """
        box = self.box(objective.size)
        if box is not None and tuple(theta0.shape) == (objective.size,):
            box.check_inside(theta0)
        with np.errstate(all="ignore"):  # a step that overflows is a rejected step
            result = super().minimize(objective, theta0, callback)
            if result.status is not Status.NONFINITE or (near := self._from_afar(objective, result)) is None:
                return result
            again = super().minimize(objective, near[0], callback)
            again.history.notes["overflow"] = (
                f"the squares of the residuals at the start overflow; {near[1]} iterations before the first one "
                "were made in a larger unit"
            )
            return again

    def _from_afar(self, objective: Any, start: Result) -> tuple[Any, int] | None:
        """Return where residuals whose squares overflow become ordinary numbers, and the iterations; None if nowhere.

        These iterations see residuals and Jacobian in units of their own size, and no callback.
        """
        point: Any = start.point
        if getattr(objective, "loss", self) is not None or not isinstance(point.raw_jac, np.ndarray):
            return None
        far, theta, size, count = replace(self, max_iter=self.default_max_iter), point.theta, math.inf, 0
        for _ in range(MAX_UNITS):
            point = objective.at(theta)
            top, now = _largest(point), float(np.abs(point.raw_residual).max(initial=0.0))
            if top < OVERFLOW:
                return theta, count
            if not top < math.inf or not now < 1e-3 * size:
                return None
            unit = 2.0 ** min(math.frexp(top)[1], 1000)
            is_near = partial(_is_below, OVERFLOW / unit)
            found = super(ResidualSolver, far).minimize(objective.in_unit(unit), theta, is_near)
            theta, size, count = found.theta, now, count + found.n_iter
        return None

    def resume(self, objective: Objective, result: Result, callback: Callback | None = None) -> Result:
        """Return the outcome of more iterations, see `Solver.resume`.

        Raises
        ------
        ValueError
            If the result has no point or no state.
        """
        with np.errstate(all="ignore"):
            return super().resume(objective, result, callback)
