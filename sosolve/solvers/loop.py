"""The loop: one for the whole package. It runs a solver's steps, keeps the history and decides when to end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..history import History, Record, Result, Status
from ..linalg import max_abs, norm
from ..protocols import Counts, Objective, Point

if TYPE_CHECKING:
    from .base import Solver

#: Iterations without progress in value or gradient after which a fit has stalled.
PATIENCE = 10
#: Relative change of the value that is rounding of a long sum, not progress.
VALUE_NOISE = 1e-15

#: Called after each iteration; a status, or True, ends the fit.
Callback = Callable[[Record, Point], "Status | bool | None"]


class Run:
    """One run of the loop: the clock, the history and the stopping tests."""

    def __init__(self, solver: Solver, objective: Objective, callback: Callback | None):
        self.solver, self.objective, self.callback = solver, objective, callback
        self.begin = getattr(callback, "begin", None)
        self.history = History()
        self.clock = time.perf_counter()
        self.before = objective.counts + Counts()
        self.best_value = self.best_grad = math.inf
        self.idle = 0
        self.state: object = None
        self.reason = ""

    def __call__(self, begin: Callable[[], Point], state: object = None) -> Result:
        status, point = None, begin()  # made here: the first point is not held by the caller while it is left behind
        try:
            self.record(point, 0, True, {})
            if not (math.isfinite(point.value) and math.isfinite(max_abs(point.grad))):
                return self.result(point, Status.NONFINITE)
            _check_needs(self.solver, point)
            limit = self.solver.default_max_iter if self.solver.max_iter is None else self.solver.max_iter
            self.state = self.solver.start(point) if limit and state is None else state
            iteration = 0
            while status is None:
                if iteration == limit:
                    return self.result(point, Status.MAX_ITER)
                iteration += 1
                if self.begin is not None:
                    self.begin()
                step = self.solver.step(point, self.state)
                previous, point, self.state, self.reason = point, step.point, step.state, step.reason
                if step.accepted and "step_norm" not in step.record:
                    step.record["step_norm"] = norm(point.theta - previous.theta)
                record = self.record(point, iteration, step.accepted, step.record)
                status = step.status or self.stop(record, previous)
                del previous  # a point may hold arrays as long as the data
                if self.callback is not None:
                    answer = self.callback(record, point)
                    if status is None and answer:
                        status = answer if isinstance(answer, Status) else Status.CALLBACK
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        return self.result(point, status)

    def record(self, point: Point, iteration: int, accepted: bool, values: dict[str, Any]) -> Record:
        """Append and return the record of one iteration; the work of value and gradient counts for it."""
        value, grad_norm = point.value, max_abs(point.grad)
        counts = self.objective.counts - self.before
        record = Record(
            iteration=iteration,
            value=value,
            grad_norm=grad_norm,
            accepted=accepted,
            n_value=counts.n_value,
            n_grad=counts.n_grad,
            n_mv=counts.n_mv,
            n_passes=counts.n_passes,
            seconds=time.perf_counter() - self.clock,
            **values,
        )
        self.history.append(record)
        return record

    def stop(self, record: Record, previous: Point) -> Status | None:
        """Return the status that ends the fit after this iteration, None to go on."""
        solver = self.solver
        if record.accepted and not solver.own_tests:
            gain = previous.value - record.value
            length = norm(previous.theta) if solver.xtol else 0.0
            if solver.ftol and 0.0 <= gain <= solver.ftol * abs(record.value):
                return Status.CONVERGED
            if solver.xtol and record.step_norm <= solver.xtol * (length + solver.xtol):
                return Status.CONVERGED
        progress = record.accepted and (
            record.value < self.best_value - VALUE_NOISE * abs(self.best_value)
            or record.grad_norm < 0.9 * self.best_grad
        )
        self.best_value = min(self.best_value, record.value)
        self.best_grad = min(self.best_grad, record.grad_norm)
        # A rejected step is no stall by itself: a trust region shrinks many times before it moves again.
        self.idle = 0 if progress else self.idle + 1
        if self.idle >= (PATIENCE if record.accepted else 10 * PATIENCE):
            return Status.STALLED
        if record.seconds >= solver.max_time:
            return Status.MAX_TIME
        return None

    def result(self, point: Point, status: Status | None) -> Result:
        return Result(
            theta=point.theta,
            value=point.value,
            grad_norm=max_abs(point.grad),
            status=status or Status.INTERRUPTED,
            history=self.history,
            counts=self.objective.counts - self.before,
            point=point,
            reason=self.reason,
            state=self.state,
        )


def _check_needs(solver: Solver, point: Point) -> None:
    """Raise TypeError where the point lacks something in `solver.needs`."""
    if getattr(point, "penalty", None) is not None and not solver.composite:
        raise TypeError(
            f"{type(solver).__name__} needs a smooth objective, but this one has an L1 part or bounds: choose "
            "ProximalNewton"
        )
    curvature = getattr(point, "curvature", None)
    for need in solver.needs:
        where = point if need in ("grad", "residual", "jac") else curvature
        if getattr(where, need, None) is None:
            raise TypeError(
                f"{type(solver).__name__} needs {', '.join(solver.needs)}, but the objective offers no {need!r}: "
                "add it to the objective, or choose a solver that needs less (lbfgs needs only the gradient)"
            )
