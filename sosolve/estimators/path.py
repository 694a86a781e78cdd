"""The fits of one problem along its strengths: one model, warm starts, extrapolation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..history import Result, Status
from ..protocols import Array
from ..solvers import SOLVERS, Solver
from .problem import Problem
from .threads import blas_threads
from .together import may_be_together, solve_together

if TYPE_CHECKING:
    from .base import LinearClassifier

#: Farthest extrapolation, as a multiple of the last step in log C.
FARTHEST = 1.5
#: Optima that a polynomial in log C goes through at most, where the steps between them are no longer than that. On text
#: and on small dense data a cubic took 10 to 30 % of the products off twenty values with steps of 1, and added as many
#: with steps of 2.
MOST_POINTS, SMALL_STEP = 4, 1.2


class Ended(NamedTuple):
    """How the fit for one strength ended.

    Attributes
    ----------
    attributes : dict of str to Array
        `coef_` and `intercept_`.
    n_iter : int
    bad : Status or None
        Why it did not converge; None where it did, or where one class alone has weight.
    """

    attributes: dict[str, Array]
    n_iter: int
    bad: Status | None


class Path:
    """The minimisers of one problem for one strength after another.

    The model of the data is built once. The optimum is a smooth function of log C under an L2 penalty, and one by
    pieces under L1: a fit starts on the line through the last two optima, or on the cubic through the last four where
    that is safe, the second at the first; the first where a single fit would.

    Parameters
    ----------
    estimator : LinearClassifier
        Says which solver runs and to which tolerance.
    problem : Problem
        The data under any strength.
    """

    def __init__(self, estimator: LinearClassifier, problem: Problem):
        self.estimator, self.problem = estimator, problem
        self._known: list[tuple[float, Array]] = []

    def solve(
        self, C: float, l1_ratio: float = 0.0, watcher: Callable[[Problem], Callable] | None = None
    ) -> tuple[Problem, Solver, Result]:
        """Return the problem under this strength, the solver that ran and the minimiser.

        Parameters
        ----------
        C : float
            In (0, inf]. Each call is cheapest when C is next to that of the last one.
        l1_ratio : float, default=0
            Share of L1 in the penalty, in [0, 1].
        watcher : callable, optional
            problem -> callback of the loop; where None the loop looks for separation only.
        """
        problem = self.problem.at(C, l1_ratio)
        units = problem.model.units()
        guess = self._guess(math.log(C), problem.penalty.is_smooth)
        if guess is not None and not problem.penalty.is_smooth:
            guess = self._same_signs(guess)
        start = None if guess is None else (guess * units, "the path of strengths")
        callback = (lambda _, point: _separated(problem, point)) if watcher is None else watcher(problem)
        solver, result = self.estimator._solve(problem, callback, start)
        self.add(C, result.theta / units)
        return problem, solver, result

    def solve_all(self, Cs: np.ndarray, l1_ratio: float = 0.0) -> list[Ended]:
        """Return how the fits for these strengths end, in their order; several at once where that is cheaper.

        Parameters
        ----------
        Cs : ndarray of shape (q,)
            In (0, inf].
        l1_ratio : float, default=0
            Share of L1 in the penalty, in [0, 1].
        """
        with blas_threads(self.problem.X, l1_ratio):
            return self._solved_all(Cs, l1_ratio)

    def _solved_all(self, Cs: np.ndarray, l1_ratio: float) -> list[Ended]:
        """Return `solve_all`."""
        estimator, (values, back) = self.estimator, np.unique(Cs, return_inverse=True)
        base = self.problem.at(float(values[-1]), l1_ratio)
        known: list = [None] * len(values)
        by_choice = isinstance(estimator.solver, str) and estimator.solver not in SOLVERS
        if by_choice and may_be_together(base, values, estimator.tol, estimator.max_iter):
            known = solve_together(base, values, estimator.tol, base.start(estimator))
        units, ends = base.model.units(), []
        for C, found in zip(values.tolist(), known, strict=True):
            if found is not None:
                self.add(C, found.theta / units)
                ends.append(Ended(base.attributes(found.theta), found.n_iter, None))
                continue
            solved, _, result = self.solve(C, l1_ratio)
            missing = result.status is Status.SEPARATED and solved.alpha > 0.0  # all classes but one are absent
            bad = None if result.converged or missing else result.status
            ends.append(Ended(solved.attributes(result.theta), result.n_iter, bad))
        return [ends[k] for k in back]

    def add(self, C: float, flat: Array) -> None:
        """Note an optimum, in parameters per unit of the user's coefficients."""
        log_C = math.log(C)
        others = [known for known in self._known if known[0] != log_C]
        self._known = [*others[1 - MOST_POINTS :], (log_C, flat)]

    def _guess(self, log_C: float, smooth: bool = True) -> Array | None:
        """Return where to start, None before anything is known."""
        if not self._known:
            return None
        near, last = self._known[-1]
        if len(self._known) == 1 or not (math.isfinite(log_C) and math.isfinite(near)):
            return last
        points = self._near(log_C) if smooth else []
        if len(points) > 2:
            return sum(w * flat for w, (_, flat) in zip(_lagrange([x for x, _ in points], log_C), points, strict=True))
        far, before = self._known[-2]
        t = (log_C - near) / (near - far)
        return last + max(0.0, min(t, FARTHEST)) * (last - before)

    def _near(self, log_C: float) -> list[tuple[float, Array]]:
        """Return the last optima that lie on one side of log C in small steps, itself one step from the last."""
        points, ahead = [], log_C
        way = math.copysign(1.0, log_C - self._known[-1][0])
        for known in reversed(self._known):
            if not 0.0 < way * (ahead - known[0]) <= SMALL_STEP:
                break
            points.append(known)
            ahead = known[0]
        even = len(points) > 1 and abs(log_C - points[0][0]) <= FARTHEST * abs(points[0][0] - points[1][0])
        return points if even else []

    def _same_signs(self, guess: Array) -> Array:
        """Return the guess with zero where the last optimum has it, or has the other sign."""
        last = self._known[-1][1]
        return guess * (guess * last > 0.0)


def _lagrange(x: list[float], at: float) -> list[float]:
    """Return the weights of the values at the points x of the polynomial through them, evaluated at a point."""
    return [math.prod((at - b) / (a - b) for k, b in enumerate(x) if k != j) for j, a in enumerate(x)]


def _separated(problem: Problem, point) -> Status | None:
    return Status.SEPARATED if problem.separated(point) else None
