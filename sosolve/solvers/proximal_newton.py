"""Proximal Newton for a smooth objective plus a separable penalty and bounds, on a working set of the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..history import Status
from ..linalg import dot
from ..protocols import Array, Point
from .base import Solver, Step
from .composite_model import ModelMinimiser, minimise_model
from .composite_products import minimise_by_products
from .line_search import backtrack_composite
from .search_step import line_search_step, searched_step
from .subproblem import solve_shifted

#: Where the decrease of a loosely minimised model is below this multiple of the tolerance, the model is minimised
#: exactly: the decrement that ends a fit must not rest on a loose solve.
EXACT = 100.0
#: Fraction of the largest subgradient to which it is minimised otherwise.
ROUGH = 0.1
#: How far half the squared decrement must fall on one working set before the next one is formed.
REDUCTION = 1e-3
#: Parameters from which the matrix of a model is kept for the next one, and the decrease of the model, as a fraction of
#: the value, below which it still fits there. A p x p matrix costs about p / 8 passes.
KEPT_SIZE, KEPT_BELOW = 40, 0.3
#: A kept matrix is replaced where the decrease has not fallen below this fraction of the one before.
FALL = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class ModelState:
    """What proximal Newton carries from one iteration to the next.

    Attributes
    ----------
    first : float
        Decrease of the first model, NaN before it.
    H : Array of shape (p, p) or None
        The matrix of the last model, where it is to be used once more.
    predicted : float
        Decrease of the last model.
    index : Array of int or None
        The last working set.
    part : Composite or None
        The objective of that working set.
    end : Result or None
        How the fit on it ended.
    """

    first: float = math.nan
    H: Any = None
    predicted: float = math.inf
    index: Any = None
    part: Any = None
    end: Any = None


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
    dense_size : int, default=2000
        Most parameters of a model whose matrix is formed, >= 0: it has the square of that many numbers. Larger models
        are minimised by products with it, which need no memory beyond some vectors.

    References
    ----------
    Lee, Sun and Saunders (2014). Proximal Newton-type methods for minimizing composite functions. SIAM J. Optim.
    24(3), 1420-1443, algorithm 1. Byrd, Nocedal and Oztoprak (2016). An inexact successive quadratic approximation
    method for L-1 regularized optimization. Math. Program. 157, 375-396. Working sets: Massias, Gramfort and Salmon
    (2018). Celer: a fast solver for the Lasso with dual extrapolation. ICML 35.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    name: ClassVar[str] = "proximal-newton"
    composite: ClassVar[bool] = True
    working_set: int = 100
    reduction: float = 0.0
    max_rounds: int = 100
    dense_size: int = 2_000
    _ranges: ClassVar[tuple[tuple[str, float, float], ...]] = (
        ("working_set", 1, math.inf),
        ("reduction", 0.0, 1.0),
        ("max_rounds", 1, math.inf),
        ("dense_size", 0, math.inf),
    )

    def start(self, point: Point) -> ModelState:
        """Return the state before the first iteration."""
        return ModelState()

    def step(self, point: Any, state: ModelState) -> Step:
        """Return the outcome of one iteration."""
        if getattr(point, "penalty", None) is None:
            return self._smooth_step(point, state)
        wanted = self._wanted(point)
        return self._newton_step(point, state) if wanted is None else self._working_set_step(point, state, wanted)

    # ------------------------------------------------------------------ all parameters

    def _smooth_step(self, point: Any, state: ModelState) -> Step:
        """Return a Newton step on an objective without a penalty."""
        d, shift = solve_shifted(point.curvature.dense(), point.grad)
        if d is None:
            return Step(point, state, False, Status.NOT_POSITIVE_DEFINITE)
        slope = dot(point.grad, d)
        record: dict[str, Any] = dict(predicted=-0.5 * slope, decrement=math.sqrt(max(-slope, 0.0)), damping=shift)
        if self.converged(point, -0.5 * slope):
            return Step(point, state, False, Status.CONVERGED, **record)
        return line_search_step(point, state, d, slope, stretch=True, **record)

    def _newton_step(self, point: Any, state: ModelState) -> Step:
        """Return a proximal Newton step in all parameters."""
        found, H = self._model(point, state)
        if found is None:
            return Step(point, state, False, Status.NOT_POSITIVE_DEFINITE)
        record: dict[str, Any] = dict(
            inner_iterations=found.iterations,
            inner_stop=found.stop,
            predicted=found.predicted,
            decrement=math.sqrt(max(2.0 * found.predicted, 0.0)),
        )
        keep = H is not None and len(H) >= KEPT_SIZE and found.predicted <= KEPT_BELOW * abs(point.value)
        first = found.predicted if math.isnan(state.first) else state.first
        state = ModelState(first, H if keep else None, found.predicted)
        if self.converged(point, found.predicted):
            return Step(point, state, False, Status.CONVERGED, **record)
        searched = backtrack_composite(point, found.u, found.linear) if found.linear < 0.0 else None
        step = searched_step(point, state, found.u - point.theta, found.linear, searched, **record)
        if found.predicted <= self.reduction * state.first:
            step.status = step.status or Status.CONVERGED  # with the step, which is made by now
        return step

    def _model(self, point: Any, state: ModelState) -> tuple[ModelMinimiser | None, Any]:
        """Return the minimiser of the model, None where its matrix is not finite, and the matrix where there is one."""
        if point.theta.shape[0] > self.dense_size:
            return self._minimised(point, minimise_by_products, point.smooth.curvature), None
        H = point.smooth.curvature.dense() if state.H is None else state.H
        if not bool(np.all(np.isfinite(H))):
            return None, H
        found = self._minimised(point, _by_matrix, H)
        if state.H is not None and found.predicted > FALL * state.predicted and not self._done(point, found, state):
            H = point.smooth.curvature.dense()
            found = self._minimised(point, _by_matrix, H)
        return found, H

    def _minimised(self, point: Any, minimise: Callable[..., ModelMinimiser], H: Any) -> ModelMinimiser:
        """Return the minimiser of the model with the curvature H, exact where the decrease is near the tolerance."""
        model = (H, point.smooth.grad, point.theta, point.penalty)
        found = minimise(*model, rtol=ROUGH, max_rounds=self.max_rounds)
        if found.predicted > EXACT * self.level(point) and found.linear < 0.0:
            return found
        more = minimise(*model, begin=found.u, max_rounds=self.max_rounds)
        return replace(more, iterations=found.iterations + more.iterations)

    def _done(self, point: Any, found: ModelMinimiser, state: ModelState) -> bool:
        """Return whether the fit ends at this point."""
        return self.converged(point, found.predicted) or found.predicted <= self.reduction * state.first

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
        sizes = size[size > 0.0]  # without the zeros, of which there are many: equal numbers slow a partition down
        if len(sizes) > room:
            size = np.where(size >= np.partition(sizes, -room)[-room], size, 0.0)
        wanted = used | (size > 0.0)
        return wanted if 2 * int(np.count_nonzero(wanted)) < theta.shape[0] else None

    def _working_set_step(self, point: Any, state: ModelState, wanted: Array) -> Step:
        """Return the step to the minimum over the parameters in the working set."""
        kept = state.end is not None and bool(np.all(np.isin(np.flatnonzero(np.asarray(wanted)), state.index)))
        objective, index = (state.part, state.index) if kept else point.restricted(wanted)
        inner = replace(self, working_set=len(index) + 1, reduction=REDUCTION, max_iter=50)
        if kept:  # nothing has come to what is there already, the matrix of its last model included
            again = replace(state.end.state, first=math.nan)
            found = inner.go_on(objective, state.end.point, again)
        else:
            found = inner.go_on(objective, point.carried(objective, point.theta[index]), ModelState())
        state = replace(state, index=index, part=objective, end=found)
        history = found.history
        decrement = history[1].decrement if len(history) > 1 else math.nan
        half = 0.5 * decrement**2
        record: dict[str, Any] = dict(
            inner_iterations=found.n_iter, predicted=point.value - found.value, decrement=decrement
        )
        if found.status in (Status.INTERRUPTED, Status.NOT_POSITIVE_DEFINITE):
            return Step(point, state, False, found.status, **record)
        if not any(entry.accepted for entry in history[1:]):
            status = Status.CONVERGED if self.converged(point, half) else found.status
            return Step(point, state, False, status, **record)
        theta = point.theta.copy()
        theta[index] = found.theta
        end: Any = found.point
        trial = end.carried(point.objective, theta)
        return Step(trial, state, True, step_size=1.0, actual=point.value - trial.value, **record)


def _by_matrix(H: Any, g: Any, theta: Any, penalty: Any, rtol: float = 1e-2, **options: Any) -> ModelMinimiser:
    """Return `minimise_model`, exact unless rtol is `ROUGH`."""
    return minimise_model(H, g, theta, penalty, rtol=rtol, exact=rtol < ROUGH, **options)
