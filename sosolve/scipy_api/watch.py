"""What looks on while a solver runs: the user's callback, the budget of evaluations, the best point so far."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from ..history import Record, Result, Status
from ..linalg import norm
from ..solvers import Solver
from .failures import keep_best


def user_callback(callback: Callable | None) -> Callable[[OptimizeResult], Any] | None:
    """Return a function of an OptimizeResult that calls `callback(intermediate_result=...)` or `callback(xk)`.

    The first form is used where the callback's only parameter has that name, as in SciPy.

    Raises
    ------
    TypeError
        If the callback cannot be called.
    """
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(
            f"received a callback of type {type(callback).__name__}; expected a function of `intermediate_result` or "
            "of the parameters: pass one, or None"
        )
    try:
        names = set(inspect.signature(callback).parameters)
    except (TypeError, ValueError):  # a built-in function has no signature
        names = set()
    if names == {"intermediate_result"}:
        return lambda state: callback(intermediate_result=state)
    return lambda state: callback(state.x.copy())


class Watch:
    """The callback of one run.

    Parameters
    ----------
    evaluations : callable
        () -> int, evaluations so far.
    limit : float
        Evaluations allowed.
    callback : callable or None
        Of an OptimizeResult, see `user_callback`.
    describe : callable
        (record, point) -> dict of fields for the callback.
    verbose : bool
        Write one line an iteration to the standard output.

    Attributes
    ----------
    best : Point or None
    exhausted, stopped : bool
        Whether the limit, or the callback, ended the run.
    ftol, xtol : float
        Relative reduction of the objective, relative length of a step, at which to end at once; 0 is off.
    loose : str
        Which of the two ended the run.
    every : bool
        Whether the callback hears of iterations that did not move too.
    path : list or None
        Takes the parameters after each iteration.
    """

    def __init__(
        self,
        evaluations: Callable[[], int],
        limit: float,
        callback: Callable | None = None,
        describe: Callable[[Record, Any], dict] | None = None,
        verbose: bool = False,
    ):
        self.evaluations, self.limit, self.callback, self.describe = evaluations, limit, callback, describe
        self.verbose, self.best, self.iterations = verbose, None, 0
        self.exhausted = self.stopped = False
        self.loose = ""
        self.every, self.path = False, None
        self.ftol = self.xtol = 0.0

    def _write(self, record: Record) -> None:
        """Write the columns of `scipy.optimize.least_squares`, with their names first."""
        if self.iterations == 1:
            names = ("Iteration", "Total nfev", "Cost", "Cost reduction", "Step norm", "Optimality")
            sys.stdout.write("".join(f"{name:^15s}" for name in names) + "\n")
        moved = (f"{record.actual:^15.2e}{record.step_norm:^15.2e}") if record.accepted else " " * 30
        sys.stdout.write(
            f"{self.iterations:^15d}{self.evaluations():^15d}{record.value:^15.4e}{moved}{record.grad_norm:^15.2e}\n"
        )

    def again(self) -> Watch:
        """Return this watch for another run from where the first one ended."""
        self.loose, self.best = "", None
        return self

    def is_loose_enough(self, record: Record, point: Any) -> bool:
        """Return whether a tolerance far above the rounding level is met, whatever the cosine."""
        if record.actual <= self.ftol * (record.value + record.actual) and record.ratio > 0.25:
            self.loose = "ftol"
        elif self.xtol and record.step_norm <= self.xtol * (self.xtol + norm(point.theta)):
            self.loose = "xtol"
        return bool(self.loose)

    def __call__(self, record: Record, point: Any) -> Status | None:
        """Look at one iteration; return a status to end the run."""
        self.iterations += 1
        if self.best is None or not point.value > self.best.value:
            self.best = point
        if self.verbose:
            self._write(record)
        if self.path is not None:
            self.path.append(point.theta)
        if self.callback is not None and (record.accepted or self.iterations == 1 or self.every):
            state = OptimizeResult(x=point.theta, nit=self.iterations, **self.describe(record, point))
            try:
                self.stopped = self.callback(state) is True
            except StopIteration:
                self.stopped = True
            if self.stopped:
                return Status.CALLBACK
        if record.accepted and self.iterations > 1 and self.is_loose_enough(record, point):
            return Status.CALLBACK
        if self.evaluations() >= self.limit:
            self.exhausted = True
            return Status.CALLBACK
        return None


def run(solver: Solver, objective: Any, theta: np.ndarray, watch: Watch) -> Result:
    """Return the solver's result; an exception passes on with the best point."""
    try:
        found = solver.minimize(objective, theta, watch)
        if found.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
    except BaseException as error:
        best = watch.best
        keep_best(error, None if best is None else best.theta, math.nan if best is None else best.value)
        raise
    return found
