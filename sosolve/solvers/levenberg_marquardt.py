"""Nonlinear least squares in a scaled trust region: Levenberg-Marquardt in Moré's form, and Powell's dogleg."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..history import History, Result, Status
from ..linalg import PivotedQR, pivoted_qr
from ..protocols import Objective
from .base import Callback, Solver, Step
from .bounds import Box, bounded_step
from .least_squares_subproblem import ModelStep, damped_solve, dogleg, levenberg_marquardt
from .line_search import ROUNDING, decrease

EPS = float(np.finfo(np.float64).eps)
#: Largest cosine between r and a column of J at which ftol and xtol may end a fit: elsewhere the point is not
#: stationary and a short step only means a narrow valley.
STATIONARY = 1e-4


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
    good as 0: its direction is noise.
    """
    J, r, g = point.jac, point.residual, point.grad
    norms = np.sqrt(np.add.reduce(J * J, axis=0))
    length = math.sqrt(float(r @ r))
    free = None if box is None else box.free(point.theta, g)
    parts = np.abs(g) / np.where(norms > 0.0, norms, 1.0)
    if free is not None:
        parts = np.where(free, parts, 0.0)
    top = float(parts.max(initial=0.0))
    if top == 0.0 or top <= 2.0 * EPS * float(norms @ np.abs(point.theta)):
        return Stationarity(norms, 0.0, free)
    return Stationarity(norms, top / length, free)


class TrialStep(NamedTuple):
    """Where an iteration wants to go.

    Attributes
    ----------
    target : ndarray of shape (p,)
    length : float
        ||D s||.
    damping : float
    predicted : float
        Decrease of the Gauss-Newton model of the objective.
    slope : float
        Derivative of the objective along s, < 0.
    factor : PivotedQR or None
        Of the scaled Jacobian, to be used again where the step is rejected.
    rank : int
        Of the scaled Jacobian of the free parameters.
    """

    target: np.ndarray
    length: float
    damping: float
    predicted: float
    slope: float
    factor: PivotedQR | None


class RegionState(NamedTuple):
    """What is carried from one iteration to the next.

    Attributes
    ----------
    scale : ndarray of shape (p,)
        D, the running maximum of the column norms of J; ones where scaling is off.
    radius : float
        Bound on ||D s||.
    damping : float
        lambda of the last step.
    here : Stationarity
        Of the present point.
    factor : PivotedQR or None
        Of J D^-1 at the present point, where it is known.
    first : bool
        Whether no step has been tried yet.
    deficient : bool
        Whether the last scaled Jacobian had less than full column rank.
    """

    scale: np.ndarray
    radius: float
    damping: float
    here: Stationarity
    factor: PivotedQR | None = None
    first: bool = True
    deficient: bool = False


def next_region(
    radius: float, damping: float, length: float, ratio: float, actual: float, slope: float, blew_up: bool
) -> tuple[float, float]:
    """Return radius and damping after a trial step.

    Parameters
    ----------
    radius, damping : float
        Before the step.
    length : float
        ||D s|| of the trial.
    ratio : float
        Actual / predicted decrease; -inf for a trial that is not finite.
    actual : float
        Decrease of the objective.
    slope : float
        Its derivative along the step, < 0.
    blew_up : bool
        Whether the residual grew tenfold or is not finite.

    Returns
    -------
    radius : float
        Below a ratio of 1/4: shrunk by the minimiser of the parabola through value, slope and trial value, kept
        within [0.1, 0.5]; above 3/4, and after a Gauss-Newton step: twice the length of the step.
    damping : float
        Changed by the inverse factor.

    References
    ----------
    Moré (1978), section 4 and MINPACK's lmder.
    """
    if not ratio > 0.25:
        factor = 0.5
        if not actual >= 0.0:
            factor = 0.1 if blew_up or slope + actual >= 0.0 else 0.5 * slope / (slope + actual)
            factor = max(factor, 0.1)
        return factor * min(radius, 10.0 * length), damping / factor
    if damping == 0.0 or ratio >= 0.75:
        return 2.0 * length, 0.5 * damping
    return radius, damping


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
    default_max_iter: ClassVar[int] = 1000
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
            return super().minimize(objective, theta0, callback)


