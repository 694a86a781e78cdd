"""Proximal Newton for a smooth objective plus a separable penalty and bounds, on a working set of the parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..history import Status
from ..linalg import dot, norm
from ..protocols import Array, Point
from .base import Solver, Step
from .composite_model import minimise_model
from .line_search import ROUNDING, backtrack_composite
from .newton import line_search_step
from .subproblem import solve_shifted

#: Where the decrease of a loosely minimised model is below this multiple of the tolerance, the model is minimised
#: exactly: the decrement that ends a fit must not rest on a loose solve.
EXACT = 100.0


@dataclass(kw_only=True)
class ProximalNewton(Solver):
    r"""Proximal Newton: the quadratic model of the smooth part plus the penalty, minimised exactly, and backtracking.

    .. math:: u = \arg\min_u \; g^\top (u - \theta) + \tfrac12 (u - \theta)^\top H (u - \theta) + h(u)

    for a `Composite` objective; the model's decrease is the analogue of half the squared Newton decrement, and ends
    the fit in its place. Once the zeros and the active bounds are found, it is Newton's method in the rest.

    Problems of many parameters are solved on a working set: those that are not zero and those whose subgradient asks
    for a move, a limited number at a time. The restricted problem is solved by the same loop, and its solution shows
    which parameters are missing. For smooth objectives this is `NewtonCholesky`.

    Parameters
    ----------
    working_set : int, default=100
        Fewest parameters for which a working set is used, and the size it has at first, >= 1.
    reduction : float, default=0
        Also converged when half the squared decrement has fallen below this fraction of the first one, in [0, 1).
    max_rounds : int, default=100
        Rounds of sweeps and solves in one model, >= 1.

    References
    ----------
    Lee, Sun and Saunders (2014). Proximal Newton-type methods for minimizing composite functions. SIAM J. Optim.
    24(3), 1420-1443, algorithm 1. Byrd, Nocedal and Oztoprak (2016). An inexact successive quadratic approximation
    method for L-1 regularized optimization. Math. Program. 157, 375-396. Working sets: Massias, Gramfort and Salmon
    (2018). Celer: a fast solver for the Lasso with dual extrapolation. ICML 35.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    name: ClassVar[str] = "proximal-newton"
    working_set: int = 100
    reduction: float = 0.0
    max_rounds: int = 100
    _ranges: ClassVar[tuple[tuple[str, float, float], ...]] = (
        ("working_set", 1, math.inf),
        ("reduction", 0.0, 1.0),
        ("max_rounds", 1, math.inf),
    )

    def start(self, point: Point) -> float:
        """Return the state: half the squared decrement of the first iteration, NaN before it."""
        return math.nan

    def step(self, point: Any, state: float) -> Step:
        """Return the outcome of one iteration."""
        if getattr(point, "penalty", None) is None:
            return self._smooth_step(point, state)
        wanted = self._wanted(point)
        return self._newton_step(point, state) if wanted is None else self._working_set_step(point, state, wanted)

    # ------------------------------------------------------------------ all parameters

    def _smooth_step(self, point: Any, state: float) -> Step:
        """Return a Newton step on an objective without a penalty."""
        d, shift = solve_shifted(point.curvature.dense(), point.grad)
        if d is None:
            return Step(point, state, False, Status.NOT_POSITIVE_DEFINITE)
        slope = dot(point.grad, d)
        record: dict[str, Any] = dict(predicted=-0.5 * slope, decrement=math.sqrt(max(-slope, 0.0)), damping=shift)
        if self.converged(point, -0.5 * slope):
            return Step(point, state, False, Status.CONVERGED, **record)
        return line_search_step(point, state, d, slope, **record)

    def _newton_step(self, point: Any, state: float) -> Step:
        """Return a proximal Newton step in all parameters."""
        H, g, theta = point.smooth.curvature.dense(), point.smooth.grad, point.theta
        if not bool(np.all(np.isfinite(H))):
            return Step(point, state, False, Status.NOT_POSITIVE_DEFINITE)
        found = minimise_model(H, g, theta, point.penalty, rtol=0.1, exact=False, max_rounds=self.max_rounds)
        if found.predicted <= EXACT * self.level(point) or not found.linear < 0.0:
            more = minimise_model(H, g, theta, point.penalty, begin=found.u, max_rounds=self.max_rounds)
            found = replace(more, iterations=found.iterations + more.iterations)
        record: dict[str, Any] = dict(
            inner_iterations=found.iterations,
            inner_stop=found.stop,
            predicted=found.predicted,
            decrement=math.sqrt(max(2.0 * found.predicted, 0.0)),
        )
        first = found.predicted if math.isnan(state) else state
        if self.converged(point, found.predicted) or found.predicted <= self.reduction * first:
            return Step(point, first, False, Status.CONVERGED, **record)
        d = found.u - theta
        searched = backtrack_composite(point, found.u, found.linear) if found.linear < 0.0 else None
        if searched is None or searched.point is None:
            floor = ROUNDING * abs(point.value)
            status = Status.STALLED if abs(found.linear) <= floor else Status.LINE_SEARCH_FAILED
            return Step(point, first, False, status, **record)
        return Step(
            searched.point,
            first,
            True,
            step_size=searched.step_size,
            step_norm=searched.step_size * norm(d),
            actual=searched.actual,
            ratio=searched.actual / found.predicted if found.predicted else math.nan,
            **record,
        )

    # ------------------------------------------------------------------ a working set

    def _wanted(self, point: Any) -> Array | None:
        """Return the working set, booleans of shape (p,), or None where all parameters are treated at once.

        It holds what is not zero and the largest subgradients, twice as many as are not zero.
        """
        theta, subgradient = point.theta, point.grad
        if theta.shape[0] < self.working_set or not hasattr(point.objective.smooth, "restricted"):
            return None
        used = theta != 0.0
        size = np.where(used, 0.0, np.abs(subgradient))
        room = max(self.working_set, 2 * int(np.count_nonzero(used)))
        if np.count_nonzero(size) > room:
            size = np.where(size >= np.partition(size, -room)[-room], size, 0.0)
        wanted = used | (size > 0.0)
        return wanted if 2 * int(np.count_nonzero(wanted)) < theta.shape[0] else None

    def _working_set_step(self, point: Any, state: float, wanted: Array) -> Step:
        """Return the step to the minimum over the parameters in the working set."""
        objective, index = point.restricted(wanted)
        inner = replace(self, working_set=len(index) + 1, reduction=1e-3, max_iter=50)
        found = inner.minimize(objective, point.theta[index])
        history = found.history
        decrement = history[1].decrement if len(history) > 1 else math.nan
        half = 0.5 * decrement**2
        record: dict[str, Any] = dict(
            inner_iterations=found.n_iter, predicted=point.value - found.value, decrement=decrement
        )
        first = half if math.isnan(state) else state
        if found.status in (Status.INTERRUPTED, Status.NOT_POSITIVE_DEFINITE):
            return Step(point, first, False, found.status, **record)
        if not any(entry.accepted for entry in history[1:]):
            status = Status.CONVERGED if self.converged(point, half) else found.status
            return Step(point, first, False, status, **record)
        theta = point.theta.copy()
        theta[index] = found.theta
        trial = point.objective.at(theta)
        return Step(trial, first, True, step_size=1.0, actual=point.value - trial.value, **record)
