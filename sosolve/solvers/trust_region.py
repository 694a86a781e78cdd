"""Trust region: the model is minimised within a radius that follows the ratio of actual to predicted decrease."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..history import Status
from ..linalg import dot, norm
from ..protocols import Point
from .base import Step
from .line_search import ROUNDING, decrease
from .newton import CGState, InexactNewton
from .subproblem import Subproblem, dogleg, steihaug


def next_radius(radius: float, ratio: float, length: float, on_boundary: bool) -> float:
    """Return the radius after a trial step.

    Parameters
    ----------
    radius : float
        Present radius.
    ratio : float
        Actual / predicted decrease; -inf for a non-finite trial.
    length : float
        Length of the trial step, in the norm of the radius.
    on_boundary : bool
        Whether the step ended at the radius.

    Returns
    -------
    float
        A quarter of the step where ratio < 1/4, twice the radius where ratio > 3/4 at the boundary, else the same.

    References
    ----------
    Nocedal and Wright (2006), algorithm 4.1.
    """
    if not ratio >= 0.25:
        return 0.25 * min(length, radius)
    if ratio > 0.75 and on_boundary:
        return 2.0 * radius
    return radius


@dataclass(kw_only=True)
class TrustRegion(InexactNewton):
    """Trust region with Steihaug's conjugate gradients, or with Powell's dogleg on the dense Hessian.

    Parameters
    ----------
    radius0 : float, optional
        First radius, > 0, in the norm of the preconditioner (Euclidean for the dogleg); where None the first step
        is unrestricted and its length becomes the radius.
    subproblem : {"steihaug", "dogleg"}, default="steihaug"
    accept : float, default=1e-4
        Smallest ratio of actual to predicted decrease for which a step is taken, in [0, 1/4).

    References
    ----------
    Conn, Gould and Toint (2000). Trust-Region Methods. SIAM, algorithm 6.1.1.
    """

    name: ClassVar[str] = "trust-region"
    radius0: float | None = None
    subproblem: str = "steihaug"
    accept: float = 1e-4
    _ranges: ClassVar[tuple[tuple[str, float, float], ...]] = (
        *InexactNewton._ranges,
        ("radius0", 1e-300, math.inf),
        ("accept", 0.0, 0.25),
    )
    _choices: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = (
        *InexactNewton._choices,
        ("subproblem", ("steihaug", "dogleg")),
    )

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the chosen subproblem asks for."""
        return ("grad", "dense") if self.subproblem == "dogleg" else ("grad", "mv")

    def start(self, point: Point) -> CGState:
        """Return the state with the first radius."""
        radius = math.inf if self.radius0 is None else float(self.radius0)
        if self.subproblem == "dogleg":
            return CGState("none", None, point.theta, self.rtol_max, radius=radius)
        return replace(super().start(point), radius=radius)

    def step(self, point: Point, state: CGState) -> Step:
        """Return the outcome of one iteration."""
        state, solved, damping = self.solve(point, state)
        record: dict[str, Any] = dict(
            inner_iterations=solved.iterations,
            inner_stop=solved.stop,
            predicted=solved.predicted,
            damping=damping,
        )
        inside = solved.norm < state.radius
        decrement = math.sqrt(max(-solved.slope, 0.0)) if inside else math.nan
        if inside and self.converged(point, self.estimate(solved)):
            return Step(point, state, False, Status.CONVERGED, decrement=decrement, radius=state.radius, **record)
        rounding = solved.predicted <= ROUNDING * abs(point.value)
        if rounding and state.contradicted:
            return Step(point, state, False, Status.STALLED, decrement=decrement, radius=state.radius, **record)
        trial = self.trial(point, solved)
        slope = dot(trial.grad, solved.step) if math.isfinite(trial.value) else math.nan
        actual = decrease(point.value, solved.slope, trial.value, slope, 1.0)
        ratio = actual / solved.predicted if solved.predicted > 0.0 else -math.inf
        first = min(state.radius, solved.norm) if math.isinf(state.radius) else state.radius
        radius = next_radius(first, ratio, solved.norm, not inside or math.isinf(state.radius))
        record.update(actual=actual, ratio=ratio, radius=radius, decrement=decrement)
        state = self.learn(point, trial, state)
        if ratio > self.accept:
            state = replace(state, radius=radius, contradicted=False)
            return Step(trial, state, True, step_norm=norm(solved.step), **record)
        state = replace(state, radius=radius, contradicted=True)
        return Step(point, state, False, Status.STALLED if rounding or radius <= 1e-300 else None, **record)

    def estimate(self, solved: Subproblem) -> float:
        """Return half the squared Newton decrement that a step inside the radius tells of."""
        return -0.5 * solved.slope

    def trial(self, point: Point, solved: Subproblem) -> Point:
        """Return the point at the end of the step."""
        return point.along(solved.step).point(1.0)

    def learn(self, point: Point, trial: Point, state: CGState) -> CGState:
        """Return the state after a trial, accepted or not."""
        return state

    def solve(self, point: Point, state: CGState) -> tuple[CGState, Subproblem, float]:
        """Return the next state, the minimiser of the model within the radius, and the shift of the Hessian."""
        if self.subproblem == "dogleg":
            solved, shift = dogleg(point.curvature.dense(), point.grad, state.radius)
            return state, solved, shift
        state = self.refreshed(point, state)
        size, rtol = self.forcing(point, state)
        solved = steihaug(
            point.curvature.mv,
            point.grad,
            state.radius,
            state.precond,
            rtol=rtol,
            max_iter=self.max_cg,
            level=self.level(point),
        )
        return replace(state, cg=solved.iterations, grad_size=size, rtol=rtol), solved, math.nan
