"""The scaled trust region of nonlinear least squares: one iteration for every subproblem, and the second try."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..history import History, Result, Status
from ..linalg import PivotedQR, norm, pivoted_qr
from ..protocols import Objective
from .base import Callback, Step
from .bounds import Region, ResidualModel, bounded_step
from .least_squares_subproblem import ModelStep
from .line_search import ROUNDING, decrease
from .residual import EPS, STATIONARY, ResidualSolver, Stationarity, stationarity

#: Iterations after which a second run is tried before the first goes on, and those of the second: on the 144
#: Moré-Garbow-Hillstrom runs 75 and 150 cost a third fewer evaluations than 200 and 200.
FIRST_TRY = 75
SECOND_TRY = 150


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
class ResidualTrustRegion(ResidualSolver):
    """The iteration that Levenberg-Marquardt and the dogleg share.

    Parameters
    ----------
    factor : float, default=10
        The first radius is factor ||D theta0|| (factor itself where that is 0), then at most the first step, > 0.
    scaling : {"running-max", "none"}, default="running-max"
        D: the running maximum of the column norms of J, or ones.
    second_try : bool, default=True
        Where a run ends with a rank-deficient Jacobian or without progress, or takes more than 75 iterations, run
        at most 150 from the start with scaling="none" and factor=1, and keep the better; a slow first run then goes
        on where it was.
    accept : float, default=1e-4
        Smallest ratio of actual to predicted decrease for which a step is taken, in [0, 1/4).
    """

    factor: float = 10.0
    scaling: str = "running-max"
    second_try: bool = True
    accept: float = 1e-4
    _ranges: ClassVar = (("factor", 1e-300, math.inf), ("accept", 0.0, 0.25))
    _choices: ClassVar = (("scaling", ("running-max", "none")),)

    def solve(self, factor: PivotedQR, radius: float, damping: float) -> ModelStep:
        """Return the step of the subproblem in scaled and permuted variables."""
        raise NotImplementedError(f"{type(self).__name__} has no subproblem: define solve(factor, radius, damping)")

    def minimize(self, objective: Objective, theta0: Any, callback: Callback | None = None) -> Result:
        """Return the minimiser of a least-squares objective, after a second try where the first got stuck.

        Raises
        ------
        ValueError
            If a setting is outside its range, theta0 has the wrong shape or lies outside the bounds.
        TypeError
            If the objective has no residuals.
        """
        if not self.second_try:
            return super().minimize(objective, theta0, callback)
        limit = self.default_max_iter if self.max_iter is None else int(self.max_iter)
        first = replace(self, second_try=False, max_iter=min(limit, FIRST_TRY))
        result = super(ResidualTrustRegion, first).minimize(objective, theta0, callback)
        left = limit - result.n_iter
        if not _is_stuck(result) or left < 1:
            return result
        again = replace(first, scaling="none", factor=1.0, max_iter=min(left, SECOND_TRY))
        other = super(ResidualTrustRegion, again).minimize(objective, theta0, callback)
        left -= other.n_iter
        if result.status is Status.MAX_ITER and left > 0 and not (other.converged and other.value < result.value):
            more = first.persistent(left).resume(objective, result, callback)
            result = _joined(result, more, more)
        elif other.status is Status.MAX_ITER and left > 0 and other.value < result.value:
            more = again.persistent(left).resume(objective, other, callback)
            other = _joined(other, more, more)
        return _joined(result, other, other if other.value < result.value else result)

    def persistent(self, max_iter: int) -> ResidualTrustRegion:
        """Return the solver that goes on with a first run after the second one brought nothing."""
        return replace(self, max_iter=max_iter)

    def start(self, point: Any) -> RegionState:
        """Return the state with the first radius."""
        here = stationarity(point, self.box(point.theta.shape[0]))
        if self.scaling == "none":
            scale = np.ones_like(point.theta)
        else:
            scale = np.where(here.norms > 0.0, here.norms, 1.0)
        return RegionState(scale, self.factor * (norm(scale * point.theta) or 1.0), 0.0, here)

    def step(self, point: Any, state: RegionState) -> Step:
        """Return the outcome of one iteration."""
        if state.first and state.here.cosine <= max(self.tolerances()[2], 0.0):
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
            step_norm=norm(move.target - point.theta) if accepted else math.nan,
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

    def free_step(
        self, J: np.ndarray, D: np.ndarray, free: np.ndarray, r: np.ndarray, radius: float, damping: float
    ) -> tuple[np.ndarray, float]:
        """Return the step in the free variables, scaled, shape (p,), and its damping; see `bounds.FreeStep`."""
        factor = pivoted_qr(J[:, free] / D[free], r)
        found = self.solve(factor, radius, damping)
        step = np.zeros_like(D)
        step[np.flatnonzero(free)[factor.perm]] = found.z
        return step, found.damping

    def propose(self, point: Any, state: RegionState) -> TrialStep:
        """Return the trial step from the subproblem, inside the bounds."""
        J, r, D, theta = point.jac, point.residual, state.scale, point.theta
        box = self.box(theta.shape[0])
        if box is not None and state.here.free is not None:
            region = Region(theta, D, box, state.here.free, state.radius)
            model, solve = ResidualModel(r, J, point.grad), partial(self.free_step, J, D)
            target, damping, predicted = bounded_step(region, model, state.damping, solve)
            s = target - theta
            return TrialStep(target, norm(D * s), damping, predicted, float(point.grad @ s), None)
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
        size = norm(state.scale * point.theta)
        reach = before.value
        if state.here.cosine <= STATIONARY:
            if abs(actual) <= ftol * reach and move.predicted <= ftol * reach and ratio <= 2.0:
                return Status.CONVERGED, "ftol"
            if state.radius <= xtol * size:
                return Status.CONVERGED, "xtol"
        if state.radius <= EPS * size:
            return Status.STALLED, ""
        return None, ""


def _is_stuck(result: Result) -> bool:
    """Return whether a run ended without success, or at a point with a rank-deficient Jacobian."""
    state = result.state
    if not isinstance(state, RegionState) or result.value == 0.0:
        return False
    if result.converged:
        return state.deficient
    return result.status is Status.MAX_ITER or (result.status is Status.STALLED and state.here.cosine > STATIONARY)


def _joined(first: Result, second: Result, best: Result) -> Result:
    """Return the best of two results with the histories joined and the work added."""
    history = History(first.history, first.history.notes)
    history.notes["second try"] = (
        f"the first run got stuck at the value {first.value:.6g}; another one ended at {second.value:.6g}"
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
    return replace(best, history=history, counts=first.counts + second.counts)
