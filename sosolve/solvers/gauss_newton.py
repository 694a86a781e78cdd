"""Gauss-Newton with a backtracking search on the sum of squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..history import Status
from ..linalg import pivoted_qr
from .base import Step
from .bounds import Box
from .least_squares_subproblem import gauss_newton
from .line_search import ROUNDING
from .residual import STATIONARY, ResidualSolver, Stationarity, stationarity

#: Armijo's fraction of the linear decrease; Nocedal and Wright (2006), section 3.1.
ARMIJO = 1e-4


class Trial(NamedTuple):
    """An accepted point (None where none was found) with its step size and the decrease of the objective."""

    point: Any
    step_size: float
    actual: float


@dataclass(kw_only=True)
class GaussNewton(ResidualSolver):
    """Gauss-Newton: the step that solves the linearised problem, shortened until the sum of squares decreases.

    The step is the shortest least-squares solution of J s = -r in variables scaled by the column norms of J. It is
    halved (or shortened further by the parabola through the values) until Armijo's condition holds. With bounds the
    parameters held by a bound are left out and the trial points are projected onto the box.

    Parameters
    ----------
    max_halvings : int, default=40
        Trials in one search, >= 1.

    References
    ----------
    Nocedal and Wright (2006), section 10.3.
    """

    name: ClassVar[str] = "gauss-newton"
    max_halvings: int = 40
    _ranges: ClassVar = (("max_halvings", 1, math.inf),)

    def start(self, point: Any) -> Stationarity:
        """Return what is known of the starting point."""
        return stationarity(point, self.box(point.theta.shape[0]))

    def step(self, point: Any, state: Stationarity) -> Step:
        """Return the outcome of one iteration."""
        ftol, xtol, gtol = self.tolerances()
        if state.cosine <= max(gtol, 0.0):
            return Step(point, state, False, Status.CONVERGED, "gtol")
        box = self.box(point.theta.shape[0])
        s, predicted = self.direction(point, state)
        found = self.search(point, s, predicted, box)
        if found.point is None:
            floor = predicted <= ROUNDING * point.value
            return Step(
                point, state, False, Status.STALLED if floor else Status.LINE_SEARCH_FAILED, predicted=predicted
            )
        here = stationarity(found.point, box)
        moved = found.point.theta - point.theta
        length = math.sqrt(float(moved @ moved))
        status, reason = None, ""
        if here.cosine <= max(gtol, 0.0):
            status, reason = Status.CONVERGED, "gtol"
        elif here.cosine <= STATIONARY and max(predicted, abs(found.actual)) <= ftol * point.value:
            status, reason = Status.CONVERGED, "ftol"
        elif here.cosine <= STATIONARY and _scaled(here, moved) <= xtol * _scaled(here, found.point.theta):
            status, reason = Status.CONVERGED, "xtol"
        return Step(
            found.point,
            here,
            True,
            status,
            reason,
            step_norm=length,
            step_size=found.step_size,
            predicted=predicted,
            actual=found.actual,
            ratio=found.actual / predicted if predicted > 0.0 else math.nan,
            damping=0.0,
        )

    def direction(self, point: Any, state: Stationarity) -> tuple[np.ndarray, float]:
        """Return the Gauss-Newton step, shape (p,), and the decrease of its model."""
        J, free = point.jac, state.free
        scale = np.where(state.norms > 0.0, state.norms, 1.0)
        if free is not None:
            J, scale = J[:, free], scale[free]
        factor = pivoted_qr(J / scale, point.residual)
        z = gauss_newton(factor)
        Rz = factor.R @ z
        part = np.empty_like(z)
        part[factor.perm] = z
        s = part / scale
        if free is not None:
            s = np.zeros_like(point.theta)
            s[free] = part / scale
        return s, -float(Rz @ factor.qb) - 0.5 * float(Rz @ Rz)

    def search(self, point: Any, s: np.ndarray, predicted: float, box: Box | None) -> Trial:
        """Return the first trial along s (projected onto the box) with a sufficient decrease.

        Where predicted and actual decrease are both rounding of the value, the full step is taken if the slope at
        its end is smaller than at its beginning.
        """
        t = 1.0
        for _ in range(int(self.max_halvings)):
            target = point.theta + t * s
            if box is not None:
                target = box.clip(target)
            trial, moved = point.at(target), target - point.theta
            slope = float(point.grad @ moved)
            actual = point.value - trial.value if trial.value < math.inf else -math.inf
            if abs(actual) <= ROUNDING * point.value:
                actual = -0.5 * (slope + float(trial.grad @ moved))
            if slope < 0.0 and actual >= -ARMIJO * slope and math.isfinite(float(trial.grad.sum())):
                return Trial(trial, t, actual)
            curvature = 2.0 * (-actual - slope)
            shrink = -slope / curvature if curvature > 0.0 and math.isfinite(curvature) else 0.1
            t *= min(max(shrink, 0.1), 0.5)
        return Trial(None, 0.0, -math.inf)


def _scaled(here: Stationarity, a: np.ndarray) -> float:
    scaled = here.norms * a
    return math.sqrt(float(scaled @ scaled))