@dataclass(kw_only=True)
class ResidualTrustRegion(ResidualSolver):
    """The iteration that Levenberg-Marquardt and the dogleg share.

    Parameters
    ----------
    factor : float, default=10
        The first radius is factor ||D theta0|| (factor itself where that is 0), then at most the first step, > 0.
    scaling : {"running-max", "none"}, default="running-max"
        D: the running maximum of the column norms of J, or ones.
    second_try : bool, default=True
        Where a run ends with a rank-deficient Jacobian or without progress, run once more from the start with
        scaling="none" and factor=1, and keep the better.
    accept : float, default=1e-4
        Smallest ratio of actual to predicted decrease for which a step is taken, in [0, 1/4).
    """

    factor: float = 10.0
    scaling: str = "running-max"
    second_try: bool = True
    accept: float = 1e-4
    _ranges: ClassVar = (("factor", 1e-300, math.inf), ("accept", 0.0, 0.25))

    def solve(self, factor: PivotedQR, radius: float, damping: float) -> ModelStep:
        """Return the step of the subproblem in scaled and permuted variables."""
        raise NotImplementedError(f"{type(self).__name__} has no subproblem: define solve(factor, radius, damping)")

    def check_settings(self) -> None:
        """Check the ranges and the name of the scaling.

        Raises
        ------
        ValueError
            If one is outside its range.
        """
        super().check_settings()
        if self.scaling not in ("running-max", "none"):
            raise ValueError(f"received scaling={self.scaling!r}; expected 'running-max' or 'none': choose one of them")

    def minimize(self, objective: Objective, theta0: Any, callback: Callback | None = None) -> Result:
        """Return the minimiser of a least-squares objective, after a second try where the first got stuck.

        Raises
        ------
        ValueError
            If a setting is outside its range, theta0 has the wrong shape or lies outside the bounds.
        TypeError
            If the objective has no residuals.
        """
        first = super().minimize(objective, theta0, callback)
        stuck = first.status in (Status.STALLED, Status.MAX_ITER) and not _is_stationary(first.state)
        deficient = isinstance(first.state, RegionState) and first.state.deficient
        if not self.second_try or first.value == 0.0 or not (stuck or (first.converged and deficient)):
            return first
        again = replace(self, scaling="none", factor=1.0, second_try=False)
        if self.max_iter is not None:
            again.max_iter = self.max_iter - first.n_iter
        again.max_time = self.max_time - first.history[-1].seconds
        if (again.max_iter is not None and again.max_iter < 1) or again.max_time <= 0.0:
            return first
        return _better(first, super(type(again), again).minimize(objective, theta0, callback))

    def start(self, point: Any) -> RegionState:
        """Return the state with the first radius."""
        here = stationarity(point, self.box(point.theta.shape[0]))
        if self.scaling == "none":
            scale = np.ones_like(point.theta)
        else:
            scale = np.where(here.norms > 0.0, here.norms, 1.0)
        return RegionState(scale, self.factor * (_length(scale * point.theta) or 1.0), 0.0, here)

    def step(self, point: Any, state: RegionState) -> Step:
        """Return the outcome of one iteration."""
        ftol, xtol, gtol = self.tolerances()
        if state.first and state.here.cosine <= max(gtol, 0.0):
            return Step(point, state, False, Status.CONVERGED, "gtol", radius=state.radius)
        move = self.propose(point, state)
        trial = point.at(move.target)
        actual = self.decrease(point, trial, move)
        ratio = actual / move.predicted if move.predicted > 0.0 else -math.inf
        accepted = ratio >= self.accept and math.isfinite(float(trial.grad.sum()))
        radius = min(state.radius, move.length) if state.first and move.length > 0.0 else state.radius
        blew_up = not trial.value < 100.0 * point.value
        if ratio >= self.accept and not accepted:  # finite residuals with a Jacobian that is not
            ratio, actual, blew_up = -math.inf, -math.inf, True
        radius, damping = next_region(radius, move.damping, move.length, ratio, actual, move.slope, blew_up)
        state = self.advance(trial if accepted else point, state, move, radius, damping, accepted)
        status, reason = self.verdict(point, trial if accepted else point, state, move, actual, ratio)
        return Step(
            trial if accepted else point,
            state,
            accepted,
            status,
            reason,
            step_norm=_length(move.target - point.theta) if accepted else math.nan,
            radius=radius,
            damping=move.damping,
            predicted=move.predicted,
            actual=actual,
            ratio=ratio,
        )

    def decrease(self, point: Any, trial: Any, move: TrialStep) -> float:
        """Return the decrease of the objective, from the slopes at both ends where the values differ by rounding."""
        change = point.value - trial.value
        if abs(change) > ROUNDING * point.value or not math.isfinite(change):
            return change if math.isfinite(change) else -math.inf
        slope = float(trial.grad @ (move.target - point.theta))
        return decrease(point.value, move.slope, trial.value, slope, 1.0)

    def propose(self, point: Any, state: RegionState) -> TrialStep:
        """Return the trial step from the subproblem, inside the bounds."""
        J, r, D, theta = point.jac, point.residual, state.scale, point.theta
        if state.here.free is not None:
            box = self.box(theta.shape[0])
            target, damping, predicted = bounded_step(
                theta,
                r,
                J,
                D,
                box,
                state.here.free,
                state.radius,
                state.damping,
                self.solve,  # type: ignore[arg-type]
            )
            s = target - theta
            return TrialStep(target, _length(D * s), damping, predicted, float(point.grad @ s), None)
        factor = state.factor or pivoted_qr(J / D, r)
        found = self.solve(factor, state.radius, state.damping)
        Rz = factor.R @ found.z
        bend = float(Rz @ Rz)
        if found.damping >= 0.0:  # a minimiser of the damped model: no cancellation, Moré (1978), equation 4.2
            ridge = found.damping * found.length * found.length
            predicted, slope = 0.5 * bend + ridge, -(bend + ridge)
        else:
            slope = float(Rz @ factor.qb)
            predicted = -slope - 0.5 * bend
        s = np.empty_like(theta)
        s[factor.perm] = found.z
        return TrialStep(
            theta + self.accelerate(point, state, factor, found, s) / D,
            found.length,
            found.damping,
            predicted,
            slope,
            factor,
        )

    def accelerate(
        self, point: Any, state: RegionState, factor: PivotedQR, found: ModelStep, scaled: np.ndarray
    ) -> np.ndarray:
        """Return the scaled step D s, shape (p,), with what a solver adds to the minimiser of its model."""
        return scaled

    def advance(
        self, point: Any, state: RegionState, move: TrialStep, radius: float, damping: float, accepted: bool
    ) -> RegionState:
        """Return the state at the point where the iteration ended."""
        deficient = state.deficient if move.factor is None else move.factor.rank < point.theta.shape[0]
        damping = damping if damping >= 0.0 else 0.0
        if not accepted:
            return state._replace(radius=radius, damping=damping, factor=move.factor, first=False, deficient=deficient)
        here = stationarity(point, None if state.here.free is None else self.box(point.theta.shape[0]))
        scale = state.scale if self.scaling == "none" else np.maximum(state.scale, here.norms)
        return RegionState(scale, radius, damping, here, None, False, deficient)

    def verdict(
        self, before: Any, point: Any, state: RegionState, move: TrialStep, actual: float, ratio: float
    ) -> tuple[Status | None, str]:
        """Return the status and the test that end the fit at `point`, (None, "") to go on."""
        ftol, xtol, gtol = self.tolerances()
        if state.here.cosine <= max(gtol, 0.0):
            return Status.CONVERGED, "gtol"
        size = _length(state.scale * point.theta)
        reach = before.value
        if state.here.cosine <= STATIONARY:
            if abs(actual) <= ftol * reach and move.predicted <= ftol * reach and ratio <= 2.0:
                return Status.CONVERGED, "ftol"
            if state.radius <= xtol * size:
                return Status.CONVERGED, "xtol"
        if state.radius <= EPS * size or (abs(actual) <= EPS * reach and move.predicted <= EPS * reach):
            return Status.STALLED, ""
        return None, ""


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
        a = damped_solve(again, found.damping)[1]
        if not 2.0 * _length(a) <= 0.75 * found.length:
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


def _length(a: np.ndarray) -> float:
    return math.sqrt(float(a @ a))


def _is_stationary(state: object) -> bool:
    return isinstance(state, RegionState) and state.here.cosine <= STATIONARY


def _better(first: Result, second: Result) -> Result:
    """Return the result with the lower value, with the histories joined and the work added."""
    best, other = (second, first) if second.value < first.value else (first, second)
    history = History(first.history, first.history.notes)
    history.notes["second try"] = (
        f"the first run ended at the value {first.value:.6g} ({first.status.name.lower()}); the second, unscaled "
        f"with factor 1, at {second.value:.6g}; kept: the {'second' if best is second else 'first'}"
    )
    last = first.history[-1]
    for record in second.history:
        history.append(
            replace(
                record,
                iteration=record.iteration + last.iteration + 1,
                n_value=record.n_value + last.n_value,
                n_grad=record.n_grad + last.n_grad,
                seconds=record.seconds + last.seconds,
            )
        )
    return replace(best, history=history, counts=best.counts + other.counts)
