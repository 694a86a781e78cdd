"""Nonlinear least squares in a scaled trust region: Levenberg-Marquardt in Moré's form, and Powell's dogleg."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..linalg import PivotedQR, norm, pivoted_qr
from .least_squares_subproblem import ModelStep, damped_solve, dogleg, levenberg_marquardt
from .residual_trust_region import RegionState, ResidualTrustRegion


@dataclass(kw_only=True)
class LevenbergMarquardt(ResidualTrustRegion):
    """Levenberg-Marquardt: min ||J s + r|| with ||D s|| <= radius, lambda from the secular equation.

    D is the running maximum of the column norms of J, so that a change of a parameter's unit changes nothing; J D^-1
    is factorised by QR with column pivoting, never squared.

    Parameters
    ----------
    geodesic : bool, default=False
        Add half the geodesic acceleration to each step where it is at most 3/4 of the step's length: one more
        evaluation of the residuals a step, fewer Jacobians in narrow curved valleys. Not with bounds.

    References
    ----------
    Moré, J. J. (1978). The Levenberg-Marquardt algorithm: implementation and theory. LNM 630, 105-116.
    Transtrum and Sethna (2012). Improvements to the Levenberg-Marquardt algorithm. arXiv:1201.5885, section 4.
    Deviations: the first radius uses a factor 10 instead of 100 and shrinks by 0.1 after a tenfold growth of the
    residual or a value that is not finite; a second try where a run got stuck.
    """

    name: ClassVar[str] = "lm"
    geodesic: bool = False

    def persistent(self, max_iter: int) -> LevenbergMarquardt:
        """Return the solver that goes on with a slow run: with geodesic acceleration, made for narrow valleys."""
        return replace(self, max_iter=max_iter, geodesic=True)

    def solve(self, factor: PivotedQR, radius: float, damping: float) -> ModelStep:
        """Return the damped step."""
        return levenberg_marquardt(factor, radius, damping)

    def accelerate(
        self, point: Any, state: RegionState, factor: PivotedQR, found: ModelStep, scaled: np.ndarray
    ) -> np.ndarray:
        """Return the scaled step, with half the geodesic acceleration where that is on and small enough."""
        if not self.geodesic or factor.rank < scaled.shape[0]:
            return scaled
        D, h = state.scale, 0.1
        ahead = point.at(point.theta + h * scaled / D)
        if not ahead.value < math.inf:
            return scaled
        bend = (2.0 / h) * ((ahead.residual - point.residual) / h - point.jac @ (scaled / D))
        again = pivoted_qr(point.jac / D, bend)
        a: Any = damped_solve(again, found.damping)[1]
        if not 2.0 * norm(a) <= 0.75 * found.length:
            return scaled
        extra = np.empty_like(a)
        extra[again.perm] = a
        return scaled + 0.5 * extra


@dataclass(kw_only=True)
class Dogleg(ResidualTrustRegion):
    """Powell's dogleg: the trust-region step along the path from the Cauchy point to the Gauss-Newton step.

    One factorisation a point whatever the radius, slightly more iterations than Levenberg-Marquardt.

    References
    ----------
    Powell, M. J. D. (1970). A hybrid method for nonlinear equations. Numerical Methods for Nonlinear Algebraic
    Equations, 87-114.
    """

    name: ClassVar[str] = "dogleg-ls"

    def solve(self, factor: PivotedQR, radius: float, damping: float) -> ModelStep:
        """Return the dogleg step."""
        return dogleg(factor, radius)
